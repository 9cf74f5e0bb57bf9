"""From what was measured on a machine to what is wrong with it and what to do about it. Pure.

Problems are kept with a stable code and numbers; the sentences are made for whoever looks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from apps.core.templatetags.lepton import in_bytes, in_time
from workers.measuring import DeviceUse, Measured

DISK_LOW_FRACTION, DISK_LOW_BYTES = 0.1, 20 * 10**9  # almost full: less than both
DISK_FULL_BYTES = 10**9
MEMORY_LOW_FRACTION = 0.05
LOAD_HIGH = 3.0
HOT_CELSIUS = 90
SKEW_SECONDS = 5.0


@dataclass(frozen=True)
class Problem:
    """`code` never changes; `is_serious` when work fails or will soon."""

    code: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    is_serious: bool = False

    def as_dict(self) -> dict:
        return {"code": self.code, "numbers": dict(self.numbers), "is_serious": self.is_serious}


@dataclass(frozen=True)
class Advice:
    """A problem for people: what is wrong, and what to do."""

    code: str
    message: str
    action: str
    is_serious: bool


def find_problems(
    measured: Measured,
    *,
    folder: str = "",
    expected: Iterable[tuple[str, int]] = (),
    clock_skew_seconds: float = 0.0,
    storage_error: str = "",
) -> list[Problem]:
    """What is wrong, the worst first.

    `expected` are the (kind, index) of the devices the machine joined with, `folder` is where its jobs work,
    `clock_skew_seconds` how far its clock is ahead of the database's, `storage_error` why storage was not reached.
    """
    found = [
        *_storage_problems(storage_error),
        *_device_problems(measured, set(expected)),
        *_disk_problems(measured, folder),
        *_memory_problems(measured),
    ]
    if abs(clock_skew_seconds) > SKEW_SECONDS:
        found.append(Problem("clock_skew", {"seconds": round(clock_skew_seconds, 1)}))
    if measured.load_per_core > LOAD_HIGH:
        found.append(Problem("overloaded", {"load_per_core": round(measured.load_per_core, 1)}))
    return sorted(found, key=lambda problem: not problem.is_serious)


def _storage_problems(error: str) -> Iterable[Problem]:
    if error:
        yield Problem("storage_unreachable", {"error": error}, is_serious=True)


def _device_problems(measured: Measured, expected: set[tuple[str, int]]) -> Iterable[Problem]:
    if measured.driver_error:
        yield Problem("driver_silent", {"error": measured.driver_error}, is_serious=True)
    else:
        there = {(device.kind, device.index) for device in measured.devices}
        for kind, index in sorted(expected - there):
            yield Problem("device_lost", {"kind": kind, "index": index}, is_serious=True)
    for device in measured.devices:
        yield from _problems_of_device(device)


def _problems_of_device(device: DeviceUse) -> Iterable[Problem]:
    which = {"kind": device.kind, "index": device.index}
    if device.errors:
        yield Problem("device_errors", {**which, "errors": device.errors}, is_serious=True)
    if device.temperature is not None and device.temperature >= HOT_CELSIUS:
        yield Problem("device_hot", {**which, "celsius": device.temperature})


def _disk_problems(measured: Measured, folder: str) -> Iterable[Problem]:
    free, total = measured.storage_free_bytes, measured.storage_bytes
    if total and free < min(DISK_LOW_FRACTION * total, DISK_LOW_BYTES):
        numbers = {"free_bytes": free, "total_bytes": total, "folder": folder}
        yield Problem("disk_almost_full", numbers, is_serious=free < DISK_FULL_BYTES)


def _memory_problems(measured: Measured) -> Iterable[Problem]:
    free, total = measured.memory_available_bytes, measured.memory_bytes
    if total and free < MEMORY_LOW_FRACTION * total:
        yield Problem("memory_pressure", {"free_bytes": free, "total_bytes": total}, is_serious=True)


def site_problems(
    *, silent_seconds: float | None, is_online: bool, offline_after: float, version: str, site_version: str
) -> list[Problem]:
    """What only the site can see: a machine that fell silent, and one that runs other code than the site."""
    found = []
    if silent_seconds is not None and not is_online:
        numbers = {"seconds": round(silent_seconds), "offline_after": round(offline_after)}
        found.append(Problem("heartbeat_stale", numbers, is_serious=True))
    if version and version != site_version:
        found.append(Problem("version_differs", {"node": version, "site": site_version}))
    return found


def from_dicts(rows: Iterable[Mapping]) -> list[Problem]:
    """As they stand in Node.health; a code that this version does not know is left out."""
    return [
        Problem(row["code"], row.get("numbers", {}), bool(row.get("is_serious")))
        for row in rows
        if row.get("code") in WORDS
    ]


def advise(problem: Problem) -> Advice:
    message, action = WORDS[problem.code](problem.numbers)
    return Advice(problem.code, message, action, problem.is_serious)


def _device(numbers: Mapping) -> str:
    words = {"cuda": _("GPU %(n)s"), "mps": _("Apple GPU %(n)s")}
    return words.get(numbers.get("kind", ""), _("Device %(n)s")) % {"n": numbers.get("index", "?")}


def _storage_unreachable(numbers: Mapping) -> tuple[str, str]:
    return (
        _("Storage cannot be reached: %(error)s.") % {"error": numbers.get("error", "")},
        _("Mount the shared folder, or check the network and the keys for the bucket in LEPTON_STORAGE_URL."),
    )


def _driver_silent(numbers: Mapping) -> tuple[str, str]:
    return (
        _("The NVIDIA driver does not answer: %(error)s.") % {"error": numbers.get("error", "")},
        _("Drain the machine, then restart it. If it comes back, install the driver again."),
    )


def _device_lost(numbers: Mapping) -> tuple[str, str]:
    return (
        _("%(device)s is gone: the machine had it when it joined.") % {"device": _device(numbers)},
        _("Drain the machine, then restart it. If the device stays away, check its seat and its power."),
    )


def _device_errors(numbers: Mapping) -> tuple[str, str]:
    return (
        _("The memory of %(device)s had %(n)s errors that could not be corrected.")
        % {"device": _device(numbers), "n": numbers.get("errors", "?")},
        _("Drain the machine, then restart it. If errors come again, have the device replaced."),
    )


def _device_hot(numbers: Mapping) -> tuple[str, str]:
    return (
        _("%(device)s has %(celsius).0f °C and slows down.")
        % {"device": _device(numbers), "celsius": numbers.get("celsius", 0)},
        _("Check the fans and the air in front of the machine; cordon it until it is cooler."),
    )


def _disk_almost_full(numbers: Mapping) -> tuple[str, str]:
    sizes = {"free": in_bytes(numbers.get("free_bytes", 0)), "total": in_bytes(numbers.get("total_bytes", 0))}
    return (
        _("The disk is almost full: %(free)s of %(total)s are free.") % sizes,
        _("Free space on the disk of %(folder)s, or move LEPTON_HOME to a larger one.")
        % {"folder": numbers.get("folder") or "LEPTON_HOME"},
    )


def _memory_pressure(numbers: Mapping) -> tuple[str, str]:
    sizes = {"free": in_bytes(numbers.get("free_bytes", 0)), "total": in_bytes(numbers.get("total_bytes", 0))}
    return (
        _("Memory is short: %(free)s of %(total)s are free, and programs may be killed.") % sizes,
        _("Cordon the machine and end what else runs on it, or use smaller batches."),
    )


def _clock_skew(numbers: Mapping) -> tuple[str, str]:
    seconds = numbers.get("seconds", 0)
    words = _("Its clock is %(time)s ahead of the database's.")
    if seconds < 0:
        words = _("Its clock is %(time)s behind the database's.")
    return (
        words % {"time": in_time(abs(seconds))},
        _("Set the clock by the network: switch on chrony or systemd-timesyncd."),
    )


def _overloaded(numbers: Mapping) -> tuple[str, str]:
    return (
        _("It is overloaded: %(n)g programs wait for each core.") % {"n": numbers.get("load_per_core", 0)},
        _("End what else runs on it, or cordon it until it is quieter."),
    )


def _heartbeat_stale(numbers: Mapping) -> tuple[str, str]:
    return (
        _("Nothing was heard from it for %(time)s.") % {"time": in_time(numbers.get("seconds", 0))},
        _("See whether the machine runs and reaches the database; start its agent again: manage.py node_agent."),
    )


def _version_differs(numbers: Mapping) -> tuple[str, str]:
    return (
        _("It runs version %(node)s, the site %(site)s.")
        % {"node": numbers.get("node", "?"), "site": numbers.get("site", "?")},
        _("Drain it, bring its checkout to the site's version, start its agent again, and open it."),
    )


WORDS = {
    "storage_unreachable": _storage_unreachable,
    "driver_silent": _driver_silent,
    "device_lost": _device_lost,
    "device_errors": _device_errors,
    "device_hot": _device_hot,
    "disk_almost_full": _disk_almost_full,
    "memory_pressure": _memory_pressure,
    "clock_skew": _clock_skew,
    "overloaded": _overloaded,
    "heartbeat_stale": _heartbeat_stale,
    "version_differs": _version_differs,
}
