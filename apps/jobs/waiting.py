"""Why a job waits, who holds what it waits for, when it will start, and what would help: for pages and programs.

People see the own team's work by name; of other teams only that they hold something. Administrators see all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from apps.accounts.models import Team, User
from apps.jobs.models import Job
from apps.resources.helping import Help, find_help
from apps.resources.models import Allocation
from apps.resources.refusals import may_prioritise

SHOWN_HOLDERS = 8


@dataclass(frozen=True)
class Holder:
    """Who holds some of what a job waits for. `job`, or `deployment_id` where it serves one, only where the viewer may
    open it; `team` "" is another team."""

    team: str
    name: str
    job: Job | None
    deployment_id: int
    devices: int
    is_own: bool
    left_seconds: float | None


@dataclass(frozen=True)
class Waiting:
    """`place` counts from 1; without `low_at` it cannot be told when it starts."""

    code: str
    message: str
    numbers: dict
    place: int | None
    low_at: datetime | None
    high_at: datetime | None


def waiting_of(job: Job) -> Waiting | None:
    """What a job that waits knows of its waiting; None when it does not wait. Costs no query."""
    claim = job.allocation
    if job.status != Job.Status.QUEUED or claim is None:
        return None
    reason = claim.reason or _about_to_start(claim)
    return Waiting(
        code=reason["code"],
        message=reason["message"],
        numbers=reason.get("numbers", {}),
        place=claim.place,
        low_at=claim.starts_low_at,
        high_at=claim.starts_high_at,
    )


def _about_to_start(claim: Allocation) -> dict:
    if claim.status == Allocation.Status.GRANTED:
        return {"code": "granted", "message": _("It has its place and is about to start.")}
    return {"code": "in_queue", "message": _("It is about to be placed on a machine.")}


def holders_of(job: Job, *, viewer: User, team: Team) -> Sequence[Holder]:
    """Who holds what the job waits for, whoever ends soonest first."""
    rows = _holding(job.allocation).select_related("team", "job", "replica__deployment")[:SHOWN_HOLDERS]
    order = {pk: place for place, pk in enumerate(job.allocation.reason.get("holders", []))}
    return [_holder(row, viewer, team) for row in sorted(rows, key=lambda row: order.get(row.pk, row.pk))]


def _holding(claim: Allocation) -> QuerySet[Allocation]:
    """Where a limit holds it back, the work that counts against it; else what is being freed for it, or what the plan
    has named."""
    granted = Allocation.objects.filter(status=Allocation.Status.GRANTED).order_by("granted_at")
    match claim.reason.get("code"):
        case "team_limit":
            return granted.filter(pool=claim.pool_id, team=claim.team_id)
        case "user_limit":
            return granted.filter(pool=claim.pool_id, team=claim.team_id, user=claim.user_id)
        case "being_freed":
            return granted.filter(leaving_for=claim)
    return granted.filter(pk__in=claim.reason.get("holders", []))


def _holder(claim: Allocation, viewer: User, team: Team) -> Holder:
    is_own = claim.team_id == team.pk
    sees = is_own or viewer.is_superuser
    job, replica = getattr(claim, "job", None), getattr(claim, "replica", None)
    return Holder(
        team=claim.team.name if sees else "",
        name=claim.work_name if sees else "",
        job=job if is_own else None,
        deployment_id=replica.deployment_id if is_own and replica else 0,
        devices=claim.devices_asked,
        is_own=is_own,
        left_seconds=job.progress.get("eta_seconds") if sees and job else None,
    )


def help_for(job: Job, *, viewer: User) -> Sequence[Help]:
    """What would let it start sooner, each with when; only what the viewer could have, were they to ask."""
    if job.allocation.status != Allocation.Status.PENDING:
        return []
    may_raise = may_prioritise(job.team, viewer)
    return [item for item in find_help(job.allocation) if item.choices.get("priority") != "high" or may_raise]
