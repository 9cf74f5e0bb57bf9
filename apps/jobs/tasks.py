"""Control-plane tasks. Each may run twice, late, or never: the tick catches up."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.core.doorbell import answer, ring
from apps.core.errors import DomainError, QuotaExceeded
from apps.core.outages import note_tick
from apps.datasets.models import DatasetVersion
from apps.datasets.services import reject_version
from apps.jobs.attempts import end_cancelled, settle_attempt, unsettled_jobs
from apps.jobs.members import expire_leases
from apps.jobs.models import Job
from apps.jobs.services import submit_prepare
from apps.jobs.sweeping import sweep_blobs
from apps.resources.forecasting import forecast_pool
from apps.resources.market import charge_running, give_credits
from apps.resources.models import Pool
from apps.resources.nodes import default_pool
from apps.resources.planning import schedule_pool
from apps.resources.services import reclaim_unclaimed
from apps.resources.snapshots import database_time

logger = logging.getLogger(__name__)

TICK_SECONDS = settings.BEAT_SECONDS


def each(verb: Callable[[Any], object], items: Iterable) -> None:
    """One that fails holds up none of the others; the next tick tries it again."""
    for item in items:
        try:
            verb(item)
        except Exception:
            logger.exception("%s of %s", verb.__name__, item)


@shared_task
def schedule() -> None:
    answer("apps.jobs.tasks.schedule")
    each(schedule_pool, Pool.objects.all())


@shared_task
def forecast_starts() -> None:
    """Apart from the schedule, which is not to wait for it."""
    each(forecast_pool, Pool.objects.all())


@shared_task
def prepare_version(version_id: int) -> None:
    version = DatasetVersion.objects.filter(pk=version_id, status=DatasetVersion.Status.CHECKING).first()
    if version:
        submit_check(version)


def submit_check(version: DatasetVersion) -> None:
    """A team's quota may be full: its data waits, and the tick tries again. What is above its limits for good is
    rejected, with the reason."""
    try:
        submit_prepare(version=version)
    except QuotaExceeded:
        return
    except DomainError as error:
        hint = _("Ask an administrator for a higher limit, then upload it again.")
        reject_version(version=version, code=error.code, message=error.message, hint=hint)


@shared_task
def tick() -> None:
    """Everything that a lost message, a lost machine or a restart could have left undone."""
    default_pool()
    # An outage of the database or of this process would otherwise look like the death of every job.
    if note_tick(now=time.time()):
        expire_leases()
    each(settle_attempt, unsettled_jobs())
    reclaim_unclaimed(after_seconds=settings.LEPTON_LEASE_SECONDS / 2)
    each(end_waiting, Job.objects.filter(status=Job.Status.QUEUED, cancel_requested_at__isnull=False))
    each(submit_check, unchecked_versions())
    each(settle_auction, Pool.objects.filter(policy=Pool.Policy.AUCTION))
    schedule()
    ring("apps.jobs.tasks.forecast_starts")


def end_waiting(job: Job) -> None:
    end_cancelled(job=job, attempt=job.attempt)


def settle_auction(pool: Pool) -> None:
    """Credits for a period that has begun, and charges for what has run."""
    now = database_time()
    give_credits(pool=pool, now=now)
    charge_running(pool=pool, now=now)


def unchecked_versions() -> QuerySet[DatasetVersion]:
    """Versions whose check has no job."""
    unchecked = DatasetVersion.objects.filter(status=DatasetVersion.Status.CHECKING)
    return unchecked.exclude(jobs__status__in=[Job.Status.QUEUED, *Job.ACTIVE])


@shared_task
def sweep_storage() -> None:
    """Once a day: free the space of what nothing refers to."""
    sweep_blobs(now=timezone.now())
