"""One turn of the scheduler: read the pool, plan, write the plan down.

`plan` is pure and may be old by the time it is applied. So applying locks what it is about to change, looks again, and
drops a grant that no longer holds; constraints of the database are the second fence. All who lock go in one order:
pool, claims, nodes, shares, devices.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import Sum
from django.db.models.functions import Now
from psycopg.types.json import Jsonb

from apps.core.doorbell import ring
from apps.resources.models import Allocation, ClearingPrice, Device, Pool, Quota, Share
from apps.resources.nodes import open_nodes
from apps.resources.reasons import explain
from apps.resources.scheduling import Eviction, Grant, Limits, Plan, Waiting, plan
from apps.resources.snapshots import limits_from, take_snapshot

BATCH = 250
TURNS = 7_305  # the class of this advisory lock
# For statements over many claims that wait: locked in one order, or two of them could wait for each other.
LOCK_PENDING = (
    "SELECT id FROM resources_allocation WHERE id = ANY(%s) AND status = 'pending' ORDER BY id FOR NO KEY UPDATE"
)
S = Allocation.Status


def schedule_pool(pool: Pool) -> Plan:
    """One turn of the scheduler: snapshot, plan, apply. Turns of one pool wait for each other, so that two do not send
    work away for the same beneficiary; that nothing is granted twice does not rest on it."""
    with _one_turn_at_a_time(pool):
        decided = plan(take_snapshot(pool))
        apply_plan(pool, decided)
    return decided


@contextmanager
def _one_turn_at_a_time(pool: Pool) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", [TURNS, pool.pk])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [TURNS, pool.pk])


def _in_batches(items: Sequence) -> Iterator[Sequence]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def apply_plan(pool: Pool, decided: Plan) -> int:
    """Write a plan down; returns how many grants held. One that no longer holds is dropped whole, and its claim waits
    for the next turn."""
    granted = sum(len(_apply_grants(pool, batch)) for batch in _in_batches(decided.grants))
    if decided.evictions:
        _apply_evictions(decided.evictions)
    _note_waiting(decided.waiting)
    if decided.clearing_price is not None:
        _publish_price(pool, decided)
    return granted


@dataclass
class _Locked:
    """The rows that a batch of grants wants to change, locked, and what is left of each while it is taken."""

    claims: dict[int, Allocation]
    cpu: dict[int, int]
    memory: dict[int, int]
    names: dict[int, str]
    free_devices: set[int]
    shares: dict[int, Share]
    limits: dict[int, Limits]
    has_prices: bool


@transaction.atomic
def _apply_grants(pool: Pool, grants: Sequence[Grant]) -> list[Grant]:
    locked = _lock(pool, grants)
    holding = [grant for grant in grants if _take(grant, locked)]
    if holding:
        _write_grants(holding, locked)
        for name in {locked.names[part.node_id] for grant in holding for part in grant.placements}:
            ring("workers.tasks.start_work", queue=f"node.{name}")
    return holding


def _lock(pool: Pool, grants: Sequence[Grant]) -> _Locked:
    policy = Pool.objects.select_for_update(no_key=True).get(pk=pool.pk).policy
    ids = [grant.request_id for grant in grants]
    pending = Allocation.objects.filter(pk__in=ids, status=S.PENDING)
    claims = {row.pk: row for row in pending.order_by("id").select_for_update(no_key=True)}
    parts = [part for grant in grants for part in grant.placements]
    wanted = open_nodes().filter(pool=pool, pk__in={part.node_id for part in parts}).order_by("id")
    nodes = list(wanted.select_for_update(no_key=True))
    teams = {row.team_id for row in claims.values()}
    shares = Share.objects.filter(pool=pool, team__in=teams).order_by("id").select_for_update(no_key=True)
    devices = Device.objects.filter(pk__in=[pk for part in parts for pk in part.device_ids], allocation=None)
    free = devices.order_by("id").select_for_update(no_key=True).values_list("pk", flat=True)
    rows: dict[int, dict[str, Quota]] = defaultdict(dict)
    for quota in Quota.objects.filter(pool=pool, team__in=teams):
        rows[quota.team_id][quota.resource] = quota
    return _Locked(
        claims=claims,
        cpu={node.pk: node.cpu_millicores - node.cpu_held_millicores for node in nodes},
        memory={node.pk: node.memory_bytes - node.memory_held_bytes for node in nodes},
        names={node.pk: node.name for node in nodes},
        free_devices=set(free),
        shares={share.team_id: share for share in shares},
        limits={team_id: limits_from(rows[team_id], "limit") for team_id in teams},
        has_prices=policy == Pool.Policy.AUCTION,
    )


def _take(grant: Grant, locked: _Locked) -> bool:
    """Whether the grant still holds; what it takes is then gone from `locked`."""
    row = locked.claims.get(grant.request_id)
    if row is None or row.team_id not in locked.shares or not _is_within_limits(row, locked):
        return False
    for part in grant.placements:
        if part.node_id not in locked.names or not locked.free_devices.issuperset(part.device_ids):
            return False
        if locked.cpu[part.node_id] < part.cpu_millicores or locked.memory[part.node_id] < part.memory_bytes:
            return False
    for part in grant.placements:
        locked.free_devices.difference_update(part.device_ids)
        locked.cpu[part.node_id] -= part.cpu_millicores
        locked.memory[part.node_id] -= part.memory_bytes
    _hold(row, locked.shares[row.team_id])
    del locked.claims[row.pk]
    return True


def _is_within_limits(row: Allocation, locked: _Locked) -> bool:
    share, limit = locked.shares[row.team_id], locked.limits[row.team_id]
    asked = (row.devices_asked, row.cpu_millicores, row.memory_bytes, row.jobs)
    held = (share.held_devices, share.held_cpu_millicores, share.held_memory_bytes, share.held_jobs)
    most = (limit.devices, limit.cpu_millicores, limit.memory_bytes, limit.jobs)
    return all(not n or top is None or now + n <= top for n, now, top in zip(asked, held, most, strict=True))


def _hold(row: Allocation, share: Share) -> None:
    share.held_devices += row.devices_asked
    share.held_cpu_millicores += row.cpu_millicores
    share.held_memory_bytes += row.memory_bytes
    share.held_jobs += row.jobs


def _write_grants(grants: Sequence[Grant], locked: _Locked) -> None:
    """Set-based: a few statements for a whole batch."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE resources_allocation a SET status = 'granted', node_id = v.node, price = v.price, "
            "granted_at = statement_timestamp(), reason = '{}', place = NULL, starts_low_at = NULL, "
            "starts_high_at = NULL, leave_requested_at = NULL, leave_code = '', leaving_for_id = NULL "
            "FROM unnest(%s::bigint[], %s::bigint[], %s::float8[]) AS v(id, node, price) WHERE a.id = v.id",
            [
                [grant.request_id for grant in grants],
                [grant.placements[0].node_id for grant in grants],
                [grant.price if locked.has_prices else 0.0 for grant in grants],
            ],
        )
        ids = [grant.request_id for grant in grants]  # who left for these has done so: the promise is kept
        cursor.execute("UPDATE resources_allocation SET leaving_for_id = NULL WHERE leaving_for_id = ANY(%s)", [ids])
        pairs = [(pk, grant.request_id) for grant in grants for part in grant.placements for pk in part.device_ids]
        cursor.execute(
            "UPDATE resources_device d SET allocation_id = v.claim "
            "FROM unnest(%s::bigint[], %s::bigint[]) AS v(id, claim) WHERE d.id = v.id",
            [[pk for pk, _claim in pairs], [claim for _pk, claim in pairs]],
        )
        _write_placements(cursor, grants)
        _write_node_counters(cursor, grants)
        _write_share_counters(cursor, list(locked.shares.values()))


