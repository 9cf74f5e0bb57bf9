"""What will happen if this is started: for the card beside the launch form, before anything is handed in."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import DomainError
from apps.core.templatetags.lepton import in_bytes
from apps.jobs.models import Job
from apps.jobs.plans import Planned
from apps.jobs.services import active_jobs, check_submit, expected_duration
from apps.resources.accounting import device_seconds_this_month
from apps.resources.budgets import budget_of, estimated_cost
from apps.resources.durations import Expectation
from apps.resources.forecasting import Start, start_of
from apps.resources.models import Pool, Quota, Share
from apps.resources.money import money
from apps.resources.quotas import promises_of
from apps.resources.scheduling import Snapshot
from apps.resources.snapshots import take_snapshot
from apps.resources.storage_use import storage_bytes
from apps.resources.wanted import Wanted

R = Quota.Resource


@dataclass(frozen=True)
class Left:
    """What would be left of one thing that the team has only so much of."""

    label: str
    left: str
    limit: str
    is_short: bool


@dataclass(frozen=True)
class Prospect:
    """`cost` is for the shortest and the longest of the predicted durations, None where nothing is charged; `credits`
    the most an auction would charge. `refusal` says why it would not be queued."""

    wanted: Wanted
    free: int
    total: int
    has_machines: bool
    duration: Expectation
    start: Start
    cost: tuple[Decimal, Decimal] | None
    credits: float
    left: tuple[Left, ...]
    refusal: DomainError | None


def look_ahead(*, job: Job, wanted: Wanted, user: User, planned: Planned | None = None) -> Prospect:
    """`job` is as it would be queued, and not saved; `planned` how it would be spread."""
    wanted = planned.as_wanted(wanted) if planned else wanted
    duration = expected_duration(job, wanted)
    wanted = replace(wanted, terms=replace(wanted.terms, estimate=duration.estimate))
    snapshot = take_snapshot(wanted.pool)
    refusal = (planned.refusal if planned else None) or _refusal(job, wanted, user)
    nodes = [node for node in snapshot.nodes if node.is_open and wanted.demand.device_kind in ("", node.device_kind)]
    cost = _cost(wanted, snapshot)
    return Prospect(
        wanted=wanted,
        free=sum(len(node.free_devices) for node in nodes),
        total=sum(node.device_count for node in nodes),
        has_machines=any(node.is_open for node in snapshot.nodes),
        duration=duration,
        start=Start() if refusal else start_of(wanted=wanted, team=job.team, user=user, snapshot=snapshot),
        cost=cost,
        credits=wanted.terms.bid * wanted.demand.devices * duration.estimate.high_seconds / 3600,
        left=tuple(_left(job, wanted, cost)),
        refusal=refusal,
    )


def _refusal(job: Job, wanted: Wanted, user: User) -> DomainError | None:
    try:
        with transaction.atomic():
            check_submit(job=job, wanted=wanted, user=user)
    except DomainError as error:
        return error
    return None


def _cost(wanted: Wanted, snapshot: Snapshot) -> tuple[Decimal, Decimal] | None:
    """At the price of the kind that is asked for, else from the cheapest to the dearest kind of the pool."""
    kinds = {node.device_kind for node in snapshot.nodes if node.device_kind}
    if wanted.demand.device_kind:
        kinds = {wanted.demand.device_kind}
    estimate, devices = wanted.terms.estimate, wanted.demand.devices
    lows = [estimated_cost(devices, kind, estimate.low_seconds) for kind in kinds]
    highs = [estimated_cost(devices, kind, estimate.high_seconds) for kind in kinds]
    return (min(lows), max(highs)) if highs and max(highs) > 0 else None


def _left(job: Job, wanted: Wanted, cost: tuple[Decimal, Decimal] | None) -> Iterator[Left]:
    """What the team has only so much of, after this."""
    team, pool, demand = job.team, wanted.pool, wanted.demand
    promises = promises_of(team, pool)
    share = Share.objects.filter(team=team, pool=pool).first() or Share()
    limits = {resource: promise.limit for resource, promise in promises.items() if promise.limit is not None}
    if R.DEVICES in limits:
        left = limits[R.DEVICES] - share.held_devices - demand.devices
        yield _in_pieces(_("Devices"), left, limits[R.DEVICES])
    if R.JOBS in limits:
        yield _in_pieces(_("Jobs at once"), limits[R.JOBS] - active_jobs(team, pool) - 1, limits[R.JOBS])
    if R.DEVICE_TIME in limits:
        yield _device_hours(team.pk, pool, wanted, limits[R.DEVICE_TIME])
    if R.STORAGE in limits:
        left = limits[R.STORAGE] - storage_bytes(team)
        yield Left(_("Storage"), in_bytes(max(0, left)), in_bytes(limits[R.STORAGE]), left <= 0)
    if (budget := budget_of(team)) is not None:
        left = budget.amount - budget.spent - (cost[1] if cost else 0)
        yield Left(_("Budget this month"), money(max(Decimal(0), left)), money(budget.amount), left < 0)


def _in_pieces(label: str, left: int, limit: int) -> Left:
    return Left(label, str(max(0, left)), str(limit), left < 0)


def _device_hours(team_id: int, pool: Pool, wanted: Wanted, limit: int) -> Left:
    used = device_seconds_this_month(pool, [team_id])[team_id]
    left = limit - used - wanted.demand.devices * wanted.terms.estimate.median_seconds
    return Left(_("Device-hours this month"), f"{max(0.0, left) / 3600:.1f}", f"{limit / 3600:.1f}", left < 0)
