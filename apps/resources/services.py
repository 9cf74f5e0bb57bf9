"""The pool's verbs: nodes beat, work asks for devices, plans are applied, devices come back."""

from collections import Counter
from datetime import timedelta

from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.accounts.models import Team
from apps.core.doorbell import ring
from apps.core.errors import Unprocessable
from apps.resources.models import Allocation, Device, Node, Pool, Quota, UsageRecord
from apps.resources.scheduling import Grant, NodeState, Plan, Reason, Request, Snapshot, plan

BEAT_SECONDS = 5
MISSED_BEATS = 3


def default_pool() -> Pool:
    return Pool.objects.get_or_create(name="default")[0]


def online_nodes() -> QuerySet[Node]:
    """Nodes that have beaten within the last three beats, by the database's clock."""
    return Node.objects.filter(last_beat_at__gt=Now() - timedelta(seconds=BEAT_SECONDS * MISSED_BEATS))


def is_online(node: Node) -> bool:
    return bool(node.last_beat_at) and timezone.now() - node.last_beat_at < timedelta(
        seconds=BEAT_SECONDS * MISSED_BEATS
    )


@transaction.atomic
def register_node(*, name: str, facts: dict) -> Node:
    """Make the node known with what it has. `facts`: cpu_count, memory_bytes, storage_free_bytes, devices
    [{kind, index, name, memory_bytes}]. A device that is gone is dropped once nothing holds it."""
    fields = {key: facts[key] for key in ("cpu_count", "memory_bytes", "storage_free_bytes")} | {"last_beat_at": Now()}
    node, _created = Node.objects.update_or_create(
        name=name, defaults=fields, create_defaults=fields | {"pool": default_pool()}
    )
    seen = []
    for device in facts["devices"]:
        row, _created = Device.objects.update_or_create(
            node=node,
            kind=device["kind"],
            index=device["index"],
            defaults={"name": device["name"], "memory_bytes": device["memory_bytes"]},
        )
        seen.append(row.pk)
    node.devices.filter(allocation=None).exclude(pk__in=seen).delete()
    return node


def beat_node(*, node: Node, storage_free_bytes: int) -> None:
    Node.objects.filter(pk=node.pk).update(last_beat_at=Now(), storage_free_bytes=storage_free_bytes)


def retire_node(*, node: Node) -> None:
    """The agent has stopped in order: the node is offline at once, not after three missed beats."""
    Node.objects.filter(pk=node.pk).update(last_beat_at=None)


def request_allocation(*, team: Team, devices: int, pool: Pool | None = None) -> Allocation:
    """Ask for `devices` of one node. Raises Unprocessable when no node of the pool could ever give them."""
    pool = pool or default_pool()
    largest = pool.nodes.annotate(n=Count("devices")).order_by("-n").values_list("n", flat=True).first()
    if largest and devices > largest:
        raise Unprocessable(
            _("This asks for %(asks)d devices at once; the largest machine has %(largest)d.")
            % {"asks": devices, "largest": largest},
            code="never_fits",
        )
    allocation = Allocation.objects.create(team=team, pool=pool, devices_asked=devices)
    ring("apps.jobs.tasks.schedule")
    return allocation


@transaction.atomic
def release_allocation(*, allocation: Allocation) -> None:
    """Give the devices back and write down what was used. Releasing twice changes nothing."""
    row = Allocation.objects.select_for_update().get(pk=allocation.pk)
    if row.status == Allocation.Status.RELEASED:
        return
    if row.status == Allocation.Status.GRANTED:
        _record_usage(row)
    row.devices.update(allocation=None)
    row.status, row.released_at = Allocation.Status.RELEASED, timezone.now()
    row.save(update_fields=["status", "released_at"])
    ring("apps.jobs.tasks.schedule")


def _record_usage(allocation: Allocation) -> None:
    ended_at = timezone.now()
    kinds = Counter(allocation.devices.values_list("kind", flat=True))
    UsageRecord.objects.create(
        team_id=allocation.team_id,
        allocation=allocation,
        device_kind=kinds.most_common(1)[0][0] if kinds else "",
        device_seconds=sum(kinds.values()) * (ended_at - allocation.granted_at).total_seconds(),
        started_at=allocation.granted_at,
        ended_at=ended_at,
    )


def take_snapshot(pool: Pool) -> Snapshot:
    """What the pool looks like now, as plain values."""
    nodes = online_nodes().filter(pool=pool, is_cordoned=False).prefetch_related("devices").order_by("id")
    granted = Allocation.objects.filter(pool=pool, status=Allocation.Status.GRANTED)
    light = dict(granted.filter(devices_asked=0).values_list("node_id").annotate(n=Count("id")))
    held = dict(granted.values_list("team_id").annotate(n=Sum("devices_asked")))
    limits = Quota.objects.filter(pool=pool, max_devices__isnull=False).values_list("team_id", "max_devices")
    pending = Allocation.objects.filter(pool=pool, status=Allocation.Status.PENDING).order_by("requested_at", "id")
    return Snapshot(
        nodes=tuple(_node_state(node, light.get(node.pk, 0)) for node in nodes),
        requests=tuple(Request(row.pk, row.team_id, row.devices_asked) for row in pending),
        held=held,
        device_limits=dict(limits),
    )


