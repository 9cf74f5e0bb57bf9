"""The verbs of claims: work asks for hardware, is granted it by a plan, and gives it back."""

from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import ngettext

from apps.accounts.models import Team, User
from apps.core.doorbell import ring
from apps.core.errors import Unprocessable
from apps.resources.accounting import record_usage
from apps.resources.market import charge
from apps.resources.models import Allocation, Device, Node, Pool, Quota, Share
from apps.resources.nodes import default_pool, largest_node, nodes_in_pool, online_nodes
from apps.resources.quotas import promises_of, share_of
from apps.resources.scheduling import Demand, Estimate, Priority


@dataclass(frozen=True)
class Terms:
    """On what terms a claim waits and runs: its class, whether it may be preempted, what it bids (credits for one
    device-hour), and how long it is expected to run."""

    priority: int = Priority.NORMAL
    is_preemptible: bool = True
    bid: float = 0.0
    estimate: Estimate | None = None


USUAL_TERMS = Terms()


@transaction.atomic
def request_allocation(
    *, team: Team, user: User | None, demand: Demand, terms: Terms = USUAL_TERMS, pool: Pool | None = None
) -> Allocation:
    """Ask for hardware. Raises Unprocessable when no node of the pool could ever give it."""
    pool = pool or default_pool()
    _check_fits(pool, demand)
    share_of(team, pool)
    estimate = terms.estimate
    allocation = Allocation.objects.create(
        team=team,
        pool=pool,
        user=user,
        devices_asked=demand.devices,
        device_kind=demand.device_kind,
        cpu_millicores=demand.cpu_millicores,
        memory_bytes=demand.memory_bytes,
        max_nodes=demand.max_nodes,
        priority=terms.priority,
        is_preemptible=terms.is_preemptible,
        bid=terms.bid,
        low_seconds=estimate and estimate.low_seconds,
        median_seconds=estimate and estimate.median_seconds,
        high_seconds=estimate and estimate.high_seconds,
        submitted_at=timezone.now(),
    )
    ring("apps.jobs.tasks.schedule")
    return allocation


CARRIED = (
    "team_id", "pool_id", "user_id", "devices_asked", "device_kind", "cpu_millicores", "memory_bytes", "max_nodes",
    "priority", "is_preemptible", "bid", "low_seconds", "median_seconds", "high_seconds", "submitted_at",
)  # fmt: skip


@transaction.atomic
def renew_allocation(*, allocation: Allocation) -> Allocation:
    """The same claim anew, for work that goes back to the queue; what it has run so far counts. Releases the old."""
    ran = (timezone.now() - allocation.granted_at).total_seconds() if allocation.granted_at else 0.0
    renewed = Allocation.objects.create(
        attained_seconds=allocation.attained_seconds + max(0.0, ran),
        **{name: getattr(allocation, name) for name in CARRIED},
    )
    Allocation.objects.filter(leaving_for=allocation).update(leaving_for=renewed)
    release_allocation(allocation=allocation)
    return renewed


@transaction.atomic
def release_allocation(*, allocation: Allocation) -> None:
    """Give the hardware back and write down what was used. Releasing twice changes nothing."""
    row = Allocation.objects.select_for_update().get(pk=allocation.pk)
    if row.status == Allocation.Status.RELEASED:
        return
    if row.status == Allocation.Status.GRANTED:
        record_usage(row)
        give_back(row)
        charge(allocation=row)
    row.status, row.released_at = Allocation.Status.RELEASED, timezone.now()
    row.save(update_fields=["status", "released_at"])
    ring("apps.jobs.tasks.schedule")


