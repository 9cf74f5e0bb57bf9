"""The registry's verbs."""

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from apps.accounts.models import Team, User
from apps.core.errors import Conflict
from apps.core.storage import Blob
from apps.registry.models import Artifact, ModelVersion, RegisteredModel


@transaction.atomic
def register_version(
    *,
    team: Team,
    user: User | None,
    model_name: str,
    task: str,
    meta: dict,
    metrics: dict,
    lineage: dict,
    files: dict[str, Blob],
    parent: ModelVersion | None = None,
) -> ModelVersion:
    """Add the next version of the team's model `model_name`. Raises Conflict when it is of another task."""
    model, _created = RegisteredModel.objects.select_for_update().get_or_create(
        team=team, name=model_name, defaults={"task": task, "created_by": user}
    )
    check_task(model, task)
    number = (model.versions.aggregate(n=Max("number"))["n"] or 0) + 1
    version = ModelVersion.objects.create(
        model=model,
        number=number,
        parent=parent,
        meta=meta,
        metrics=metrics,
        lineage=lineage,
        size_bytes=sum(blob.size_bytes for blob in files.values()),
    )
    Artifact.objects.bulk_create(
        Artifact(version=version, name=name, sha256=blob.sha256, size_bytes=blob.size_bytes)
        for name, blob in sorted(files.items())
    )
    return version


def check_task(model: RegisteredModel, task: str) -> None:
    if model.task != task:
        raise Conflict(
            _('Your team\'s model "%(name)s" is for %(task)s. Choose another name.')
            % {"name": model.name, "task": model.task.replace("_", " ")},
            code="name_taken",
            field="model_name",
        )
