"""The same training again with other seeds, to see how much of its figure is chance."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.errors import Conflict, Unprocessable
from apps.jobs.continuing import clone_job
from apps.jobs.models import Job
from apps.registry.spread import free_seeds
from workers.training.fields import FIELDS

USUAL_REPEATS, MOST_REPEATS = 4, 9  # five seeds together, and ten
MOST_SEED = int(next(field.maximum for field in FIELDS if field.name == "seed"))
GONE = (Job.Status.FAILED, Job.Status.CANCELLED)


@transaction.atomic
def repeat_training(*, job: Job, user: User | None, count: int = USUAL_REPEATS) -> list[Job]:
    """Queue `count` trainings like `job`, each with a seed that none alike has had; all of them or none. They make the
    next versions of the same model. Raises Conflict where it is no training from the beginning, Unprocessable for the
    count, and what a submit raises."""
    if job.kind != Job.Kind.TRAIN or job.continues_id or "seed" not in job.hyperparameters:
        raise Conflict(_("Only a training from the beginning can be repeated with other seeds."), code="cannot_repeat")
    if not 1 <= count <= MOST_REPEATS:
        message = _("Repeat it 1 to %(n)d times.") % {"n": MOST_REPEATS}
        raise Unprocessable(message, code="out_of_range", field="count")
    seed = job.hyperparameters["seed"]
    taken = [other.hyperparameters["seed"] for other in alike(job).exclude(status__in=GONE)]
    seeds = free_seeds(seed, taken, count, MOST_SEED)
    made = [clone_job(job=job, user=user, changes={"hyperparameters": {"seed": each}}) for each in seeds]
    details: Mapping[str, Any] = {"seeds": seeds}
    record_audit(team=job.team, actor=user, action="job.repeat", target=str(job), details=details)
    return made


def alike(job: Job) -> QuerySet[Job]:
    """The trainings of the same data with the same settings, but for the seed; `job` among them."""
    settings = {name: value for name, value in job.hyperparameters.items() if name != "seed"}
    same = {name: getattr(job, name) for name in ("team", "kind", "dataset_version", "task", "target", "model_name")}
    return Job.objects.filter(**same, continues=None, hyperparameters__contains=settings)
