"""What machines do and what is done with them: they register, beat, leave; people cordon, drain and remove them."""

import time
from collections.abc import Collection, Iterable
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, DurationField, ExpressionWrapper, F, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.doorbell import ring, ring_once
from apps.core.errors import Conflict, NotFound
from apps.core.outages import is_steady
from apps.resources.models import Allocation, Device, Node, Pool
from workers.measuring import DeviceUse

BEAT_SECONDS = settings.BEAT_SECONDS
MISSED_BEATS = 3
OFFLINE_AFTER = timedelta(seconds=BEAT_SECONDS * MISSED_BEATS)
SERVING = ("pending", "starting", "ready", "stopping")  # replicas that a machine still has to do with
FACTS = ("cpu_count", "memory_bytes", "storage_bytes", "storage_free_bytes")


def default_pool() -> Pool:
    return Pool.objects.get_or_create(name="default")[0]


def usual_pool() -> Pool:
    """Where work goes that names no pool: the default one, or the first that has a machine where that has none."""
    default = default_pool()
    with_machines = list(nodes_in_pool().order_by("pool_id").values_list("pool_id", flat=True).distinct())
    if not with_machines or default.pk in with_machines:
        return default
    return Pool.objects.get(pk=with_machines[0])


def pool_named(name: str) -> Pool:
    """Raises NotFound."""
    pool = Pool.objects.filter(name=name).first()
    if pool is None:
        raise NotFound(_('There is no pool "%(name)s".') % {"name": name[:60]}, field="pool")
    return pool


def nodes_in_pool() -> QuerySet[Node]:
    """All machines that were not removed, online or not."""
    return Node.objects.filter(removed_at=None)


def online_nodes() -> QuerySet[Node]:
    """Nodes that have beaten within the last three beats, by the database's clock."""
    return nodes_in_pool().filter(last_beat_at__gt=Now() - OFFLINE_AFTER)


def open_nodes() -> QuerySet[Node]:
    """Online nodes that take new work."""
    return online_nodes().filter(is_cordoned=False, drain_requested_at=None)


def nodes_to_leave() -> set[int]:
    """Machines from which what serves has to move: they are emptied, were removed, or are lost. None of a pool while
    that has no other machine to go to: what serves there then stays."""
    emptied = Q(drain_requested_at__isnull=False) | Q(removed_at__isnull=False)
    return {*_with_somewhere_to_go(emptied), *lost_nodes()}


def lost_nodes() -> set[int]:
    """Machines that have been silent, or away, for as long as it takes to give their jobs away. None of a pool while
    that has no other machine, and none after an outage, until all have had the time to beat."""
    long_ago = Now() - timedelta(seconds=settings.LEPTON_LEASE_SECONDS)
    found = _with_somewhere_to_go(Q(last_beat_at__lt=long_ago) | Q(last_beat_at=None, retired_at__lt=long_ago))
    return found if found and is_steady(now=time.time()) else set()


def _with_somewhere_to_go(which: Q) -> set[int]:
    """Those in whose pool another machine takes work."""
    return set(Node.objects.filter(which, pool__in=open_nodes().values("pool")).values_list("pk", flat=True))


def with_state(nodes: QuerySet[Node]) -> QuerySet[Node]:
    """With what `state_of` reads: how long it has been silent, by the database's clock, and what is still on it."""
    granted = Q(placements__allocation__status=Allocation.Status.GRANTED, placements__allocation__is_service=False)
    return nodes.annotate(
        silent_for=ExpressionWrapper(Now() - F("last_beat_at"), output_field=DurationField()),
        claims_left=Count("placements", filter=granted, distinct=True),
        replicas_left=Count("replicas", filter=Q(replicas__status__in=SERVING), distinct=True),
    )


def is_online(node: Node) -> bool:
    """Of a node that was read by `with_state`."""
    return node.silent_for is not None and node.silent_for < OFFLINE_AFTER


