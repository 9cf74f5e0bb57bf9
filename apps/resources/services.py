"""The verbs of claims: work asks for hardware, is granted it by a plan, and gives it back."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Team, User
from apps.core.doorbell import ring_once
from apps.core.errors import Conflict
from apps.resources.accounting import record_usage
from apps.resources.market import charge
from apps.resources.models import Allocation, Device, Node, Placement, Pool, Quota, Share
from apps.resources.nodes import nodes_in_pool, online_nodes, usual_pool
from apps.resources.quotas import Promise, promises_of, share_of
from apps.resources.refusals import check_terms, find_refusal
from apps.resources.scheduling import Demand
from apps.resources.wanted import USUAL_TERMS, Terms, Wanted


@transaction.atomic
def request_allocation(
    *, team: Team, user: User | None, demand: Demand, terms: Terms = USUAL_TERMS, pool: Pool | None = None
) -> Allocation:
    """Ask for hardware. Raises Unprocessable (too_large_for_any_node, too_large_for_pool, kind_missing, exceeds_limit)
    when it could never be given, with the `field` to change; and what `check_terms` raises."""
    wanted = Wanted(pool or usual_pool(), demand, terms)
    check_terms(team=team, user=user, wanted=wanted)
    return _make_claim(team=team, user=user, wanted=wanted)


@transaction.atomic
def change_claim(*, allocation: Allocation, wanted: Wanted, user: User | None) -> Allocation:
    """Let a claim that waits ask for something else, and keep its place in time. Returns the claim to go on with: a new
    one, so that a plan that was made for the old finds nothing to grant. Raises Conflict when it waits no more."""
    row = Allocation.objects.select_for_update().get(pk=allocation.pk)
    if row.status != Allocation.Status.PENDING:
        raise Conflict(_("It does not wait any more, so nothing was changed."), code="not_waiting")
    check_terms(team=row.team, user=user, wanted=wanted, had_priority=row.priority)
    changed = _make_claim(team=row.team, user=row.user, wanted=wanted)
    kept = {name: getattr(row, name) for name in ("submitted_at", "requested_at", "attained_seconds", "leave_code")}
    Allocation.objects.filter(pk=changed.pk).update(**kept)
    Allocation.objects.filter(leaving_for=row).update(leaving_for=changed)
    release_allocation(allocation=row)
    changed.refresh_from_db()
    return changed


def _make_claim(*, team: Team, user: User | None, wanted: Wanted) -> Allocation:
    if refusal := find_refusal(team=team, user=user, wanted=wanted):
        raise refusal
    share_of(team, wanted.pool)
    demand, terms, estimate = wanted.demand, wanted.terms, wanted.terms.estimate
    allocation = Allocation.objects.create(
        team=team,
        pool=wanted.pool,
        user=user,
        devices_asked=demand.devices,
        device_kind=demand.device_kind,
        cpu_millicores=demand.cpu_millicores,
        memory_bytes=demand.memory_bytes,
        max_nodes=demand.max_nodes,
        is_service=demand.is_service,
        priority=terms.priority,
        is_preemptible=terms.is_preemptible,
        bid=terms.bid,
        low_seconds=estimate and estimate.low_seconds,
        median_seconds=estimate and estimate.median_seconds,
        high_seconds=estimate and estimate.high_seconds,
        submitted_at=timezone.now(),
    )
    ring_once("apps.jobs.tasks.schedule")
    return allocation


CARRIED = (
    "team_id", "pool_id", "user_id", "devices_asked", "device_kind", "cpu_millicores", "memory_bytes", "max_nodes",
    "priority", "is_preemptible", "bid", "low_seconds", "median_seconds", "high_seconds", "submitted_at",
)  # fmt: skip


@transaction.atomic
def renew_allocation(*, allocation: Allocation) -> Allocation:
    """The same claim anew, for work that goes back to the queue; what it has run so far counts. Releases the old.
    Where it was asked to leave, the new one says why in `leave_code` while it waits."""
    ran = (timezone.now() - allocation.granted_at).total_seconds() if allocation.granted_at else 0.0
    renewed = Allocation.objects.create(
        attained_seconds=allocation.attained_seconds + max(0.0, ran),
        leave_code=allocation.leave_code if allocation.leave_requested_at else "",
        **{name: getattr(allocation, name) for name in CARRIED},
    )
    release_allocation(allocation=allocation)
    return renewed


@transaction.atomic
def resume_claim(*, allocation: Allocation, wanted: Wanted, user: User | None) -> Allocation:
    """A claim anew for work that rested and had given the old one back. It queues behind what waits already; what it
    has run so far counts. Raises what a request raises."""
    check_terms(team=allocation.team, user=user, wanted=wanted, had_priority=allocation.priority)
    renewed = _make_claim(team=allocation.team, user=allocation.user, wanted=wanted)
    ran = (allocation.released_at - allocation.granted_at).total_seconds() if allocation.granted_at else 0.0
    renewed.attained_seconds = allocation.attained_seconds + max(0.0, ran)
    renewed.save(update_fields=["attained_seconds"])
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
    ring_once("apps.jobs.tasks.schedule")


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
        held_jobs=F("held_jobs") - allocation.jobs,
    )
    Device.objects.filter(allocation=allocation).update(allocation=None)
    allocation.placements.all().delete()


def pool_overview(team: Team | None) -> dict:
    """How full the pool and the team's quota are, for the home page, the launch form, and people without a team."""
    devices = Device.objects.filter(node__in=online_nodes()).aggregate(
        total=Count("id"), used=Count("id", filter=Q(allocation__isnull=False))
    )
    mine = Allocation.objects.filter(team=team, status=Allocation.Status.GRANTED).aggregate(
        n=Sum("devices_asked", default=0), jobs=Count("id", filter=Q(is_service=False))
    )
    promises = promises_of(team) if team else dict.fromkeys(Quota.Resource.values, Promise())
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
    away = Placement.objects.exclude(node__in=online_nodes())
    gone = unclaimed.filter(is_old, placements__in=away)
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
