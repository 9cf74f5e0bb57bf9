"""Where and how work is to run, in the words and units that people use: cores, GB, low, normal, high."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from apps.resources.models import Allocation, Device, Pool
from apps.resources.scheduling import Demand, Estimate, Priority
from apps.resources.snapshots import demand_of, estimate_of

GB = 10**9
PRIORITIES = {priority.name.lower(): priority for priority in Priority}
LABELS = {
    "pool": gettext_lazy("pool"),
    "devices": gettext_lazy("devices"),
    "device_kind": gettext_lazy("kind of device"),
    "cpu": gettext_lazy("CPU"),
    "memory": gettext_lazy("memory"),
    "priority": gettext_lazy("priority"),
    "preemptible": gettext_lazy("may be preempted"),
    "bid": gettext_lazy("bid"),
}


@dataclass(frozen=True)
class Terms:
    """On what terms a claim waits and runs: its class, whether it may be preempted, what it bids (credits for one
    device-hour), and how long it is expected to run."""

    priority: int = Priority.NORMAL
    is_preemptible: bool = True
    bid: float = 0.0
    estimate: Estimate | None = None


USUAL_TERMS = Terms()


@dataclass(frozen=True)
class Wanted:
    """What work asks of a pool. The choices of people are pool, devices, device_kind, cpu (cores), memory (GB),
    priority (low, normal, high), preemptible and bid (credits for one device-hour)."""

    pool: Pool
    demand: Demand
    terms: Terms = field(default=USUAL_TERMS)

    def changed(self, choices: Mapping[str, Any]) -> "Wanted":
        """The same with some choices made otherwise. A bid counts only in a pool that is auctioned."""
        pool = choices.get("pool", self.pool)
        demand, terms = {}, {}
        if pool.policy != Pool.Policy.AUCTION:
            terms["bid"] = 0.0
        for name, value in choices.items():
            match name:
                case "devices" | "device_kind":
                    demand[name] = value
                case "cpu":
                    demand["cpu_millicores"] = round(value * 1000)
                case "memory":
                    demand["memory_bytes"] = round(value * GB)
                case "priority":
                    terms["priority"] = PRIORITIES[value]
                case "preemptible":
                    terms["is_preemptible"] = value
                case "bid":
                    terms["bid"] = value
        return Wanted(pool, replace(self.demand, **demand), replace(self.terms, **terms))

    @property
    def choices(self) -> dict[str, Any]:
        """The choices, as `changed` takes them, with the pool by its name."""
        return {
            "pool": self.pool.name,
            "devices": self.demand.devices,
            "device_kind": self.demand.device_kind,
            "cpu": self.demand.cpu_millicores / 1000,
            "memory": round(self.demand.memory_bytes / GB, 3),
            "priority": Priority(self.terms.priority).name.lower(),
            "preemptible": self.terms.is_preemptible,
            "bid": self.terms.bid,
        }


def wanted_of(claim: Allocation) -> Wanted:
    """What a claim asks for."""
    terms = Terms(claim.priority, claim.is_preemptible, claim.bid, estimate_of(claim))
    return Wanted(claim.pool, demand_of(claim), terms)


def describe_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What two `choices` differ in, in words: "devices 2 → 1, may be preempted no → yes"."""
    parts = [
        f"{LABELS[name]} {in_words(name, before[name])} → {in_words(name, after[name])}"
        for name in after
        if before[name] != after[name]
    ]
    return ", ".join(parts) or _("nothing")


def in_words(name: str, value: Any) -> str:
    """A choice as a sentence names it."""
    match name:
        case "device_kind":
            return str(Device.Kind(value).label) if value in Device.Kind.values else value or _("any")
        case "cpu":
            return ngettext("%(n)g core", "%(n)g cores", 1 if value == 1 else 2) % {"n": value}
        case "memory":
            return _("%(n)g GB") % {"n": value}
        case "priority":
            return str(Allocation.Priority(PRIORITIES[value]).label).lower()
        case "preemptible":
            return _("yes") if value else _("no")
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)


def written(choices: Mapping[str, Any]) -> dict[str, str]:
    """Choices as a form sends them."""
    return {
        name: str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
        for name, value in choices.items()
    }
