"""What can never run, said before it waits: the same on the launch form, in the API and where a claim is made."""

from collections.abc import Sequence
from dataclasses import replace

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import Membership, Team, User
from apps.core.errors import DomainError, Forbidden, Unprocessable
from apps.resources.market import USUAL_HOURS, check_bid
from apps.resources.models import Pool
from apps.resources.quotas import promises_of
from apps.resources.reasons import amount
from apps.resources.scheduling import Demand, NodeState, Priority, Reason, Request, exceeds_limit, never_fits
from apps.resources.scheduling import Team as PlannedTeam
from apps.resources.snapshots import limits_from, node_states
from apps.resources.wanted import Wanted

FIELDS = {"devices": "devices", "cpu": "cpu", "cpu_millicores": "cpu", "memory": "memory", "memory_bytes": "memory"}
MOST_CORES, MOST_GB = 1_000_000, 1_000_000
MOST = Demand(devices=10_000, cpu_millicores=MOST_CORES * 1000, memory_bytes=MOST_GB * 10**9)
NOT_ALLOWED = gettext_lazy("High priority is for owners and admins of the team. Choose normal, or ask one of them.")


def find_refusal(*, team: Team, user: User | None, wanted: Wanted) -> DomainError | None:
    """Why this can never run in its pool, as the error to raise; None where it can. A pool without a machine takes
    everything: it waits until one joins."""
    demand = wanted.demand
    if wrong := _out_of_range(demand):
        return wrong
    promises = promises_of(team, wanted.pool)
    planned = PlannedTeam(team.pk, limit=limits_from(promises, "limit"), user_limit=limits_from(promises, "user_limit"))
    request = Request(id=0, team_id=team.pk, user_id=user.pk if user else 0, demand=demand, submitted_at=0.0)
    if reason := exceeds_limit(planned, request):
        return _above_limit(reason)
    nodes = [node for node in node_states(wanted.pool) if node.memory_bytes]  # others have not told yet what they have
    reason = never_fits(demand, nodes)
    if reason is None or reason.code == "no_node_online":
        return None
    if reason.code == "kind_missing":
        return _kind_missing(demand, nodes)
    if reason.code == "too_large_for_pool":
        return _too_large_for_pool(demand, nodes)
    return _too_large_for_any_node(demand, nodes)


def check_terms(*, team: Team, user: User | None, wanted: Wanted, had_priority: int = Priority.NORMAL) -> None:
    """Raises Unprocessable for senseless terms, and Forbidden for a class above `had_priority` that `user` may not
    give: high comes before every other team's work, so it takes an owner or admin, who answers for the team."""
    terms, pool = wanted.terms, wanted.pool
    if terms.priority not in list(Priority):
        raise Unprocessable(
            _("Choose one of the priorities low, normal and high."), code="unknown_priority", field="priority"
        )
    if terms.priority > max(had_priority, Priority.NORMAL) and user is not None and not may_prioritise(team, user):
        raise Forbidden(str(NOT_ALLOWED), code="priority_not_allowed", field="priority")
    if terms.bid and pool.policy != Pool.Policy.AUCTION:
        raise Unprocessable(
            _("The pool %(pool)s is not shared by auction. Leave the bid out.") % {"pool": pool},
            code="no_auction",
            field="bid",
        )
    if terms.bid:
        hours = terms.estimate.median_seconds / 3600 if terms.estimate else USUAL_HOURS
        check_bid(team=team, pool=pool, bid=terms.bid, devices=wanted.demand.devices, hours=hours)


def may_prioritise(team: Team, user: User) -> bool:
    """Whether this person may give the team's work high priority."""
    managers = (Membership.Role.OWNER, Membership.Role.ADMIN)
    return user.is_superuser or Membership.objects.filter(team=team, user=user, role__in=managers).exists()


def _out_of_range(demand: Demand) -> Unprocessable | None:
    for name in ("devices", "cpu_millicores", "memory_bytes"):
        if not 0 <= getattr(demand, name) <= getattr(MOST, name):
            message = _("Give a number from 0 to %(most)s.") % {"most": amount(name, getattr(MOST, name))}
            return Unprocessable(message, code="out_of_range", field=FIELDS[name])
    return None


def _above_limit(reason: Reason) -> Unprocessable:
    numbers = reason.numbers
    words = {key: amount(numbers["resource"], numbers[key]) for key in ("asks", "limit")}
    if reason.code == "user_limit":
        message = _("This asks for %(asks)s; each person of your team may hold %(limit)s at most.")
    else:
        message = _("This asks for %(asks)s; your team may hold %(limit)s at most.")
    return Unprocessable(
        message % words + " " + _("Ask for less, or ask an administrator for more."),
        code="exceeds_limit",
        field=FIELDS.get(str(numbers["resource"]), ""),
        details={**numbers, "whose": reason.code.removesuffix("_limit")},
    )


def _kind_missing(demand: Demand, nodes: Sequence[NodeState]) -> Unprocessable:
    known = sorted({node.device_kind for node in nodes if node.device_kind})
    return Unprocessable(
        _('No machine of the pool has a device of the kind "%(kind)s". There are: %(known)s.')
        % {"kind": demand.device_kind, "known": ", ".join(known) or _("none")},
        code="kind_missing",
        field="device_kind",
        details={"kind": demand.device_kind, "known": known},
    )


def _too_large_for_pool(demand: Demand, nodes: Sequence[NodeState]) -> Unprocessable:
    total = sum(node.device_count for node in nodes if demand.device_kind in ("", node.device_kind))
    words = {"asks": amount("devices", demand.devices), "total": amount("devices", total)}
    return Unprocessable(
        _("This asks for %(asks)s; all machines of the pool together have %(total)s. Ask for less.") % words,
        code="too_large_for_pool",
        field="devices",
        details={"resource": "devices", "asks": demand.devices, "total": total},
    )


def _too_large_for_any_node(demand: Demand, nodes: Sequence[NodeState]) -> Unprocessable:
    """Names the first resource that is too much, beside the largest machine that has enough of those before it."""
    suitable = [node for node in nodes if demand.device_kind in ("", node.device_kind)]
    no_memory = replace(demand, memory_bytes=0)
    for resource, part in (("devices", replace(no_memory, cpu_millicores=0)), ("cpu", no_memory), ("memory", demand)):
        left = [node for node in suitable if never_fits(part, [node]) is None]
        if not left:
            return _too_much_of(resource, demand, suitable)
        suitable = left
    return _too_much_of("memory", demand, suitable)


def _too_much_of(resource: str, demand: Demand, suitable: Sequence[NodeState]) -> Unprocessable:
    asked = {"devices": "devices", "cpu": "cpu_millicores", "memory": "memory_bytes"}[resource]
    held = {"devices": "device_count", "cpu": "cpu_millicores", "memory": "memory_bytes"}[resource]
    asks, largest = getattr(demand, asked), max(getattr(node, held) for node in suitable)
    words = {"asks": amount(resource, asks), "largest": amount(resource, largest)}
    return Unprocessable(
        _("This asks for %(asks)s on one machine; the largest that would do has %(largest)s. Ask for less.") % words,
        code="too_large_for_any_node",
        field=FIELDS[resource],
        details={"resource": resource, "asks": asks, "largest_node": largest},
    )