def give_back(allocation: Allocation) -> None:
    """Inside a transaction, of a granted claim that is locked: all counters and devices, in the scheduler's order."""
    for placement in allocation.placements.order_by("node_id"):
        Node.objects.filter(pk=placement.node_id).update(
            cpu_held_millicores=F("cpu_held_millicores") - placement.cpu_millicores,
            memory_held_bytes=F("memory_held_bytes") - placement.memory_bytes,
        )
    Share.objects.filter(team=allocation.team_id, pool=allocation.pool_id).update(
        held_devices=F("held_devices") - allocation.devices_asked,
        held_cpu_millicores=F("held_cpu_millicores") - allocation.cpu_millicores,
        held_memory_bytes=F("held_memory_bytes") - allocation.memory_bytes,
        held_jobs=F("held_jobs") - 1,
    )
    Device.objects.filter(allocation=allocation).update(allocation=None)
    allocation.placements.all().delete()


def _check_fits(pool: Pool, demand: Demand) -> None:
    largest = largest_node(pool)
    total = Device.objects.filter(node__in=nodes_in_pool().filter(pool=pool)).count()
    most = largest if demand.max_nodes == 1 else total
    if largest and demand.devices > most:
        raise Unprocessable(
            ngettext(
                "This asks for %(asks)d device at once; the largest machine has %(largest)d.",
                "This asks for %(asks)d devices at once; the largest machine has %(largest)d.",
                demand.devices,
            )
            % {"asks": demand.devices, "largest": most},
            code="never_fits",
        )


def pool_overview(team: Team) -> dict:
    """How full the pool and the team's quota are, for the home page and the launch form."""
    devices = Device.objects.filter(node__in=online_nodes()).aggregate(
        total=Count("id"), used=Count("id", filter=Q(allocation__isnull=False))
    )
    mine = Allocation.objects.filter(team=team, status=Allocation.Status.GRANTED).aggregate(
        n=Sum("devices_asked", default=0), jobs=Count("id")
    )
    promises = promises_of(team)
    return {
        "devices_total": devices["total"],
        "devices_used": devices["used"],
        "nodes_online": online_nodes().count(),
        "nodes_total": nodes_in_pool().count(),
        "devices_held": mine["n"],
        "jobs_active": mine["jobs"],
        "quota_devices": promises[Quota.Resource.DEVICES].limit,
        "quota_jobs": promises[Quota.Resource.JOBS].limit,
        "quota_storage_bytes": promises[Quota.Resource.STORAGE].limit,
    }


def reclaim_unclaimed(*, after_seconds: float) -> int:
    """Grants that nobody has started on go back to the queue, where their node went away or they were asked to leave;
    returns how many."""
    unclaimed = Allocation.objects.filter(status=Allocation.Status.GRANTED, job__status="queued")
    is_old = Q(granted_at__lt=Now() - timedelta(seconds=after_seconds))
    gone = unclaimed.filter(is_old).exclude(node__in=online_nodes())
    asked_to_leave = unclaimed.filter(leave_requested_at__isnull=False)
    stale = {allocation.pk: allocation for rows in (gone, asked_to_leave) for allocation in rows.select_related("node")}
    return sum(_take_back(allocation) for allocation in stale.values())


@transaction.atomic
def _take_back(allocation: Allocation) -> bool:
    if not lock_grant(allocation_id=allocation.pk, node=allocation.node):
        return False
    row = Allocation.objects.filter(pk=allocation.pk, job__status="queued")  # read under the lock
    if not row.exists():
        return False
    give_back(allocation)
    row.update(
        status=Allocation.Status.PENDING,
        node=None,
        granted_at=None,
        leave_requested_at=None,
        leave_code="",
        leaving_for=None,
    )
    return True


def lock_grant(*, allocation_id: int | None, node: Node, is_to_stay: bool = False) -> bool:
    """Whether `node` holds the grant; until the transaction around this ends, nobody takes it back or releases it.

    With `is_to_stay` a grant that was asked to leave does not count: what has not begun need not begin.
    """
    granted = Allocation.objects.filter(pk=allocation_id, status=Allocation.Status.GRANTED, node=node)
    if is_to_stay:
        granted = granted.filter(leave_requested_at=None)
    return granted.select_for_update().first() is not None