def state_of(node: Node) -> str:
    """removed, offline, drained, draining, cordoned or online. Of a node that was read by `with_state`."""
    if node.removed_at:
        return "removed"
    if not is_online(node):
        return "offline"
    if node.drain_requested_at:
        return "draining" if node.claims_left or node.replicas_left else "drained"
    return "cordoned" if node.is_cordoned else "online"


@transaction.atomic
def register_node(*, name: str, facts: dict, machine_id: str = "") -> Node:
    """Make the node known with what it has. `facts`: cpu_count, memory_bytes, storage_bytes, storage_free_bytes,
    devices [{kind, index, name, memory_bytes}], address. A device that is gone is dropped once nothing holds it.

    Raises Conflict for a name that was removed from the pool, or that another machine works under at present.
    """
    node = Node.objects.select_for_update().filter(name=name).first()
    if node is not None:
        check_may_register(node, machine_id)
    else:
        node = Node(name=name, pool=default_pool())
        record_audit(team=None, actor=None, action="node.joined", target=name)
    for key in FACTS:
        setattr(node, key, facts.get(key, 0))
    # What is held was promised: a machine that comes back smaller keeps room for it until it ends.
    node.cpu_millicores = max(facts["cpu_count"] * 1000, node.cpu_held_millicores)
    node.memory_bytes = max(facts["memory_bytes"], node.memory_held_bytes)
    node.machine_id = machine_id or node.machine_id
    node.address = facts.get("address", node.address)
    node.last_beat_at, node.retired_at = Now(), None
    node.save()
    node.refresh_from_db()
    seen = [_register_device(node, device) for device in facts["devices"]]
    node.devices.filter(allocation=None).exclude(pk__in=seen).delete()
    ring_once("apps.jobs.tasks.schedule")
    return node


def check_may_register(node: Node, machine_id: str) -> None:
    """Raises Conflict for a removed node, and while another machine works under its name."""
    if node.removed_at:
        raise Conflict(
            _("The machine %(node)s was removed from the pool. An administrator can put it back on the page Nodes.")
            % {"node": node.name},
            code="node_removed",
        )
    is_another = machine_id and node.machine_id and machine_id != node.machine_id
    if is_another and online_nodes().filter(pk=node.pk).exists():
        raise Conflict(
            _("Another machine works under the name %(node)s. Start this one with a name of its own: --name NAME.")
            % {"node": node.name},
            code="node_name_taken",
        )


def _register_device(node: Node, facts: dict) -> int:
    known = {"name": facts["name"], "memory_bytes": facts["memory_bytes"]}
    row, _created = Device.objects.update_or_create(node=node, kind=facts["kind"], index=facts["index"], defaults=known)
    return row.pk


def drop_gone_devices(*, node: Node, present: Collection[tuple[str, int]]) -> None:
    """Forget devices that were still held when the node registered without them, as soon as nothing holds them."""
    for device in node.devices.all():
        if (device.kind, device.index) not in present:
            Device.objects.filter(pk=device.pk, allocation=None).delete()


def beat_node(*, node: Node, devices: Iterable[DeviceUse] = (), **measured: object) -> bool:
    """The node lives. `measured` are fields of the node that its agent has just seen, such as storage_free_bytes.

    False when the node was removed, or another machine has taken its name: its agent must leave.
    """
    if not _same_machine(node).filter(removed_at=None).update(last_beat_at=Now(), **measured):
        return False
    for use in devices:
        rows = Device.objects.filter(node=node, kind=use.kind, index=use.index)
        rows.update(busy_fraction=use.busy_fraction, memory_used_bytes=use.memory_used_bytes)
    return True


def retire_node(*, node: Node) -> None:
    """The agent has stopped in order: the node is offline at once, not after three missed beats."""
    _same_machine(node).update(last_beat_at=None, retired_at=Now())


def _same_machine(node: Node) -> QuerySet[Node]:
    return Node.objects.filter(pk=node.pk, machine_id=node.machine_id)


@transaction.atomic
def cordon_node(*, node: Node, user: User | None) -> None:
    """Keep new work away; what runs stays."""
    if Node.objects.filter(pk=node.pk, is_cordoned=False, removed_at=None).update(is_cordoned=True):
        record_audit(team=None, actor=user, action="node.cordoned", target=node.name)


