"""Times as they are written in a table, read as numbers and written again the same way.

A tick is a float: seconds since 1970 for a date (UTC where it names no zone), or the number itself where times are
numbers such as steps or years.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from workers.tables.cells import is_missing

NUMBER, ISO = "number", "iso"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FORMS = (
    ISO, "%Y%m%d", "%Y-%m", "%Y/%m", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%m/%Y",
    "%b %Y", "%B %Y", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%d.%m.%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%Y-%m-%d %H",
)  # fmt: skip
LOOKED_AT = 2_000  # different values, by which the form is found
COMPACT_DAYS = (19000101, 22001231)
LARGEST_NUMBER = 1e15
YEARS = (1000, 2999)  # others, such as 9999-12-31, stand for "never" or "not known"
UNREADABLE = 0.01  # the share of values that may be no times, in a column that holds times


@dataclass(frozen=True)
class Clock:
    """How a table writes its times: `form` is "number", "iso", or what `strptime` takes."""

    form: str
    has_hours: bool = False
    has_zone: bool = False

    @property
    def is_number(self) -> bool:
        return self.form == NUMBER

    def read(self, values: Sequence[Any]) -> np.ndarray:
        """float64 [N] ticks, NaN for what cannot be read."""
        known = {value: _tick(value, self.form) for value in set(values)}
        return np.array([known[value] for value in values], dtype=np.float64)

    def write(self, tick: float) -> str:
        """Raises ValueError where the tick lies outside of what calendars know."""
        if self.is_number:
            return str(int(tick)) if float(tick).is_integer() else f"{tick:.12g}"
        try:
            moment = EPOCH + timedelta(seconds=round(float(tick)))
        except OverflowError as error:
            raise ValueError(f"the time {tick:g} has no date") from error
        if self.form != ISO:
            return moment.strftime(self.form)
        if not self.has_hours:
            return moment.date().isoformat()
        return (moment if self.has_zone else moment.replace(tzinfo=None)).isoformat()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def find_clock(values: Sequence[Any]) -> Clock | None:
    """How these values write times; None where they are none, but for one in a hundred."""
    sample = sorted({str(value).strip() for value in values if not is_missing(value)})[:LOOKED_AT]
    if not sample:
        return None
    forms = (*FORMS[1:2], NUMBER) if all(_is_number(value) for value in sample[:50]) else FORMS
    for form in forms:
        ticks = np.array([_tick(value, form) for value in sample])
        if np.isnan(ticks).mean() <= UNREADABLE:
            known = ticks[~np.isnan(ticks)]
            has_hours = form == ISO and bool((known % 86_400 != 0).any())
            has_zone = form == ISO and any(_has_zone(value) for value in sample[:50])
            return Clock(form, has_hours or has_zone, has_zone)
    return None


def _is_number(value: str) -> bool:
    return not math.isnan(_tick(value, NUMBER))


def _tick(value: Any, form: str) -> float:
    if is_missing(value):
        return math.nan
    text = str(value).strip()
    try:
        if form == NUMBER:
            number = float(text)
            return number if abs(number) <= LARGEST_NUMBER else math.nan
        if form == "%Y%m%d" and not (text.isdecimal() and COMPACT_DAYS[0] <= int(text) <= COMPACT_DAYS[1]):
            return math.nan
        moment = datetime.fromisoformat(text) if form == ISO else datetime.strptime(text, form)
    except (ValueError, OverflowError):
        return math.nan
    if not YEARS[0] <= moment.year <= YEARS[1]:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _has_zone(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
