"""What was used, as lines that can be added up by team, person, job, day or kind of device. Pure.

A claim that lasted over midnight is divided among its days by time. A line is about devices, about storage or about
the network; the last two belong to a team and a day, but to no person and no job.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import Decimal

from apps.resources.periods import Period, split_by_day

GB = 10**9
MONTH_SECONDS = 30 * 86400  # of a GB-month: a GB kept for 30 days
ZERO = Decimal(0)
DEVICES, STORAGE, NETWORK = "devices", "storage", "network"


@dataclass(frozen=True, slots=True)
class Use:
    """What one claim used between two moments. `job_id` 0 is work that is no job."""

    team_id: int
    user_id: int
    job_id: int
    kind: str
    started_at: datetime
    ended_at: datetime
    device_seconds: float
    busy_seconds: float
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Line:
    """What was used on one day. `about` says of what: devices, storage or network."""

    day: date
    team_id: int
    about: str = DEVICES
    user_id: int = 0
    job_id: int = 0
    kind: str = ""
    device_seconds: float = 0.0
    busy_seconds: float = 0.0
    byte_seconds: float = 0.0
    sent_bytes: float = 0.0
    cost: Decimal = ZERO


@dataclass(slots=True)
class Sums:
    """Lines added up."""

    device_seconds: float = 0.0
    busy_seconds: float = 0.0
    byte_seconds: float = 0.0
    sent_bytes: float = 0.0
    device_cost: Decimal = ZERO
    idle_cost: Decimal = ZERO
    storage_cost: Decimal = ZERO
    network_cost: Decimal = ZERO

    def add(self, line: Line) -> None:
        self.device_seconds += line.device_seconds
        self.busy_seconds += line.busy_seconds
        self.byte_seconds += line.byte_seconds
        self.sent_bytes += line.sent_bytes
        if line.about == STORAGE:
            self.storage_cost += line.cost
        elif line.about == NETWORK:
            self.network_cost += line.cost
        else:
            self.device_cost += line.cost
            self.idle_cost += _idle(line)

    @property
    def device_hours(self) -> float:
        return self.device_seconds / 3600

    @property
    def busy_hours(self) -> float:
        return self.busy_seconds / 3600

    @property
    def busy_fraction(self) -> float | None:
        """How much of the time that devices were held they were at work; None where none was held."""
        return min(1.0, self.busy_seconds / self.device_seconds) if self.device_seconds else None

    @property
    def gb_months(self) -> float:
        return self.byte_seconds / GB / MONTH_SECONDS

    @property
    def cost(self) -> Decimal:
        return self.device_cost + self.storage_cost + self.network_cost


def _idle(line: Line) -> Decimal:
    """What was paid for devices while they did nothing."""
    if line.device_seconds <= 0:
        return ZERO
    idle = max(0.0, 1 - line.busy_seconds / line.device_seconds)
    return line.cost * Decimal(idle)


def lines_of(uses: Iterable[Use], period: Period, zone: tzinfo) -> Iterator[Line]:
    """The part of each use that lies in the period, divided among its days."""
    for use in uses:
        seconds = (use.ended_at - use.started_at).total_seconds()
        start, end = max(use.started_at, period.start), min(use.ended_at, period.end)
        for day, part in split_by_day(start, end, zone):
            share = part / seconds
            yield Line(
                day=day,
                team_id=use.team_id,
                user_id=use.user_id,
                job_id=use.job_id,
                kind=use.kind,
                device_seconds=use.device_seconds * share,
                busy_seconds=use.busy_seconds * share,
                cost=use.cost * Decimal(share),
            )


def add_up(lines: Iterable[Line], key: Callable[[Line], Hashable]) -> dict[Hashable, Sums]:
    """The lines by `key`."""
    sums: dict[Hashable, Sums] = defaultdict(Sums)
    for line in lines:
        sums[key(line)].add(line)
    return dict(sums)


def capacity_seconds(machines: Iterable[tuple[int, datetime, datetime]], period: Period) -> float:
    """Device-seconds that there were. A machine is its number of devices, when it joined, and when it left (or now)."""
    total = 0.0
    for devices, joined, left in machines:
        total += devices * max(0.0, (min(left, period.end) - max(joined, period.start)).total_seconds())
    return total
