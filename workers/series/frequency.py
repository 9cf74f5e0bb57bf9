"""How far apart the times of a data set are, and what comes again: hours, days, working days, weeks, months, steps.

A period is a whole number: how many steps of the frequency a time is from a fixed start. Neighbouring periods are one
step apart, whatever months and weekends do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

SECOND, BUSINESS_DAY, MONTH, STEP = "second", "business_day", "month", "step"
DAY = 86_400
MONDAY = 4 * DAY  # 5 January 1970
# Days between two times that are so many months apart.
MONTHS = {1: (27.9, 31.1), 2: (58.9, 62.1), 3: (89.9, 92.1), 6: (180.9, 184.1), 12: (364.9, 366.1)}
NAMES = {
    (SECOND, 60): "every minute", (SECOND, 3600): "hourly", (SECOND, DAY): "daily", (SECOND, 7 * DAY): "weekly",
    (MONTH, 1): "monthly", (MONTH, 3): "quarterly", (MONTH, 6): "half-yearly", (MONTH, 12): "yearly",
    (BUSINESS_DAY, 1): "on working days",
}  # fmt: skip
USUAL_HORIZONS = {
    (SECOND, 3600): 48, (SECOND, DAY): 14, (SECOND, 7 * DAY): 12, (BUSINESS_DAY, 1): 10, (MONTH, 1): 12,
    (MONTH, 3): 8, (MONTH, 12): 4,
}  # fmt: skip
OTHER_HORIZON, LONGEST_USUAL = 12, 96
LONGEST_SEASON = 20_000
SAME_PHASE = 0.8  # the share of times on one day of the month, from which months are what is counted
FEW_WEEKENDS = 0.01


@dataclass(frozen=True)
class Frequency:
    """`count` seconds, months or numbers make one step; `anchor` is a tick on the grid, `day` the day of the month."""

    unit: str
    count: float
    anchor: float = 0.0
    day: int = 1

    def periods(self, ticks: np.ndarray) -> np.ndarray:
        """int64 [N], the nearest period of each tick."""
        ticks = np.asarray(ticks, dtype=np.float64)
        if self.unit == MONTH:
            return np.array([self._months(tick) for tick in ticks.tolist()], dtype=np.int64)
        if self.unit == BUSINESS_DAY:
            days = np.floor((ticks - MONDAY) / DAY).astype(np.int64)
            return days // 7 * 5 + np.minimum(days % 7, 4)
        return np.rint((ticks - self.anchor) / self.count).astype(np.int64)

    def _months(self, tick: float) -> int:
        moment = _moment(tick)
        return (moment.year * 12 + moment.month - 1) // int(self.count)

    def ticks(self, periods: np.ndarray) -> np.ndarray:
        """float64 [N], where the periods begin."""
        periods = np.asarray(periods, dtype=np.int64)
        if self.unit == MONTH:
            return np.array([self._tick_of_month(period) for period in periods.tolist()], dtype=np.float64)
        if self.unit == BUSINESS_DAY:
            return ((periods // 5 * 7 + periods % 5) * DAY + MONDAY).astype(np.float64)
        return periods * self.count + self.anchor

    def _tick_of_month(self, period: int) -> float:
        months = period * int(self.count) + int(self.anchor)
        year, month = divmod(months, 12)
        after = datetime(year + (month == 11), (month + 1) % 12 + 1, 1, tzinfo=UTC)
        return datetime(year, month + 1, min(self.day, (after - timedelta(days=1)).day), tzinfo=UTC).timestamp()

    @property
    def name(self) -> str:
        """For people."""
        if known := NAMES.get((self.unit, int(self.count))):
            return known
        if self.unit == STEP:
            return "in steps" if self.count == 1 else f"in steps of {self.count:g}"
        if self.unit == MONTH:
            return f"every {self.count:g} months"
        for size, word in ((7 * DAY, "weeks"), (DAY, "days"), (3600, "hours"), (60, "minutes")):
            if self.count % size == 0:
                return f"every {self.count / size:g} {word}"
        return f"every {self.count:g} seconds"

    @property
    def seasons(self) -> tuple[int, ...]:
        """After how many steps a day, a week and a year come again, the shortest first."""
        if self.unit == BUSINESS_DAY:
            return (5, 260)
        if self.unit == MONTH:
            return (12 // int(self.count),) if self.count in (1, 2, 3, 6) else ()
        if self.unit == STEP:
            return ()
        if self.count == 7 * DAY:
            return (52,)
        spans = (3600, DAY) if self.count < 60 else (DAY, 7 * DAY) if self.count < DAY else (7 * DAY, 364 * DAY)
        found = [int(span // self.count) for span in spans if span % self.count == 0]
        return tuple(length for length in found if 1 < length <= LONGEST_SEASON)

    @property
    def usual_horizon(self) -> int:
        """How many steps people usually want to know."""
        if known := USUAL_HORIZONS.get((self.unit, int(self.count))):
            return known
        is_short = self.unit == SECOND and self.count < 3600
        return min(LONGEST_USUAL, round(DAY / self.count)) if is_short else OTHER_HORIZON

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _moment(tick: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=tick)


def infer_frequency(series: Sequence[np.ndarray], *, is_number: bool) -> Frequency | None:
    """Of all series together, the times of each in order without repetition; None where there are no two times."""
    steps = np.concatenate([np.diff(ticks) for ticks in series] or [np.zeros(0)])
    if not len(steps):
        return None
    sizes, counts = np.unique(np.round(steps, 6), return_counts=True)
    usual = float(sizes[np.argmax(counts)])
    if not usual:  # steps of less than a millionth
        return None
    ticks = np.concatenate([np.asarray(each, dtype=np.float64) for each in series])
    if is_number:
        return Frequency(STEP, usual, anchor=float(ticks.min()))
    if months := _months_of(float(np.median(steps)) / DAY, ticks):
        return months
    if usual == DAY and _is_on_working_days(ticks):
        return Frequency(BUSINESS_DAY, 1)
    phases, counts = np.unique(np.round(ticks % usual, 3), return_counts=True)
    return Frequency(SECOND, usual, anchor=float(phases[np.argmax(counts)]))


def _months_of(days: float, ticks: np.ndarray) -> Frequency | None:
    """Months where times are as far apart, and stand on the same day or at the end of them."""
    count = next((count for count, (least, most) in MONTHS.items() if least <= days <= most), 0)
    if not count:
        return None
    moments = [_moment(tick) for tick in np.unique(ticks).tolist()]
    of_month, times = np.unique([moment.day for moment in moments], return_counts=True)
    at_end = float(np.mean([(moment + timedelta(days=1)).day == 1 for moment in moments]))
    if times.max() < SAME_PHASE * len(moments) and at_end < SAME_PHASE:
        return None
    day = 31 if at_end >= SAME_PHASE else int(of_month[np.argmax(times)])
    phases, times = np.unique([(moment.month - 1) % count for moment in moments], return_counts=True)
    return Frequency(MONTH, count, anchor=float(phases[np.argmax(times)]), day=day)


def _is_on_working_days(ticks: np.ndarray) -> bool:
    weekdays = (np.floor((np.unique(ticks) - MONDAY) / DAY).astype(np.int64)) % 7
    return len(weekdays) >= 10 and float((weekdays >= 5).mean()) <= FEW_WEEKENDS