def _write_placements(cursor, grants: Sequence[Grant]) -> None:
    parts = [(grant.request_id, part) for grant in grants for part in grant.placements]
    cursor.execute(
        "INSERT INTO resources_placement (allocation_id, node_id, cpu_millicores, memory_bytes) "
        "SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::int[], %s::bigint[])",
        [
            [claim for claim, _part in parts],
            [part.node_id for _claim, part in parts],
            [part.cpu_millicores for _claim, part in parts],
            [part.memory_bytes for _claim, part in parts],
        ],
    )


def _write_node_counters(cursor, grants: Sequence[Grant]) -> None:
    cpu: dict[int, int] = defaultdict(int)
    memory: dict[int, int] = defaultdict(int)
    for grant in grants:
        for part in grant.placements:
            cpu[part.node_id] += part.cpu_millicores
            memory[part.node_id] += part.memory_bytes
    ids = list(cpu)
    cursor.execute(
        "UPDATE resources_node n SET cpu_held_millicores = cpu_held_millicores + v.cpu, "
        "memory_held_bytes = memory_held_bytes + v.memory "
        "FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS v(id, cpu, memory) WHERE n.id = v.id",
        [ids, [cpu[pk] for pk in ids], [memory[pk] for pk in ids]],
    )


def _write_share_counters(cursor, shares: Sequence[Share]) -> None:
    cursor.execute(
        "UPDATE resources_share s SET held_devices = v.devices, held_cpu_millicores = v.cpu, "
        "held_memory_bytes = v.memory, held_jobs = v.jobs "
        "FROM unnest(%s::bigint[], %s::int[], %s::bigint[], %s::bigint[], %s::int[]) "
        "AS v(id, devices, cpu, memory, jobs) WHERE s.id = v.id",
        [
            [share.pk for share in shares],
            [share.held_devices for share in shares],
            [share.held_cpu_millicores for share in shares],
            [share.held_memory_bytes for share in shares],
            [share.held_jobs for share in shares],
        ],
    )


