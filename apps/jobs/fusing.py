"""Which model versions can become one, and why others cannot."""

from collections.abc import Callable, Sequence
from typing import Any

from django.utils.translation import gettext as _

from apps.accounts.models import Team
from apps.core.errors import Conflict, NotFound, Unprocessable
from apps.datasets.models import DatasetVersion
from apps.jobs.models import Job
from apps.registry.models import ModelVersion
from workers.contract import ENSEMBLE, FREE_ARGUMENTS, FUSION_METHODS, HELDOUT_FILE, IMAGE_CLASSIFICATION
from workers.domains import TASKS

MOST_VERSIONS = 10
SHAPE = ("height", "width", "channels")
MAX_NAME = 40


def methods_for(task: str) -> tuple[str, ...]:
    """Raises Unprocessable for models that cannot be fused."""
    methods = TASKS[task].fusions
    if not methods:
        raise _refusal("cannot_fuse", _("Models of this task cannot be fused. Choose models of images or of tables."))
    return methods


def check_parts(versions: Sequence[ModelVersion], method: str) -> None:
    """Raises Unprocessable, with a sentence that names the version which does not go with the first."""
    _check_choice(versions)
    first = versions[0]
    known = ", ".join(methods_for(first.model.task))
    if method not in FUSION_METHODS:
        message = _('There is no way to fuse called "%(method)s". Choose one of: %(known)s.')
        raise Unprocessable(message % {"method": method, "known": known}, code="unknown_method", field="method")
    _require_same(versions, lambda version: version.model.task, "different_tasks", _("is for another task"))
    _require_same(versions, lambda version: version.meta.get("classes"), "different_classes", _("knows other classes"))
    is_image = first.model.task == IMAGE_CLASSIFICATION
    (_check_images if is_image else _check_tables)(versions, method)


def _check_choice(versions: Sequence[ModelVersion]) -> None:
    count = len({version.pk for version in versions})
    if not 2 <= count <= MOST_VERSIONS:
        message = _("Choose from 2 to %(most)d versions to fuse; %(count)d is chosen.")
        code = "too_few_versions" if count < 2 else "too_many_versions"
        raise _refusal(code, message % {"most": MOST_VERSIONS, "count": count})
    if count < len(versions):
        raise _refusal("same_version_twice", _("A version is chosen twice. Choose each once."))
    for version in versions:
        if "compression" in version.meta:
            message = _("%(version)s is compressed and has no weights left to fuse. Choose the one it was made from.")
            raise _refusal("compressed_version", message % {"version": version})


def _check_images(versions: Sequence[ModelVersion], method: str) -> None:
    _require_same(versions, _image_shape, "different_inputs", _("sees images at another size"))
    if method != ENSEMBLE:
        words = _("has another architecture, so their weights cannot be averaged; an ensemble could hold both")
        _require_same(versions, _architecture, "different_architectures", words)


def _image_shape(version: ModelVersion) -> list:
    return [version.meta.get("input", {}).get(name) for name in SHAPE]


def _architecture(version: ModelVersion) -> tuple[str, dict]:
    arguments = version.meta.get("architecture_args", {})
    fixed = {name: value for name, value in arguments.items() if name not in FREE_ARGUMENTS}
    return version.meta.get("architecture", ""), fixed


def _check_tables(versions: Sequence[ModelVersion], method: str) -> None:
    if method != ENSEMBLE:
        message = _("Weights are averaged of image models only; for models of tables choose ensemble.")
        raise Unprocessable(message, code="unknown_method", field="method")
    _require_same(
        versions, lambda version: version.lineage.get("target"), "different_targets", _("predicts another column")
    )
    words = _("was trained on other data, and their answers to held-out rows can only be judged together on the same")
    _require_same(versions, lambda version: version.lineage.get("content_hash"), "different_data", words)
    _require_same(versions, lambda version: version.meta.get("encoder"), "different_inputs", _("reads other columns"))
    for version in versions:
        if not version.artifacts.filter(name=HELDOUT_FILE).exists():
            message = _(
                "%(version)s has kept no answers to held-out rows, by which a fusion is judged. Train it again."
            )
            raise _refusal("no_heldout_answers", message % {"version": version})


def _require_same(versions: Sequence[ModelVersion], read: Callable[[ModelVersion], Any], code: str, words: str) -> None:
    first = versions[0]
    for version in versions[1:]:
        if read(version) != read(first):
            message = _("%(version)s does not go with %(first)s: it %(difference)s.")
            raise _refusal(code, message % {"version": version, "first": first, "difference": words})


def _refusal(code: str, message: str) -> Unprocessable:
    return Unprocessable(message, code=code, field="versions")


def judging_data(team: Team, version: ModelVersion) -> DatasetVersion:
    """What `version` was trained on, which judges all. Raises Conflict where it is gone."""
    known = DatasetVersion.objects.filter(dataset__team=team, status=DatasetVersion.Status.READY)
    data = known.filter(pk=version.lineage.get("dataset_version_id")).first()
    if data is None:
        message = _("The data that %(version)s was trained on is gone, so nothing could say whether fusing helps.")
        raise Conflict(message % {"version": version}, code="data_gone", field="versions")
    return data


def name_of(versions: Sequence[ModelVersion]) -> str:
    """ "Digits v1, v2 + Letters v4"."""
    by_model: dict[str, list[int]] = {}
    for version in versions:
        by_model.setdefault(version.model.name, []).append(version.number)
    parts = [f"{name[:MAX_NAME]} {', '.join(f'v{number}' for number in numbers)}" for name, numbers in by_model.items()]
    return " + ".join(parts)


def parts_of(job: Job) -> list[ModelVersion]:
    """The versions that a fusion is made of. Raises NotFound where one was deleted meanwhile."""
    found = existing_parts(job)
    for part in job.parts:
        if part["id"] not in found:
            raise NotFound(
                _("%(version)s has been deleted, so it cannot be fused any more.") % {"version": part["name"]}
            )
    return [found[part["id"]] for part in job.parts]


def existing_parts(job: Job) -> dict[int, ModelVersion]:
    """Those that are still there, by id."""
    versions = ModelVersion.objects.filter(model__team=job.team_id, pk__in=[part["id"] for part in job.parts])
    return versions.select_related("model").in_bulk()