def uncordon_node(*, node: Node, user: User | None) -> None:
    """Let new work in again, also after a drain; what has not left yet may stay.

    The node is changed before its claims and apart from them: whoever locks both locks the claims first.
    """
    rows = Node.objects.filter(pk=node.pk, removed_at=None).exclude(is_cordoned=False, drain_requested_at=None)
    if not rows.update(is_cordoned=False, drain_requested_at=None):
        return
    leaving = _granted_on(node).filter(leave_code=Allocation.Leave.DRAINED).values_list("pk", flat=True)
    staying = Allocation.objects.filter(pk__in=list(leaving), leave_code=Allocation.Leave.DRAINED)
    staying.update(leave_requested_at=None, leave_code="")
    record_audit(team=None, actor=user, action="node.opened", target=node.name)
    ring_once("apps.jobs.tasks.schedule")


def drain_node(*, node: Node, user: User | None) -> int:
    """Keep new work away, and ask what runs there to go on elsewhere with a checkpoint. Returns how many claims.

    The node is changed before its claims and apart from them, as above; no grant comes in between, for it would look
    whether the node is open.
    """
    rows = Node.objects.filter(pk=node.pk, drain_requested_at=None, removed_at=None)
    if not rows.update(is_cordoned=True, drain_requested_at=Now()):
        return 0
    ids = list(_granted_on(node).filter(leave_requested_at=None).values_list("pk", flat=True).distinct())
    asked = Allocation.objects.filter(pk__in=ids, status=Allocation.Status.GRANTED, leave_requested_at=None)
    count = asked.update(leave_requested_at=Now(), leave_code=Allocation.Leave.DRAINED)
    record_audit(team=None, actor=user, action="node.drained", target=node.name, details={"jobs": count})
    ring("workers.tasks.start_work", queue=f"node.{node.name}")
    return count


@transaction.atomic
def remove_node(*, node: Node, user: User | None) -> None:
    """Take the machine out of the pool; its agent ends. Raises Conflict while something runs on it."""
    row = Node.objects.select_for_update(of=("self",)).get(pk=node.pk)
    if row.removed_at:
        return
    jobs = _granted_on(row).filter(is_service=False).count()
    # Of a machine that is silent nobody knows whether it still serves; its replicas are started elsewhere.
    replicas = row.replicas.filter(status__in=SERVING).count() if online_nodes().filter(pk=row.pk).exists() else 0
    if jobs or replicas:
        raise Conflict(
            _("%(node)s is busy: jobs %(jobs)d, replicas %(replicas)d. Drain it first; they go on elsewhere.")
            % {"node": row.name, "jobs": jobs, "replicas": replicas},
            code="node_busy",
            details={"jobs": jobs, "replicas": replicas},
        )
    Node.objects.filter(pk=row.pk).update(removed_at=Now(), last_beat_at=None, is_cordoned=True)
    record_audit(team=None, actor=user, action="node.removed", target=row.name)


@transaction.atomic
def restore_node(*, node: Node, user: User | None) -> None:
    """Undo a removal: an agent of that name may register again, and gets work."""
    rows = Node.objects.filter(pk=node.pk, removed_at__isnull=False)
    if rows.update(removed_at=None, is_cordoned=False, drain_requested_at=None):
        record_audit(team=None, actor=user, action="node.restored", target=node.name)


def _granted_on(node: Node) -> QuerySet[Allocation]:
    return Allocation.objects.filter(status=Allocation.Status.GRANTED, placements__node=node)


def devices_in(pool: Pool) -> int:
    """How many devices all machines of the pool have together."""
    return Device.objects.filter(node__in=nodes_in_pool().filter(pool=pool)).count()


def largest_node(pool: Pool) -> int:
    """The most devices that one machine of the pool has; 0 while it has none."""
    counted = nodes_in_pool().filter(pool=pool).annotate(n=Count("devices")).order_by("-n")
    return counted.values_list("n", flat=True).first() or 0
