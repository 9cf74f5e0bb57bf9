"""What would let work that waits start sooner. Each change is tried on the pool as it is, by the plan that decides."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.resources.forecasting import Start, forecast_start, request_for
from apps.resources.models import Allocation, Pool
from apps.resources.planning import take_snapshot
from apps.resources.refusals import find_refusal
from apps.resources.scheduling import Priority, Snapshot
from apps.resources.wanted import PRIORITIES, Wanted, in_words, wanted_of, written

KEPT_SECONDS = 15
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
        [(name, value)] = self.choices.items()
        match name:
            case "devices":
                return ngettext("Ask for %(n)d device", "Ask for %(n)d devices", value) % {"n": value}
            case "device_kind":
                return _("Take any kind of device")
            case "pool":
                return _("Move it to the pool %(pool)s") % {"pool": value}
            case "preemptible":
                return _("Let it be preempted")
            case "bid":
                return _("Bid %(bid)g credits") % {"bid": value}
            case "priority":
                return _("Give it %(priority)s priority") % {"priority": in_words("priority", value)}
            case "memory":
                return _("Ask for %(size)s of memory") % {"size": in_words("memory", value)}
            case _:
                return _("Ask for %(cores)s") % {"cores": in_words("cpu", value)}


def find_help(claim: Allocation) -> Sequence[Help]:
    """What would help, the soonest start first; at most a few seconds old."""
    key = f"help:{claim.pk}"
    kept = cache.get(key)
    if kept is None:
        kept = [_as_words(item) for item in _search(claim)]
        cache.set(key, kept, KEPT_SECONDS)
    return [Help(code, choices, Start(*start)) for code, choices, start in kept]


def _as_words(item: Help) -> tuple:
    start = item.start
    return item.code, dict(item.choices), (start.is_now, start.low_seconds, start.high_seconds)


def _search(claim: Allocation) -> list[Help]:
    snapshot = take_snapshot(claim.pool)
    wanted = wanted_of(claim)
    now = _start(claim, wanted, snapshot)
    if now.is_now:
        return []
    found = []
    for code, choices in _changes(claim, wanted, snapshot):
        changed, there = wanted.changed(choices), snapshot
        if "pool" in choices:
            there = take_snapshot(changed.pool)
            choices = {"pool": changed.pool.name}
        if find_refusal(team=claim.team, user=claim.user, wanted=changed) is None:
            start = _start(claim, changed, there)
            if _is_sooner(start, now):
                found.append(Help(code, choices, start))
    return sorted(found, key=lambda item: item.start.latest)[:SHOWN]


def _changes(claim: Allocation, wanted: Wanted, snapshot: Snapshot) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """One thing otherwise at a time."""
    demand, terms = wanted.demand, wanted.terms
    if demand.devices > 1:
        for devices in sorted({demand.devices - 1, demand.devices // 2, 1}, reverse=True):
            yield "fewer_devices", {"devices": devices}
    if demand.device_kind:
        yield "any_kind", {"device_kind": ""}
    if not terms.is_preemptible:
        yield "preemptible", {"preemptible": True}
    if terms.priority < Priority.HIGH and snapshot.settings.policy == Pool.Policy.PRIORITY:
        yield "priority", {"priority": next(name for name, value in PRIORITIES.items() if value == terms.priority + 1)}
    if snapshot.settings.policy == Pool.Policy.AUCTION and (bid := _winning_bid(claim, snapshot)):
        yield "bid", {"bid": bid}
    if claim.reason.get("code") == "memory_busy":
        yield "less_memory", {"memory": demand.memory_bytes / 2 / 10**9}
    if claim.reason.get("code") == "cpu_busy":
        yield "less_cpu", {"cpu": demand.cpu_millicores / 2 / 1000}
    for pool in Pool.objects.exclude(pk=claim.pool_id).order_by("name"):
        yield "other_pool", {"pool": pool}


def _winning_bid(claim: Allocation, snapshot: Snapshot) -> float | None:
    """A little above the price, if the team has so much."""
    price = claim.reason.get("numbers", {}).get("price")
    team = snapshot.teams.get(claim.team_id)
    if price is None or team is None:
        return None
    bid = float(f"{max(price * 1.05, price + 0.01):.3g}")
    return bid if claim.bid < bid <= team.credits else None


def _start(claim: Allocation, wanted: Wanted, snapshot: Snapshot) -> Start:
    request = request_for(wanted, team_id=claim.team_id, user_id=claim.user_id or 0, now=snapshot.now, claim=claim)
    return forecast_start(snapshot, request)


def _is_sooner(start: Start, otherwise: Start) -> bool:
    now = time.time()
    return start.is_known and start.latest - now < WORTH * (otherwise.latest - now)
