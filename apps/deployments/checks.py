"""What may be deployed, and under which name."""

from django.utils.text import slugify
from django.utils.translation import gettext as _

from apps.accounts.models import Team
from apps.core.errors import Conflict, NotFound, Unprocessable
from apps.deployments.models import Deployment
from apps.registry.models import ModelVersion

NAME_LENGTH = 80


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
