"""What was used, written down when it ends, and added up for those who decide what may start."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Case, Expression, F, FloatField, Func, Sum, Value, When
from django.db.models.functions import Cast, Extract, Greatest, Now
from django.utils import timezone

from apps.resources.models import Allocation, Budget, Device, Pool, StoredBytes, Traffic, UsageRecord
from apps.resources.periods import month_of
from apps.resources.prices import current_prices

HALF_LIFE_SECONDS = 7 * 86400
CENT = Decimal("0.01")


def record_usage(allocation: Allocation) -> UsageRecord:
    """Inside the transaction that releases a granted claim: what it held, for how long, for whom, at today's prices."""
    ended_at = timezone.now()
    seconds = max(0.0, (ended_at - allocation.granted_at).total_seconds())
    held = list(allocation.devices.values_list("kind", "name"))
    kind, name = Counter(held).most_common(1)[0][0] if held else ("", "")
    count = len(held)
    job = getattr(allocation, "job", None)
    return UsageRecord.objects.create(
        team_id=allocation.team_id,
        user_id=allocation.user_id,
        pool_id=allocation.pool_id,
        allocation=allocation,
        job_id=job and job.pk,
        job_name=allocation.work_name,
        node_name=allocation.node.name if allocation.node else "",
        device_kind=kind,
        device_name=name,
        device_count=count,
        device_seconds=count * seconds,
        busy_device_seconds=min(allocation.busy_device_seconds, count * seconds),
        cpu_core_seconds=allocation.cpu_millicores / 1000 * seconds,
        cost=current_prices().devices(held, seconds),
        started_at=allocation.granted_at,
        ended_at=ended_at,
    )


def add_busy_time(*, allocation_id: int, device_seconds: float) -> bool:
    """The claim's devices were really at work for so long; False when it is no longer granted."""
    rows = Allocation.objects.filter(pk=allocation_id, status=Allocation.Status.GRANTED)
    return bool(rows.update(busy_device_seconds=F("busy_device_seconds") + device_seconds))


def recent_device_seconds(pool: Pool) -> Mapping[int, float]:
    """Team id -> device-seconds used in the pool, each counting half for every week that has passed since
    (as in Slurm's multifactor priority)."""
    decay = Func(Value(0.5), _seconds(Now() - F("ended_at")) / HALF_LIFE_SECONDS, function="power")
    recent = UsageRecord.objects.filter(pool=pool, ended_at__gt=Now() - timedelta(seconds=10 * HALF_LIFE_SECONDS))
    rows = recent.values_list("team_id")
    return dict(rows.annotate(n=Sum(F("device_seconds") * decay, output_field=FloatField())))


def device_seconds_this_month(pool: Pool, team_ids: Collection[int]) -> Mapping[int, float]:
    """Team id -> device-seconds since the first of this month, with what still runs."""
    if not team_ids:
        return {}
    start = _month_start()
    ended = UsageRecord.objects.filter(pool=pool, team__in=team_ids, ended_at__gt=start)
    used = ended.values_list("team_id").annotate(n=Sum(F("device_seconds") * _share_since(start)))
    granted = Allocation.objects.filter(pool=pool, team__in=team_ids, status=Allocation.Status.GRANTED)
    running = granted.values_list("team_id").annotate(n=Sum(_held_since(start, "granted_at") * F("devices_asked")))
    total: dict[int, float] = dict.fromkeys(team_ids, 0.0)
    for team_id, seconds in [*used, *running]:
        total[team_id] += seconds
    return total


def cost_this_month(team_ids: Collection[int]) -> Mapping[int, Decimal]:
    """Team id -> what its devices, storage and network have cost since the first of this month, what still runs at
    today's prices."""
    start = _month_start()
    first = timezone.localtime(start).date()
    records = UsageRecord.objects.filter(team__in=team_ids, ended_at__gt=start)
    ended = records.values_list("team_id").annotate(n=Sum(Cast("cost", FloatField()) * _share_since(start)))
    total: dict[int, Decimal] = defaultdict(Decimal)
    for team_id, cost in ended:
        total[team_id] += Decimal(cost)
    for model in (StoredBytes, Traffic):
        rows = model.objects.filter(team__in=team_ids, day__gte=first).values_list("team_id")
        for team_id, cost in rows.annotate(n=Sum("cost")):
            total[team_id] += cost
    for team_id, cost in _cost_of_running(team_ids, start).items():
        total[team_id] += cost
    return {team_id: total[team_id].quantize(CENT) for team_id in team_ids}


def _cost_of_running(team_ids: Collection[int], start: datetime) -> Mapping[int, Decimal]:
    held = Device.objects.filter(allocation__team__in=team_ids, allocation__status=Allocation.Status.GRANTED)
    rows = held.order_by().values_list("allocation__team_id", "kind", "name")
    prices = current_prices()
    cost: dict[int, Decimal] = defaultdict(Decimal)
    for team_id, kind, name, seconds in rows.annotate(n=Sum(_held_since(start, "allocation__granted_at"))):
        cost[team_id] += prices.devices([(kind, name)], max(0.0, seconds))
    return cost


def _month_start() -> datetime:
    return month_of(timezone.now(), timezone.get_default_timezone()).start


def _seconds(interval: Expression) -> Expression:
    return Extract(interval, "epoch", output_field=FloatField())


def _held_since(start: datetime, granted_at: str) -> Expression:
    """How long a claim that still runs has been granted, from `start` on."""
    return _seconds(Now() - Greatest(F(granted_at), Value(start)))


def _share_since(start: datetime) -> Expression:
    """The part of a record, 0 to 1, that lies after `start`; it has ended after it."""
    part = _seconds(F("ended_at") - Value(start)) / _seconds(F("ended_at") - F("started_at"))
    return Case(When(started_at__gte=start, then=Value(1.0)), default=part, output_field=FloatField())


def teams_over_budget() -> frozenset[int]:
    """Teams that have spent their budget of this month: nothing new starts for them."""
    amounts = dict(Budget.objects.values_list("team_id", "amount_per_month"))
    if not amounts:
        return frozenset()
    spent = cost_this_month(amounts)
    return frozenset(team_id for team_id, amount in amounts.items() if spent[team_id] >= amount)
