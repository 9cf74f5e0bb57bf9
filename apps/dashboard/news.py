"""What has happened since somebody last looked: the ends of their jobs, and what the site did to the team's deployments
by itself. Nothing is written for it: the rows that tell it are there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import Membership
from apps.core.retelling import retell
from apps.deployments.models import TrafficChange
from apps.jobs.models import Job

KEPT = timedelta(days=30)
MOST = 50
MOST_COUNTED = 99


@dataclass(frozen=True)
class News:
    """One thing that happened. `status` and `word` are of its badge, `text` says more."""

    at: datetime
    title: str
    text: str
    status: str
    word: Any
    url: str
    is_new: bool


def news_for(membership: Membership) -> Sequence[News]:
    """The newest first."""
    seen = membership.news_seen_at
    found = [_of_job(job, seen) for job in _ended(membership).order_by("-finished_at")[:MOST]]
    changes = _changes(membership).select_related("deployment").order_by("-at")[:MOST]
    found += [_of_change(change, seen) for change in changes]
    return sorted(found, key=lambda item: item.at, reverse=True)[:MOST]


def count_new(membership: Membership) -> int:
    """Up to MOST_COUNTED."""
    seen = membership.news_seen_at
    jobs = _ended(membership).filter(finished_at__gt=seen)[:MOST_COUNTED].count()
    return min(MOST_COUNTED, jobs + _changes(membership).filter(at__gt=seen)[:MOST_COUNTED].count())


def may_come(membership: Membership) -> bool:
    """Whether a job of theirs is under way, whose end will be news."""
    return _jobs(membership).exclude(status__in=Job.RESTING).exists()


def bell_of(membership: Membership) -> dict[str, Any]:
    """What the bell shows."""
    return {"new": count_new(membership), "most": MOST_COUNTED, "is_live": may_come(membership)}


def see(membership: Membership) -> None:
    """From now on everything until now is known."""
    membership.news_seen_at = timezone.now()
    membership.save(update_fields=["news_seen_at"])


def _jobs(membership: Membership) -> QuerySet[Job]:
    return Job.objects.filter(team=membership.team_id, created_by=membership.user_id)


def _ended(membership: Membership) -> QuerySet[Job]:
    return _jobs(membership).filter(status__in=Job.ENDED, finished_at__gt=timezone.now() - KEPT)


def _changes(membership: Membership) -> QuerySet[TrafficChange]:
    stopped = TrafficChange.objects.filter(kind=TrafficChange.Kind.STOPPED, at__gt=timezone.now() - KEPT)
    return stopped.filter(deployment__team=membership.team_id)


def _of_job(job: Job, seen: datetime) -> News:
    return News(
        at=job.finished_at,
        title=f"#{job.pk} {retell(job.name)}",
        text=job.failure.get("message", ""),
        status=job.status,
        word=job.get_status_display(),
        url=reverse("jobs:detail", args=[job.pk]),
        is_new=job.finished_at > seen,
    )


def _of_change(change: TrafficChange, seen: datetime) -> News:
    return News(
        at=change.at,
        title=change.deployment.name,
        text=change.reason,
        status="failed",
        word=change.get_kind_display(),
        url=reverse("deployments:detail", args=[change.deployment_id]),
        is_new=change.at > seen,
    )