def _node_state(node: Node, light_in_use: int) -> NodeState:
    devices = list(node.devices.all())
    return NodeState(
        id=node.pk,
        name=node.name,
        free_devices=tuple(device.pk for device in devices if device.allocation_id is None),
        device_count=len(devices),
        light_slots=max(2, node.cpu_count) - light_in_use,
    )


def schedule_pool(pool: Pool) -> Plan:
    """One turn of the scheduler: snapshot, plan, apply."""
    decided = plan(take_snapshot(pool))
    apply_plan(decided)
    return decided


def apply_plan(decided: Plan) -> None:
    """Write a plan down with guarded updates; a grant whose devices were taken meanwhile is dropped whole."""
    for grant in decided.grants:
        _apply_grant(grant)
    for waiting in decided.waiting:
        reason = {
            "code": waiting.reason.code,
            "numbers": waiting.reason.numbers | {"place": waiting.place},
            "message": explain(waiting.reason),
        }
        pending = Allocation.objects.filter(pk=waiting.request_id, status=Allocation.Status.PENDING)
        pending.exclude(reason=reason).update(reason=reason)


def _apply_grant(grant: Grant) -> bool:
    with transaction.atomic():
        claimed = Allocation.objects.filter(pk=grant.request_id, status=Allocation.Status.PENDING).update(
            status=Allocation.Status.GRANTED, node=grant.node_id, granted_at=Now(), reason={}
        )
        taken = Device.objects.filter(pk__in=grant.device_ids, allocation=None).update(allocation=grant.request_id)
        if not claimed or taken != len(grant.device_ids):
            transaction.set_rollback(True)
            return False
        name = Node.objects.values_list("name", flat=True).get(pk=grant.node_id)
        ring("workers.tasks.start_work", queue=f"node.{name}")
    return True


def explain(reason: Reason) -> str:
    """The sentence for a reason code."""
    numbers = reason.numbers
    asks = ngettext("%(n)d device", "%(n)d devices", numbers["asks"]) % {"n": numbers["asks"]}
    match reason.code:
        case "team_quota":
            return _("It asks for %(asks)s; your team may hold %(limit)d and holds %(in_use)d.") % {
                "asks": asks,
                **{key: numbers[key] for key in ("limit", "in_use")},
            }
        case "no_node_online":
            return _("No machine of the pool is online. It starts by itself as soon as one is.")
        case "too_large_for_any_node":
            return _("It asks for %(asks)s; the largest machine online has %(largest)d.") % {
                "asks": asks,
                "largest": numbers["largest_node"],
            }
        case "nodes_busy":
            return _("Every machine is busy with other small jobs.")
        case _:
            return _("It asks for %(asks)s; %(free)d free at the moment.") % {"asks": asks, "free": numbers["free"]}


def pool_overview(team: Team) -> dict:
    """How full the pool and the team's quota are, for the home page and the launch form."""
    devices = Device.objects.filter(node__in=online_nodes()).aggregate(
        total=Count("id"), used=Count("id", filter=Q(allocation__isnull=False))
    )
    mine = Allocation.objects.filter(team=team, status=Allocation.Status.GRANTED).aggregate(
        n=Sum("devices_asked", default=0), jobs=Count("id")
    )
    quota = Quota.objects.filter(team=team, pool=default_pool()).first()
    return {
        "devices_total": devices["total"],
        "devices_used": devices["used"],
        "nodes_online": online_nodes().count(),
        "nodes_total": Node.objects.count(),
        "devices_held": mine["n"],
        "jobs_active": mine["jobs"],
        "quota_devices": quota.max_devices if quota else None,
        "quota_jobs": quota.max_jobs if quota else None,
        "quota_storage_bytes": quota.max_storage_bytes if quota else None,
    }


def reclaim_unclaimed(*, after_seconds: float) -> int:
    """Grants on nodes that went away before they started anything go back to the queue; returns how many."""
    stale = (
        Allocation.objects.filter(
            status=Allocation.Status.GRANTED,
            granted_at__lt=Now() - timedelta(seconds=after_seconds),
            job__status="queued",
        )
        .exclude(node__in=online_nodes())
        .select_related("node")
    )
    count = 0
    for allocation in stale:
        with transaction.atomic():
            if not lock_grant(allocation_id=allocation.pk, node=allocation.node):
                continue
            row = Allocation.objects.filter(pk=allocation.pk, job__status="queued")  # read under the lock
            if row.exists():
                row.update(status=Allocation.Status.PENDING, node=None, granted_at=None)
                Device.objects.filter(allocation=allocation).update(allocation=None)
                count += 1
    return count


def lock_grant(*, allocation_id: int | None, node: Node) -> bool:
    """Whether `node` holds the grant; until the transaction around this ends, nobody takes it back or releases it."""
    granted = Allocation.objects.filter(pk=allocation_id, status=Allocation.Status.GRANTED, node=node)
    return granted.select_for_update().first() is not None
