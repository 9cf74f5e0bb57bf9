"""The sentence for every reason why work waits."""

from collections.abc import Mapping

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.core.templatetags.lepton import in_bytes
from apps.resources.scheduling import Reason


def explain(reason: Reason) -> str:
    """Why it waits, with the numbers. Never empty."""
    writer = SENTENCES.get(reason.code, _wait_for_devices)
    return writer(reason.numbers)


def _devices(count: int) -> str:
    return ngettext("%(n)d device", "%(n)d devices", count) % {"n": count}


def amount(resource: object, value: float) -> str:
    """A number of a resource in words: 3 devices, 2 cores, 4.0 GB, 5 jobs."""
    match resource:
        case "cpu" | "cpu_millicores":
            return _("%(n)g CPU cores") % {"n": value / 1000}
        case "memory" | "memory_bytes":
            return _("%(size)s of memory") % {"size": in_bytes(int(value))}
        case "jobs":
            return ngettext("%(n)d job", "%(n)d jobs", int(value)) % {"n": value}
        case _:
            return _devices(int(value))


def _team_limit(numbers: Mapping) -> str:
    return _("It asks for %(asks)s; your team may hold %(limit)s and holds %(in_use)s.") % _limit_words(numbers)


def _user_limit(numbers: Mapping) -> str:
    return _("It asks for %(asks)s; each person of your team may hold %(limit)s, and you hold %(in_use)s.") % (
        _limit_words(numbers)
    )


def _limit_words(numbers: Mapping) -> dict:
    resource = numbers.get("resource", "devices")
    return {key: amount(resource, numbers.get(key, 0)) for key in ("asks", "limit", "in_use")}


def _hours_spent(numbers: Mapping) -> str:
    return _("Your team has used the device-hours it has for this month. It starts next month, or with more hours.")


def _budget_spent(numbers: Mapping) -> str:
    return _("Your team's budget for this month is spent. It starts next month, or when the budget is raised.")


def _no_node(numbers: Mapping) -> str:
    return _("No machine of the pool is online. It starts by itself as soon as one is.")


def _kind_missing(numbers: Mapping) -> str:
    return _("No machine that is online has a device of the kind %(kind)s.") % {"kind": numbers.get("kind", "?")}


def _too_large_for_any_node(numbers: Mapping) -> str:
    resource = numbers.get("resource", "devices")
    return _("It asks for %(asks)s on one machine; the largest machine online has %(largest)s.") % {
        "asks": amount(resource, numbers["asks"]),
        "largest": amount(resource, numbers.get("largest_node", 0)),
    }


def _too_large_for_pool(numbers: Mapping) -> str:
    resource = numbers.get("resource", "devices")
    return _("It asks for %(asks)s; all machines online together have %(total)s.") % {
        "asks": amount(resource, numbers["asks"]),
        "total": amount(resource, numbers.get("total", 0)),
    }


def _being_freed(numbers: Mapping) -> str:
    count = int(numbers.get("devices", 0))
    return ngettext(
        "%(n)d device is being freed for it: what runs there writes a checkpoint first.",
        "%(n)d devices are being freed for it: what runs there writes a checkpoint first.",
        count,
    ) % {"n": count}


def _outbid(numbers: Mapping) -> str:
    return _("It bids %(bid)g credits for a device-hour and was outbid; more than %(price)g would have won.") % {
        "bid": numbers.get("bid", 0),
        "price": numbers.get("price", 0),
    }


def _behind(numbers: Mapping) -> str:
    ahead = int(numbers.get("ahead", 1))
    return ngettext(
        "Room is kept for %(n)d job that comes before it.",
        "Room is kept for %(n)d jobs that come before it.",
        ahead,
    ) % {"n": ahead}


def _promised(numbers: Mapping) -> str:
    return _(
        "It may not be preempted, so it waits for room that nobody else was guaranteed. "
        "Allow preemption to start sooner."
    )


def _fragmented(numbers: Mapping) -> str:
    return _("It asks for %(asks)s on one machine; %(free)d are free, but at most %(largest)d together.") % {
        "asks": _devices(int(numbers["asks"])),
        "free": numbers.get("free", 0),
        "largest": numbers.get("largest_gap", 0),
    }


def _wait_for_devices(numbers: Mapping) -> str:
    asks = _devices(int(numbers.get("asks", 0)))
    return _("It asks for %(asks)s; %(free)d free at the moment.") % {"asks": asks, "free": numbers.get("free", 0)}


def _cpu_busy(numbers: Mapping) -> str:
    return _("Every machine has its CPU cores promised to other work.")


def _memory_busy(numbers: Mapping) -> str:
    return _("Every machine has its memory promised to other work.")


SENTENCES = {
    "no_node_online": _no_node,
    "kind_missing": _kind_missing,
    "too_large_for_any_node": _too_large_for_any_node,
    "too_large_for_pool": _too_large_for_pool,
    "team_limit": _team_limit,
    "user_limit": _user_limit,
    "hours_spent": _hours_spent,
    "budget_spent": _budget_spent,
    "being_freed": _being_freed,
    "outbid": _outbid,
    "behind": _behind,
    "promised": _promised,
    "fragmented": _fragmented,
    "devices_busy": _wait_for_devices,
    "cpu_busy": _cpu_busy,
    "memory_busy": _memory_busy,
}
