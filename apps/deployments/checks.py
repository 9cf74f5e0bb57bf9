"""What may be deployed, and under which name."""

from django.utils.text import slugify
from django.utils.translation import gettext as _

from apps.accounts.models import Team
from apps.core.errors import Conflict, NotFound, Unprocessable
from apps.deployments.connections import MAX_IN_FLIGHT
from apps.deployments.models import Deployment
from apps.deployments.traffic import MAX_REPLICAS
from apps.registry.models import ModelVersion

NAME_LENGTH = 80
MAX_IDLE_MINUTES = 7 * 24 * 60
MAX_LATENCY_MS = 60_000


def check_name(name: str) -> str:
    """Raises Unprocessable unless `name` can stand in an address."""
    if name != slugify(name) or not 1 <= len(name) <= NAME_LENGTH:
        raise Unprocessable(
            _("A deployment's name is part of its address: use up to %(n)d small letters, digits and hyphens.")
            % {"n": NAME_LENGTH},
            code="invalid_name",
            field="name",
        )
    return name


def check_version(team: Team, version: ModelVersion | None) -> None:
    """Raises NotFound for none and for another team's version, Unprocessable for one without files."""
    if version is None or version.model.team_id != team.pk:
        raise NotFound(_("There is no such model version, or it belongs to another team."))
    if not version.artifacts.filter(name="meta.json").exists():
        raise Unprocessable(
            _("%(version)s has no files to serve. Train it again.") % {"version": version}, code="not_deployable"
        )


def check_scaling(deployment: Deployment, *, is_count_asked: bool) -> None:
    """Raises Unprocessable for bounds that cannot be, and for a number of replicas asked for beyond them."""
    least, most = deployment.min_replicas, deployment.max_replicas
    check_range("target_in_flight", deployment.target_in_flight, 0.1, MAX_IN_FLIGHT)
    check_range("idle_minutes", deployment.idle_minutes, 1, MAX_IDLE_MINUTES)
    check_range("target_latency_ms", deployment.target_latency_ms or 1, 1, MAX_LATENCY_MS)
    if most is None:
        check_range("min_replicas", least, 0, MAX_REPLICAS)
        return
    check_range("max_replicas", most, 1, MAX_REPLICAS)
    check_range("min_replicas", least, 0, most)
    if is_count_asked and not least <= deployment.wanted_replicas <= most:
        raise Unprocessable(
            _(
                "It scales by itself, between %(min)d and %(max)d replicas. Change these, or turn scaling off to "
                "choose a number yourself."
            )
            % {"min": least, "max": most},
            code="out_of_range",
            field="wanted_replicas",
        )


def check_range(field: str, value: float, least: float, most: float) -> None:
    """Raises Unprocessable."""
    if not least <= value <= most:
        raise Unprocessable(
            _("%(field)s must lie between %(min)g and %(max)g; it was %(value)g.")
            % {"field": field, "min": least, "max": most, "value": value},
            code="out_of_range",
            field=field,
        )


def check_same_task(deployment: Deployment, version: ModelVersion) -> None:
    """Raises Conflict for a version of another task."""
    if version.model.task != deployment.version.model.task:
        raise Conflict(
            _("%(version)s is for %(theirs)s; this deployment answers %(ours)s. Deploy it under a name of its own.")
            % {
                "version": version,
                "theirs": version.model.task.replace("_", " "),
                "ours": deployment.version.model.task.replace("_", " "),
            },
            code="other_task",
            field="version",
        )
