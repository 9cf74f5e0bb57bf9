"""What machines do and what is done with them: they register, beat, leave; people cordon, drain and remove them."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Count, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.doorbell import ring
from apps.core.errors import Conflict, NotFound
from apps.resources.models import Allocation, Device, Node, Pool

BEAT_SECONDS = 5
MISSED_BEATS = 3
OFFLINE_AFTER = timedelta(seconds=BEAT_SECONDS * MISSED_BEATS)
FACTS = ("cpu_count", "memory_bytes", "storage_bytes", "storage_free_bytes")


def default_pool() -> Pool:
    return Pool.objects.get_or_create(name="default")[0]


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


def is_online(node: Node) -> bool:
    return bool(node.last_beat_at) and timezone.now() - node.last_beat_at < OFFLINE_AFTER


@transaction.atomic
def register_node(*, name: str, facts: dict, machine_id: str = "") -> Node:
    """Make the node known with what it has. `facts`: cpu_count, memory_bytes, storage_bytes, storage_free_bytes,
    devices [{kind, index, name, memory_bytes}]. A device that is gone is dropped once nothing holds it.

    Raises Conflict for a name that was removed from the pool, or that another machine works under at present.
    """
    node = Node.objects.select_for_update().filter(name=name).first()
    if node is not None:
        _check_may_register(node, machine_id)
    else:
        node = Node(name=name, pool=default_pool())
    for key in FACTS:
        setattr(node, key, facts.get(key, 0))
    # What is held was promised: a machine that comes back smaller keeps room for it until it ends.
    node.cpu_millicores = max(facts["cpu_count"] * 1000, node.cpu_held_millicores)
    node.memory_bytes = max(facts["memory_bytes"], node.memory_held_bytes)
    node.machine_id = machine_id or node.machine_id
    node.last_beat_at = Now()
    node.save()
    node.refresh_from_db()
    seen = [_register_device(node, device) for device in facts["devices"]]
    node.devices.filter(allocation=None).exclude(pk__in=seen).delete()
    return node


def _check_may_register(node: Node, machine_id: str) -> None:
    if node.removed_at:
        raise Conflict(
            _("The machine %(node)s was removed from the pool. Add it again on the Pool page.") % {"node": node.name},
            code="node_removed",
        )
    if machine_id and node.machine_id and machine_id != node.machine_id and is_online(node):
        raise Conflict(
            _("Another machine works under the name %(node)s. Start this one with a name of its own: --name NAME.")
            % {"node": node.name},
            code="node_name_taken",
        )


def _register_device(node: Node, facts: dict) -> int:
    known = {"name": facts["name"], "memory_bytes": facts["memory_bytes"]}
    row, _created = Device.objects.update_or_create(node=node, kind=facts["kind"], index=facts["index"], defaults=known)
    return row.pk


def beat_node(*, node: Node, **measured: object) -> bool:
    """The node lives. `measured` are fields of the node that its agent has just seen, such as storage_free_bytes.

    False when the node was removed: its agent must leave.
    """
    return bool(Node.objects.filter(pk=node.pk, removed_at=None).update(last_beat_at=Now(), **measured))


def retire_node(*, node: Node) -> None:
    """The agent has stopped in order: the node is offline at once, not after three missed beats."""
    Node.objects.filter(pk=node.pk).update(last_beat_at=None)


@transaction.atomic
def cordon_node(*, node: Node, user: User | None) -> None:
    """Keep new work away; what runs stays."""
    if Node.objects.filter(pk=node.pk, is_cordoned=False).update(is_cordoned=True):
        record_audit(team=None, actor=user, action="node.cordoned", target=node.name)


@transaction.atomic
def uncordon_node(*, node: Node, user: User | None) -> None:
    """Let new work in again, also after a drain."""
    rows = Node.objects.filter(pk=node.pk, removed_at=None)
    if rows.update(is_cordoned=False, drain_requested_at=None):
        record_audit(team=None, actor=user, action="node.opened", target=node.name)
        ring("apps.jobs.tasks.schedule")


@transaction.atomic
def drain_node(*, node: Node, user: User | None) -> int:
    """Keep new work away, and ask what runs there to go on elsewhere with a checkpoint. Returns how many claims."""
    if not Node.objects.filter(pk=node.pk, drain_requested_at=None).update(is_cordoned=True, drain_requested_at=Now()):
        return 0
    record_audit(team=None, actor=user, action="node.drained", target=node.name)
    granted = Allocation.objects.filter(
        status=Allocation.Status.GRANTED, placements__node=node, leave_requested_at=None
    ).distinct()
    ids = list(granted.values_list("pk", flat=True))
    asked = Allocation.objects.filter(pk__in=ids, status=Allocation.Status.GRANTED, leave_requested_at=None)
    count = asked.update(leave_requested_at=Now(), leave_code=Allocation.Leave.DRAINED)
    ring("workers.tasks.start_work", queue=f"node.{node.name}")
    return count


def is_drained(node: Node) -> bool:
    """Whether a drain has been asked for and nothing is left on the node."""
    return bool(node.drain_requested_at) and not _granted_on(node).exists()


@transaction.atomic
def remove_node(*, node: Node, user: User | None) -> None:
    """Take the machine out of the pool. Raises Conflict while something runs on it."""
    row = Node.objects.select_for_update().get(pk=node.pk)
    if busy := _granted_on(row).count():
        raise Conflict(
            _("%(n)d jobs still hold %(node)s. Drain it first; they go on elsewhere.") % {"n": busy, "node": row.name},
            code="node_busy",
            details={"jobs": busy},
        )
    if row.removed_at is None:
        Node.objects.filter(pk=row.pk).update(removed_at=Now(), last_beat_at=None, is_cordoned=True)
        record_audit(team=None, actor=user, action="node.removed", target=row.name)


def _granted_on(node: Node) -> QuerySet[Allocation]:
    return Allocation.objects.filter(status=Allocation.Status.GRANTED, placements__node=node)


def largest_node(pool: Pool) -> int:
    """The most devices that one machine of the pool has; 0 while it has none."""
    counted = nodes_in_pool().filter(pool=pool).annotate(n=Count("devices")).order_by("-n")
    return counted.values_list("n", flat=True).first() or 0
