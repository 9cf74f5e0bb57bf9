"""What would let work that waits start sooner. Each change is tried on the pool as it is, by the plan that decides."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.core.caching import remembered
from apps.core.errors import DomainError
from apps.resources.forecasting import Start, forecast_start, outlook_of, request_for
from apps.resources.models import Allocation, Pool
from apps.resources.refusals import check_terms, find_refusal
from apps.resources.scheduling import Priority, Request, Snapshot, requests_that_would_help
from apps.resources.snapshots import take_snapshot
from apps.resources.wanted import Wanted, in_words, wanted_of, written

KEPT_SECONDS = 30
SHOWN = 4
WORTH = 0.8  # a start is sooner if at most this part of the wait is left


@dataclass(frozen=True)
class Help:
    """A change that helps: `choices` are what to choose otherwise (see Wanted), `start` when it would start then."""

    code: str
    choices: Mapping[str, Any]
    start: Start

    @property
    def sent(self) -> Mapping[str, str]:
        """The choices as a form sends them."""
        return written(self.choices)

    @property
    def message(self) -> str:
        """What to do, as a button says it."""
        chosen = self.choices
        match self.code:
            case "fewer_devices":
                count = chosen["devices"]
                return ngettext("Ask for %(n)d device", "Ask for %(n)d devices", count) % {"n": count}
            case "any_device_kind":
                return _("Take any kind of device")
            case "preemptible":
                return _("Let it be preempted")
            case "higher_bid":
                return _("Bid %(bid)g credits") % {"bid": chosen["bid"]}
            case "higher_priority":
                return _("Give it %(priority)s priority") % {"priority": in_words("priority", chosen["priority"])}
            case "less_memory":
                return _("Ask for %(size)s of memory") % {"size": in_words("memory", chosen["memory"])}
            case "less_cpu":
                return _("Ask for %(cores)s") % {"cores": in_words("cpu", chosen["cpu"])}
            case _:
                return _("Move it to the pool %(pool)s") % {"pool": chosen["pool"]}


def find_help(claim: Allocation) -> Sequence[Help]:
    """What would help, the soonest start first; at most a few seconds old."""
    kept = remembered(f"help:{claim.pk}", lambda: [_as_words(item) for item in _search(claim)], seconds=KEPT_SECONDS)
    return [Help(code, choices, Start(*start)) for code, choices, start in kept]


def _as_words(item: Help) -> tuple:
    start = item.start
    return item.code, dict(item.choices), (start.is_now, start.low_seconds, start.high_seconds)


def _search(claim: Allocation) -> list[Help]:
    """The mildest change of each sort that helps."""
    snapshots = {claim.pool_id: take_snapshot(claim.pool)}
    wanted = wanted_of(claim)
    now = _start(claim, wanted, snapshots)
    found: dict[str, Help] = {}
    for code, changed in _changes(claim, wanted, snapshots[claim.pool_id]):
        if now.is_now or code in found or not _is_possible(claim, changed):
            continue
        start = _start(claim, changed, snapshots)
        if _is_sooner(start, now):
            found[code] = Help(code.split()[0], _difference(wanted, changed), start)
    return sorted(found.values(), key=lambda item: item.start.latest)[:SHOWN]


def _is_possible(claim: Allocation, changed: Wanted) -> bool:
    """Whether somebody of the team could ask for this."""
    try:
        check_terms(team=claim.team, user=None, wanted=changed)
    except DomainError:
        return False
    return find_refusal(team=claim.team, user=claim.user, wanted=changed) is None


def _changes(claim: Allocation, wanted: Wanted, snapshot: Snapshot) -> Iterator[tuple[str, Wanted]]:
    """One thing otherwise at a time: what the engine proposes, and what it cannot know of."""
    code, numbers = claim.reason.get("code"), claim.reason.get("numbers", {})
    if "price" in numbers:  # a little above it
        bid = float(f"{max(numbers['price'] * 1.05, numbers['price'] + 0.01):.3g}")
        if bid > claim.bid:
            yield "higher_bid", wanted.changed({"bid": bid})
    if any(request.id == claim.pk for request in snapshot.requests):
        for alternative in requests_that_would_help(snapshot, claim.pk):
            changed = _as_wanted(alternative.request, wanted)
            if changed.demand.max_nodes == wanted.demand.max_nodes:  # programs use one machine
                yield alternative.code, changed
    if wanted.terms.priority < Priority.HIGH and snapshot.settings.policy == Pool.Policy.PRIORITY:
        yield "higher_priority", replace(wanted, terms=replace(wanted.terms, priority=wanted.terms.priority + 1))
    if code == "memory_busy":
        yield "less_memory", wanted.changed({"memory": wanted.choices["memory"] / 2})
    if code == "cpu_busy":
        yield "less_cpu", wanted.changed({"cpu": wanted.choices["cpu"] / 2})
    for pool in Pool.objects.exclude(pk=claim.pool_id).order_by("name"):
        yield f"other_pool {pool.name}", wanted.changed({"pool": pool})


def _as_wanted(request: Request, wanted: Wanted) -> Wanted:
    terms = replace(wanted.terms, is_preemptible=request.is_preemptible, bid=request.bid)
    return replace(wanted, demand=request.demand, terms=terms)


def _difference(wanted: Wanted, changed: Wanted) -> dict[str, Any]:
    was, now = wanted.choices, changed.choices
    return {name: value for name, value in now.items() if value != was[name]}


def _start(claim: Allocation, wanted: Wanted, snapshots: dict[int, Snapshot]) -> Start:
    pool = wanted.pool
    if pool.pk not in snapshots:
        snapshots[pool.pk] = take_snapshot(pool)
    snapshot = snapshots[pool.pk]
    request = request_for(wanted, team_id=claim.team_id, user_id=claim.user_id or 0, now=snapshot.now, claim=claim)
    return forecast_start(snapshot, request, outlook_of(pool))


def _is_sooner(start: Start, otherwise: Start) -> bool:
    now = time.time()
    return start.is_known and start.latest - now < WORTH * (otherwise.latest - now)
