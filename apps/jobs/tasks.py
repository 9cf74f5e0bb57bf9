"""Control-plane tasks. Each may run twice, late, or never: the tick catches up."""

import contextlib
import time

from celery import shared_task
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from apps.core.doorbell import ring
from apps.core.errors import QuotaExceeded
from apps.datasets.models import DatasetVersion
from apps.jobs.attempts import end_cancelled, reap_lost_jobs
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

TICK_SECONDS = 5


@shared_task
def schedule() -> None:
    for pool in Pool.objects.all():
        schedule_pool(pool)


@shared_task
def forecast_starts() -> None:
    """Apart from the schedule, which is not to wait for it."""
    for pool in Pool.objects.all():
        forecast_pool(pool)


@shared_task
def prepare_version(version_id: int) -> None:
    version = DatasetVersion.objects.filter(pk=version_id, status=DatasetVersion.Status.CHECKING).first()
    if version:
        with contextlib.suppress(QuotaExceeded):  # the tick submits it once there is room
            submit_prepare(version=version)


@shared_task
def tick() -> None:
    """Everything that a lost message, a lost machine or a restart could have left undone."""
    default_pool()
    if may_reap(now=time.time()):
        reap_lost_jobs()
    reclaim_unclaimed(after_seconds=30)
    for job in Job.objects.filter(status=Job.Status.QUEUED, cancel_requested_at__isnull=False):
        end_cancelled(job=job, attempt=job.attempt)
    submit_unchecked()
    settle_auctions()
    schedule()
    ring("apps.jobs.tasks.forecast_starts")


def settle_auctions() -> None:
    """Credits for a period that has begun, and charges for what has run."""
    for pool in Pool.objects.filter(policy=Pool.Policy.AUCTION):
        now = database_time()
        give_credits(pool=pool, now=now)
        charge_running(pool=pool, now=now)


def submit_unchecked() -> None:
    """Versions whose check has no job. One team's quota may be full: its data waits, and holds up nobody else's."""
    unchecked = DatasetVersion.objects.filter(status=DatasetVersion.Status.CHECKING)
    for version in unchecked.exclude(jobs__status__in=[Job.Status.QUEUED, *Job.ACTIVE]):
        with contextlib.suppress(QuotaExceeded):
            submit_prepare(version=version)


@shared_task
def sweep_storage() -> None:
    """Once a day: free the space of what nothing refers to."""
    sweep_blobs(now=timezone.now())


def may_reap(*, now: float) -> bool:
    """Leases are judged only after a whole lease time of ticks without a gap: an outage of the database or of this
    process would otherwise look like the death of every job."""
    since, last = cache.get("reaper") or (now, now)
    if now - last > 3 * TICK_SECONDS:
        since = now
    cache.set("reaper", (since, now), timeout=None)
    return now - since >= settings.LEPTON_LEASE_SECONDS
