"""Hand in a compression: what it may be told, and what is refused."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from apps.accounts.models import Team, User
from apps.accounts.services import record_audit
from apps.core.errors import Conflict, Unprocessable
from apps.core.retelling import retell
from apps.datasets.models import DatasetVersion
from apps.jobs.models import Job
from apps.jobs.services import ONE_DEVICE, queue_job
from apps.registry.models import ModelVersion
from apps.resources.models import Pool
from apps.resources.nodes import usual_pool
from apps.resources.scheduling import Demand
from apps.resources.wanted import USUAL_TERMS, Terms, Wanted
from workers.compression.recipes import method_of, resolve
from workers.domains import TASKS
from workers.training.field import HyperparameterError


def submit_compression(
    *,
    team: Team,
    user: User | None,
    base_version: ModelVersion,
    settings: Mapping[str, Any] | None = None,
    demand: Demand = ONE_DEVICE,
    terms: Terms = USUAL_TERMS,
    pool: Pool | None = None,
) -> Job:
    """Queue a compression of `base_version`. `settings` are those of workers/compression/recipes.py that are not as
    usual; without recipes it searches for some. Raises Unprocessable (with `field`, as in ``recipes.0.1.amount``) or
    Conflict."""
    fields = compression_fields(team, base_version, settings or {})
    with transaction.atomic():
        job = queue_job(team=team, user=user, wanted=Wanted(pool or usual_pool(), demand, terms), **fields)
        details = {"model": str(base_version), "method": job.method, "recipes": len(job.hyperparameters["recipes"])}
        record_audit(team=team, actor=user, action="job.compress", target=str(job), details=details)
    return job


def compression_fields(team: Team, base_version: ModelVersion, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of such a job. Raises as `submit_compression` does for the version and the settings."""
    resolved = _resolve(base_version.model.task, settings)
    return {
        "kind": Job.Kind.COMPRESS,
        "name": gettext_noop("Compress %(version)s") % {"version": base_version},
        "dataset_version": require_compressible(team, base_version),
        "base_version": base_version,
        "task": base_version.model.task,
        "target": base_version.lineage.get("target", ""),
        "model_name": base_version.model.name,
        "method": method_of(resolved),
        "hyperparameters": resolved,
    }


def require_compressible(team: Team, version: ModelVersion) -> DatasetVersion:
    """The data that judges what is made of `version`. Raises Conflict where it cannot be compressed."""
    if "compression" in version.meta:
        raise Conflict(_("This version is compressed already. Start from its parent."), code="already_compressed")
    if not TASKS[version.model.task].samples:
        raise Conflict(_("Models of this task cannot be made smaller yet."), code="cannot_compress")
    known = DatasetVersion.objects.filter(dataset__team=team, pk=version.lineage.get("dataset_version_id"))
    data = known.select_related("dataset").first()
    if data is None:
        raise Conflict(
            _("The data this model was trained on is gone, so what compression costs could not be measured."),
            code="data_gone",
        )
    return data


def _resolve(task: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return resolve(task, settings)
    except HyperparameterError as error:
        raise Unprocessable(retell(error.message), code=error.code, field=error.field) from error
