"""The pool as plain values: what a plan is made from, read from the database."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from django.db import connection
from django.db.models import Exists, OuterRef

from apps.resources.accounting import device_seconds_this_month, recent_device_seconds, teams_over_budget
from apps.resources.models import Allocation, Node, Pool, Quota, Share
from apps.resources.nodes import nodes_in_pool, open_nodes
from apps.resources.scheduling import (
    Demand,
    Estimate,
    Limits,
    NodeState,
    PolicySettings,
    Priority,
    Request,
    Resources,
    Running,
    Snapshot,
    Team,
)
from apps.resources.scheduling import Placement as PlannedPlacement

S = Allocation.Status
R = Quota.Resource
# What serves is not expected to end: nobody is promised its room.
_TEN_YEARS = 10 * 365 * 86400.0
UNENDING = Estimate(_TEN_YEARS, _TEN_YEARS, _TEN_YEARS)


def take_snapshot(pool: Pool) -> Snapshot:
    """What the pool looks like now, as plain values; times are seconds since 1970 by the database's clock."""
    claims = Allocation.objects.filter(pool=pool)
    pending = claims.filter(status=S.PENDING).annotate(is_promised=_has_made_others_leave())
    return Snapshot(
        now=database_time().timestamp(),
        nodes=node_states(pool),
        requests=tuple(request_of(row) for row in pending.order_by("submitted_at", "id")),
        running=_running(claims.filter(status=S.GRANTED).order_by("id")),
        teams=_teams(pool),
        settings=settings_of(pool),
    )


def _has_made_others_leave() -> Exists:
    """Whether others were asked to leave for a claim: their room stays its own until it starts, also once they left."""
    return Exists(Allocation.objects.filter(leaving_for=OuterRef("pk")))


def database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        return cursor.fetchone()[0].astimezone(UTC)


def settings_of(pool: Pool) -> PolicySettings:
    return PolicySettings(
        policy=pool.policy,
        is_preemptive=pool.is_preemptive,
        min_runtime_seconds=pool.min_runtime_seconds,
        starvation_seconds=pool.starvation_seconds,
    )


def node_states(pool: Pool) -> tuple[NodeState, ...]:
    nodes = nodes_in_pool().filter(pool=pool).prefetch_related("devices").order_by("id")
    is_open = set(open_nodes().filter(pool=pool).values_list("id", flat=True))
    return tuple(_node_state(node, node.pk in is_open) for node in nodes)


def _node_state(node: Node, is_open: bool) -> NodeState:
    devices = list(node.devices.all())
    return NodeState(
        id=node.pk,
        name=node.name,
        device_kind=devices[0].kind if devices else "",
        device_count=len(devices),
        free_devices=tuple(device.pk for device in devices if device.allocation_id is None),
        cpu_millicores=node.cpu_millicores,
        free_cpu_millicores=node.cpu_millicores - node.cpu_held_millicores,
        memory_bytes=node.memory_bytes,
        free_memory_bytes=node.memory_bytes - node.memory_held_bytes,
        is_open=is_open,
    )


def request_of(row: Allocation) -> Request:
    return Request(
        id=row.pk,
        team_id=row.team_id,
        user_id=row.user_id or 0,
        demand=demand_of(row),
        submitted_at=(row.submitted_at or row.requested_at).timestamp(),
        waiting_since=row.requested_at.timestamp(),
        priority=Priority(row.priority),
        is_preemptible=row.is_preemptible,
        estimate=estimate_of(row),
        attained_seconds=row.attained_seconds,
        bid=row.bid,
        is_promised=getattr(row, "is_promised", False),
    )


def demand_of(row: Allocation) -> Demand:
    return Demand(
        row.devices_asked, row.cpu_millicores, row.memory_bytes, row.device_kind, row.max_nodes, row.is_service
    )


def estimate_of(row: Allocation) -> Estimate | None:
    if row.is_service:
        return UNENDING
    if row.median_seconds is None:
        return None
    return Estimate(row.low_seconds, row.median_seconds, row.high_seconds)


def _running(granted: Iterable[Allocation]) -> tuple[Running, ...]:
    rows = list(granted.prefetch_related("placements", "devices"))
    return tuple(
        Running(
            request=request_of(row),
            placements=_placements(row),
            started_at=row.granted_at.timestamp(),
            leaving_for=(row.leaving_for_id or 0) if row.leave_requested_at else None,
        )
        for row in rows
    )


def _placements(row: Allocation) -> tuple[PlannedPlacement, ...]:
    held = defaultdict(list)
    for device in row.devices.all():
        held[device.node_id].append(device.pk)
    return tuple(
        PlannedPlacement(part.node_id, tuple(held[part.node_id]), part.cpu_millicores, part.memory_bytes)
        for part in row.placements.all()
    )


def _teams(pool: Pool) -> Mapping[int, Team]:
    quotas: dict[int, dict[str, Quota]] = defaultdict(dict)
    for quota in Quota.objects.filter(pool=pool):
        quotas[quota.team_id][quota.resource] = quota
    recent = recent_device_seconds(pool)
    over = teams_over_budget()
    limited = {team_id for team_id, rows in quotas.items() if R.DEVICE_TIME in rows}
    used = device_seconds_this_month(pool, limited)
    shares = {share.team_id: share for share in Share.objects.filter(pool=pool)}
    return {
        team_id: Team(
            id=team_id,
            weight=shares[team_id].weight if team_id in shares else 1.0,
            guaranteed=_guaranteed(quotas[team_id]),
            limit=limits_from(quotas[team_id], "limit"),
            user_limit=limits_from(quotas[team_id], "user_limit"),
            recent_device_seconds=recent.get(team_id, 0.0),
            device_seconds_left=_time_left(quotas[team_id], used.get(team_id, 0.0)),
            is_budget_spent=team_id in over,
            credits=shares[team_id].credits if team_id in shares else 0.0,
        )
        for team_id in {*shares, *quotas}
    }


def _guaranteed(rows: Mapping[str, Quota]) -> Resources:
    return Resources(*(rows[resource].guaranteed if resource in rows else 0 for resource in Quota.GUARANTEED))


def limits_from(rows: Mapping[str, Quota], field: str) -> Limits:
    found = {resource: getattr(row, field) for resource, row in rows.items()}
    return Limits(found.get(R.DEVICES), found.get(R.CPU), found.get(R.MEMORY), found.get(R.JOBS))


def _time_left(rows: Mapping[str, Quota], used: float) -> float | None:
    quota = rows.get(R.DEVICE_TIME)
    return None if quota is None or quota.limit is None else max(0.0, quota.limit - used)
