"""How many replicas a deployment should have, from its load alone. Pure: the time is passed in.

The load is the number of requests in flight, those that are held for a replica included. By Little's law it is the
rate times the latency, so one number answers both more requests and slower ones. Three windows keep it calm: more
replicas follow the mean of the last `UP_SECONDS`, fewer the highest wish of the last `DOWN_SECONDS`, and after a change
`COOL_DOWN_SECONDS` pass before the next. A load of `PANIC_FACTOR` times what the replicas are meant for, and a request
to a deployment that sleeps, wait for none of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

UP_SECONDS = 10.0
DOWN_SECONDS = 120.0
COOL_DOWN_SECONDS = 20.0
PANIC_FACTOR = 2.0
CLEARLY_OVER = 1e-9  # a load that the replicas carry exactly asks for no more of them, whatever the rounding


@dataclass(frozen=True)
class Rule:
    """What people ask for. `in_flight` requests at once are meant for one replica; the 95th percentile of latency is to
    stay below `latency_seconds` (None: any). With `min_replicas` 0 the last replica ends after `idle_seconds` without a
    request.
    """

    min_replicas: int
    max_replicas: int
    in_flight: float
    latency_seconds: float | None = None
    idle_seconds: float = 900.0


@dataclass(frozen=True)
class Load:
    """`in_flight` requests on average since the last look; `p95_seconds` of late, None where nothing was answered, from
    `ready` replicas."""

    in_flight: float = 0.0
    p95_seconds: float | None = None
    ready: int = 0


@dataclass(frozen=True)
class Memory:
    """What one look leaves for the next. `loads` and `wishes` are (time, value), the oldest first; times in seconds."""

    since: float
    busy_at: float
    changed_at: float | None = None
    loads: tuple[tuple[float, float], ...] = ()
    wishes: tuple[tuple[float, int], ...] = ()

    @classmethod
    def fresh(cls, now: float) -> "Memory":
        return cls(since=now, busy_at=now)


class Why(StrEnum):
    """Why there should be another number of replicas."""

    BOUNDS = "bounds"
    WOKEN = "woken"
    PANIC = "panic"
    LOAD = "load"
    LATENCY = "latency"
    QUIET = "quiet"
    IDLE = "idle"


@dataclass(frozen=True)
class Decision:
    """`why` is None where nothing changes. `in_flight` is the load that was decided by."""

    replicas: int
    memory: Memory
    in_flight: float = 0.0
    why: Why | None = None


def decide(rule: Rule, memory: Memory, load: Load, *, replicas: int, now: float) -> Decision:
    """The number of replicas that should be wanted, where `replicas` are now. `now` is in seconds, and never runs
    backwards."""
    memory = _remember(rule, memory, load, now)
    wanted, why = _choose(rule, memory, load, replicas, now)
    if wanted == replicas:
        return Decision(replicas, memory, _mean(memory.loads))
    used = load.in_flight if why in (Why.PANIC, Why.WOKEN) else _mean(memory.loads)
    return Decision(wanted, replace(memory, changed_at=now), used, why)


def _choose(rule: Rule, memory: Memory, load: Load, replicas: int, now: float) -> tuple[int, Why | None]:
    within = min(max(replicas, rule.min_replicas), rule.max_replicas)
    wish = _wish(rule, _mean(memory.loads), load)
    at_once = _clamp(rule, _by_load(rule, load.in_flight))
    if replicas == 0 and load.in_flight > 0:
        return max(1, at_once), Why.WOKEN
    if within != replicas:
        return within, Why.BOUNDS
    if load.in_flight >= PANIC_FACTOR * rule.in_flight * replicas and at_once > replicas:
        return max(at_once, wish), Why.PANIC
    if _may_sleep(rule, memory, now):
        return 0, (Why.IDLE if replicas else None)
    if memory.changed_at is not None and now - memory.changed_at < COOL_DOWN_SECONDS:
        return replicas, None
    if wish > replicas and now - memory.since >= UP_SECONDS:
        is_by_load = _clamp(rule, _by_load(rule, _mean(memory.loads))) >= wish
        return wish, (Why.LOAD if is_by_load else Why.LATENCY)
    highest = max([1, *(number for _at, number in memory.wishes)])
    if highest < replicas and now - memory.since >= DOWN_SECONDS:
        return highest, Why.QUIET
    return replicas, None


def _may_sleep(rule: Rule, memory: Memory, now: float) -> bool:
    return rule.min_replicas == 0 and now - memory.busy_at >= rule.idle_seconds


def _wish(rule: Rule, in_flight: float, load: Load) -> int:
    """As many as the load and the latency ask for, within the bounds.

    A latency of twice the limit asks for twice the replicas that gave it, but never for more than there are requests:
    a replica that has one request at a time answers no faster beside others.
    """
    wish = _by_load(rule, in_flight)
    if rule.latency_seconds and load.p95_seconds is not None:
        by_latency = math.ceil(load.ready * load.p95_seconds / rule.latency_seconds - CLEARLY_OVER)
        wish = max(wish, min(by_latency, math.ceil(in_flight)))
    return _clamp(rule, wish)


def _by_load(rule: Rule, in_flight: float) -> int:
    return math.ceil(in_flight / rule.in_flight - CLEARLY_OVER)


def _clamp(rule: Rule, wish: int) -> int:
    return min(max(wish, rule.min_replicas), rule.max_replicas)


def _remember(rule: Rule, memory: Memory, load: Load, now: float) -> Memory:
    loads = _since(now - UP_SECONDS, memory.loads, (now, load.in_flight))
    wishes = _since(now - DOWN_SECONDS, memory.wishes, (now, _wish(rule, _mean(loads), load)))
    busy_at = now if load.in_flight > 0 else memory.busy_at
    return replace(memory, loads=loads, wishes=wishes, busy_at=busy_at)


def _since(oldest: float, kept: Sequence[tuple], newest: tuple) -> tuple:
    return (*(item for item in kept if item[0] > oldest), newest)


def _mean(loads: Sequence[tuple[float, float]]) -> float:
    return sum(value for _at, value in loads) / len(loads) if loads else 0.0
