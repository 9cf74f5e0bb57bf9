"""Which column holds the times, the values and the names of the series. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from workers.interactions import CAMEL
from workers.series.frequency import infer_frequency
from workers.series.times import Clock, find_clock
from workers.tables.cells import is_missing

NO_COLUMN = "-"  # as a setting: the table has such a column, and it is not to be read
TIME_NAME = re.compile(
    r"(.* )?(date|time|datetime|timestamp|ds|ts|day|week|month|quarter|year|hour|period|step|t)( .*)?|time ?index"
)
VALUE_NAME = re.compile(
    r"(.* )?(y|value|target|sales|demand|quantity|qty|amount|count|cnt|load|consumption|price|revenue|volume|units"
    r"|orders|visitors|passengers|temperature|traffic|power|usage|close)( .*)?"
)
SERIES_NAME = re.compile(
    r"(.* )?(series|store|shop|item|product|sku|region|country|city|site|station|sensor|meter|device|id|unique id|name"
    r"|category|group|customer|symbol|ticker|line|zone)( .*)?"
)
FEWEST_TIMES = 12
REGULAR = 0.7  # the share of steps of one length, from which a table is taken for series
REPEATED = 0.02  # the share of rows with a time that their series has already
FAR_AWAY = 50.0  # spreads between the quartiles of a series' times, from which a time is a slip of the pen
MOST_SERIES_SHARE = 0.1  # of the rows: a name of a series comes again at other times


@dataclass(frozen=True)
class SeriesColumns:
    """`series` is None where the table is one series; `known` are columns whose later values are known beforehand."""

    time: str
    target: str
    series: str | None = None
    known: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "known": list(self.known)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SeriesColumns:
        return cls(values["time"], values["target"], values.get("series"), tuple(values.get("known") or ()))

    @property
    def own(self) -> tuple[str, ...]:
        return tuple(name for name in (self.time, self.target, self.series) if name)


def plain(name: str) -> str:
    """A header's name in small letters, words apart."""
    return " ".join(re.split(r"[\s_.-]+", CAMEL.sub(" ", name.strip()).lower()))


def split_names(text: str) -> tuple[str, ...]:
    """The columns in a setting that names several, apart by commas; one with a comma stands in quotation marks."""
    rows = list(csv.reader([text], skipinitialspace=True)) if text.strip() else []
    return tuple(dict.fromkeys(name.strip() for row in rows for name in row if name.strip()))


def find_columns(
    header: Sequence[str], rows: Sequence[Sequence[str]], target: str | None, *, is_certain: bool = False
) -> SeriesColumns | None:
    """The columns of a table of series, by names and by `rows`; None where it is none: no column of times, or steps
    that differ. With `is_certain` a person says that it is one, and steps may differ."""
    values = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    for time in _times_first(header):
        if time == target or (clock := find_clock(values[time])) is None:
            continue
        if clock.is_number and not TIME_NAME.fullmatch(plain(time)):
            continue
        chosen = target or _value_column(header, values, time)
        if chosen is None:
            return None
        ticks = clock.read(values[time])
        series = find_series(header, values, ticks, {time, chosen})
        if is_certain or _is_regular(values[series] if series else None, ticks, clock):
            return SeriesColumns(time, chosen, series)
    return None


def _times_first(header: Sequence[str]) -> list[str]:
    return sorted(header, key=lambda name: not TIME_NAME.fullmatch(plain(name)))


def _value_column(header: Sequence[str], values: Mapping[str, Sequence[str]], time: str) -> str | None:
    """Numbers: those called as values are, else the last that do not merely count or name."""
    numbers = [name for name in header if name != time and _is_numeric(values[name])]
    named = [name for name in numbers if VALUE_NAME.fullmatch(plain(name))]
    others = [name for name in numbers if not SERIES_NAME.fullmatch(plain(name))]
    return next(iter(named or others[::-1]), None)


def _is_numeric(values: Sequence[str]) -> bool:
    clock = find_clock(values)
    return clock is not None and (clock.is_number or clock.form == "%Y%m%d")


def find_series(
    header: Sequence[str], values: Mapping[str, Sequence[str]], ticks: np.ndarray, taken: set[str]
) -> str | None:
    """The column that tells rows of the same time apart; None where no time comes twice, or none does."""
    known = np.flatnonzero(~np.isnan(ticks))
    if not len(known) or _repeated(None, ticks[known]) <= REPEATED:
        return None
    found: list[tuple[bool, float, int]] = []
    for place, name in enumerate(header):
        names = [values[name][row] for row in known]
        if name in taken or len(set(names)) > max(2, MOST_SERIES_SHARE * len(names)) or len(set(names)) < 2:
            continue
        if any(is_missing(each) for each in names):
            continue
        if (repeated := _repeated(names, ticks[known])) <= REPEATED:
            found.append((not SERIES_NAME.fullmatch(plain(name)), repeated, place))
    return header[min(found)[2]] if found else None


def _repeated(names: Sequence[str] | None, ticks: np.ndarray) -> float:
    """The share of rows whose time stands in an earlier one of the same series."""
    pairs = set(ticks.tolist()) if names is None else set(zip(names, ticks.tolist(), strict=True))
    return 1 - len(pairs) / len(ticks)


def _is_regular(names: Sequence[str] | None, ticks: np.ndarray, clock: Clock) -> bool:
    times = times_of(names, ticks)
    frequency = infer_frequency(times, is_number=clock.is_number)
    if frequency is None or max(map(len, times)) < FEWEST_TIMES or _repeated(names, ticks) > REPEATED:
        return False
    steps = np.concatenate([np.diff(frequency.periods(each)) for each in times])
    return float((steps == 1).mean()) >= REGULAR


def times_of(names: Sequence[str] | None, ticks: np.ndarray) -> list[np.ndarray]:
    """For each series its different times, in order."""
    if names is None:
        return [np.unique(ticks[~np.isnan(ticks)])]
    groups: dict[str, list[float]] = {}
    for name, tick in zip(names, ticks.tolist(), strict=True):
        if tick == tick:
            groups.setdefault(name, []).append(tick)
    return [np.unique(each) for each in groups.values()]


def far_away(ticks: np.ndarray, names: Sequence[str]) -> list[int]:
    """Rows whose time lies so far from the others of their series that it must be wrong: 2091 among days of 2019."""
    groups: dict[str, list[int]] = {}
    for row in np.flatnonzero(~np.isnan(ticks)).tolist():
        groups.setdefault(names[row], []).append(row)
    found: list[int] = []
    for rows in map(np.array, groups.values()):
        low, middle, high = np.percentile(ticks[rows], [25, 50, 75])
        if high > low:
            found += rows[np.abs(ticks[rows] - middle) > FAR_AWAY * (high - low)].tolist()
    return found
