"""What can be done about the findings and the steps of a version. Each decision makes the next version from the same
uploads; the old one stays as it is."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.doorbell import ring
from apps.core.errors import Conflict, NotFound, Unprocessable
from apps.core.storage import open_blob
from apps.datasets.models import DatasetVersion, VersionFile
from apps.datasets.services import insert_version

LEAVE_OUT, RELABEL, MOVE, DROP = ACTIONS = ("leave_out", "relabel", "move", "drop")
FINDINGS_FILE = "findings.json"


def act_on_finding(
    *, version: DatasetVersion, user: User | None, key: str, action: str, items: Sequence[str] | None = None
) -> DatasetVersion:
    """The next version, in which what the finding names is left out, has its other label or part of the split, or is
    dropped: all of it, or `items` alone.

    Raises Conflict (not_ready), NotFound (finding_not_found), and Unprocessable (unknown_action, unknown_items,
    no_items).
    """
    _require_ready(version)
    found = find(version, key)
    key = found.get("key", found["code"])
    remedies = _remedy(version, key)
    remedy = remedies.get(action)
    if not remedy:
        raise Unprocessable(
            _("Nothing is known how to “%(action)s” what %(finding)s names.") % {"action": action, "finding": key},
            code="unknown_action",
            field="action",
        )
    column = remedies.get("column", "") if action == RELABEL else ""
    chosen = _chosen(remedies, action, items)
    return _next_version(version, user, _with_step(version.recipe, key, action, chosen, column))


def redo_without(*, version: DatasetVersion, user: User | None, without: Sequence[str]) -> DatasetVersion:
    """The next version, without these steps and with all others. Raises Conflict (not_ready) and Unprocessable
    (unknown_step, nothing_changes)."""
    _require_ready(version)
    optional = {step["id"] for step in version.report.get("steps", ()) if step["is_optional"]}
    if unknown := sorted(set(without) - optional):
        raise Unprocessable(
            _('There is no step "%(step)s" that can be undone in version %(number)d. Those that can: %(steps)s.')
            % {"step": unknown[0], "number": version.number, "steps": ", ".join(sorted(optional)) or "–"},
            code="unknown_step",
            field="without",
        )
    if set(without) == set(version.recipe.get("without", ())):
        raise Unprocessable(
            _("Version %(number)d is made so already.") % {"number": version.number},
            code="nothing_changes",
            field="without",
        )
    return _next_version(version, user, dict(version.recipe) | {"without": sorted(set(without))})


def keep_finding(*, version: DatasetVersion, key: str, is_kept: bool = True) -> DatasetVersion:
    """Note that somebody has looked at a finding and lets it be, or takes that back; later versions know it as well.
    Raises NotFound (finding_not_found)."""
    found = find(version, key)
    key = found.get("key", found["code"])
    with transaction.atomic():
        locked = DatasetVersion.objects.select_for_update().get(pk=version.pk)
        locked.kept = sorted(set(locked.kept) | {key} if is_kept else set(locked.kept) - {key})
        locked.save(update_fields=["kept"])
    version.kept = locked.kept
    return version


def find(version: DatasetVersion, key: str) -> Mapping[str, Any]:
    """The finding with this key, or the only one with this code. Raises NotFound."""
    findings = version.report.get("findings") or version.report.get("warnings") or ()
    found = [each for each in findings if each.get("key", each["code"]) == key]
    found = found or [each for each in findings if each["code"] == key]
    if len(found) == 1:
        return found[0]
    raise NotFound(
        _('Version %(number)d has no finding "%(key)s".') % {"number": version.number, "key": key[:80]},
        code="finding_not_found",
    )


def _remedy(version: DatasetVersion, key: str) -> Mapping[str, Any]:
    if FINDINGS_FILE not in version.outputs:
        return {}
    with open_blob(version.outputs[FINDINGS_FILE]["sha256"]) as file:
        return json.load(file).get(key, {})


def _chosen(remedies: Mapping[str, Any], action: str, items: Sequence[str] | None) -> Any:
    """What an action changes of `items`, which may be groups of them; all that it can where they are None."""
    remedy, groups = remedies[action], remedies.get("groups", {})
    if items is None:
        return remedy
    items = {item for name in items for item in groups.get(name, (name,))}
    if not items & set(remedy):
        message = _("None of what was chosen is changed by this. Choose at least one item that is.")
        raise Unprocessable(message, code="no_items", field="items")
    if unknown := sorted(items.difference(*(remedies.get(each, ()) for each in ACTIONS))):
        raise Unprocessable(
            _('The finding is not about "%(item)s".') % {"item": unknown[0][:120]}, code="unknown_items", field="items"
        )
    if isinstance(remedy, Mapping):
        return {item: value for item, value in remedy.items() if item in items}
    return [item for item in remedy if item in items]


def _with_step(recipe: Mapping[str, Any], key: str, action: str, chosen: Any, column: str) -> dict[str, Any]:
    steps = list(recipe.get("steps", ()))
    number = 1 + sum(step["step"] == action for step in steps)
    holds = "columns" if action == DROP else "items"
    step = {"id": f"{action}_{number}", "step": action, "finding": key, holds: chosen}
    return dict(recipe) | {"steps": [*steps, step | ({"column": column} if column else {})]}


def _next_version(version: DatasetVersion, user: User | None, recipe: dict[str, Any]) -> DatasetVersion:
    kept = {"split_source": version.first.report["split_source"], "task": version.task}
    recipe = {"steps": [], "without": []} | recipe | kept
    with transaction.atomic():
        made = insert_version(
            version.dataset,
            user,
            parent=version,
            recipe=recipe,
            kept=version.kept,
            target=version.target,
            seed=version.seed,
        )
        files = version.files.order_by("id").values("upload_id", "name", "sha256", "size_bytes", "split")
        VersionFile.objects.bulk_create(VersionFile(version=made, **file) for file in files)
        ring("apps.jobs.tasks.prepare_version", made.pk)
    return made


def _require_ready(version: DatasetVersion) -> None:
    if version.status != DatasetVersion.Status.READY:
        raise Conflict(
            _("Version %(number)d of %(name)s is not ready; it is %(status)s.")
            % {"number": version.number, "name": version.dataset, "status": version.get_status_display().lower()},
            code="not_ready",
        )