@transaction.atomic
def _apply_evictions(evictions: Sequence[Eviction]) -> None:
    """Ask running work to write a checkpoint and leave; asking twice changes nothing."""
    for eviction in evictions:
        granted = Allocation.objects.filter(pk=eviction.request_id, status=S.GRANTED, leave_requested_at=None)
        beneficiary = Allocation.objects.filter(pk=eviction.for_request_id, status=S.PENDING)
        if beneficiary.exists():
            granted.update(leave_requested_at=Now(), leave_code=eviction.code, leaving_for=eviction.for_request_id)


def _note_waiting(waiting: Sequence[Waiting]) -> None:
    """Why each claim waits; rows that say so already are left alone."""
    for part in _in_batches(waiting):
        items = {item.request_id: item for item in part}
        changed = []
        for row in Allocation.objects.filter(pk__in=items, status=S.PENDING).only("reason", "place", "bid"):
            wanted = (_reason_of(items[row.pk], row), items[row.pk].place)
            if (row.reason, row.place) != wanted:
                row.reason, row.place = wanted
                changed.append(row)
        with connection.cursor() as cursor:
            cursor.execute(
                f"WITH held AS MATERIALIZED ({LOCK_PENDING}) "
                "UPDATE resources_allocation a SET reason = v.reason, place = v.place "
                "FROM unnest(%s::bigint[], %s::jsonb[], %s::int[]) AS v(id, reason, place) JOIN held USING (id) "
                "WHERE a.id = v.id",
                [
                    [row.pk for row in changed],
                    [row.pk for row in changed],
                    [Jsonb(row.reason) for row in changed],
                    [row.place for row in changed],
                ],
            )


def _reason_of(waiting: Waiting, row: Allocation) -> dict:
    """Who was outbid hears so until the next sale, and not just that all devices are busy with what won."""
    reason, last = waiting.reason, row.reason
    if reason.code == "devices_busy" and last.get("code") == "outbid" and last["numbers"]["bid"] == row.bid:
        return {**last, "holders": list(reason.holders)}
    return {
        "code": reason.code,
        "numbers": dict(reason.numbers),
        "message": explain(reason),
        "holders": list(reason.holders),
    }


def _publish_price(pool: Pool, decided: Plan) -> None:
    """Write the clearing price where it has changed."""
    last = pool.clearing_prices.first()
    if last is not None and abs(last.price - decided.clearing_price) < 1e-9:
        return
    pending = Allocation.objects.filter(pool=pool, status=S.PENDING).aggregate(n=Sum("devices_asked"))["n"] or 0
    sold = Allocation.objects.filter(pool=pool, status=S.GRANTED).aggregate(n=Sum("devices_asked"))["n"] or 0
    ClearingPrice.objects.create(
        pool=pool, price=decided.clearing_price, devices_asked=pending + sold, devices_sold=sold
    )
