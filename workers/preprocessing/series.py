"""Tables of values over time: their columns, their split, and what stands in them. Pure but for reading data.csv."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from workers.preprocessing.columns import MISSING_VALUES, parse_number, shorten
from workers.preprocessing.findings import Findings
from workers.preprocessing.splitting import Assignment
from workers.preprocessing.targets import USUAL_NAMES
from workers.series.columns import SeriesColumns, far_away, find_columns, times_of
from workers.series.frequency import Frequency, infer_frequency
from workers.series.regular import LAST, MEAN, find_season, merge, regularise
from workers.series.splitting import is_by_time, split_by_time
from workers.series.times import Clock, find_clock

LOOKED_AT = 20_000
MOST_OTHER_COLUMNS = 12
MOST_SHOWN_SERIES, MOST_SHOWN_POINTS = 4, 200
MOST_STEPS = 50_000_000  # of all series together


def suggest_columns(header: Sequence[str], wanted: str | None, rows: Iterable[Sequence[str]]) -> SeriesColumns | None:
    """The columns where the table is one of series: by the names, by what is to be predicted, and by the first `rows`,
    whose times are in equal steps."""
    if len(header) > MOST_OTHER_COLUMNS or wanted not in (None, *header):
        return None
    if wanted is None and any(name.lower() in ("label", "class") for name in header):
        return None
    usual = {name.lower(): name for name in reversed(header)}
    target = wanted or next((usual[name] for name in USUAL_NAMES if name in usual), None)
    sample = [["" if value.strip() in MISSING_VALUES else value.strip() for value in row]
              for row in islice(rows, LOOKED_AT)]  # fmt: skip
    found = find_columns(header, sample, target) if sample else None
    if found is None:
        return None
    numbers = [parse_number(row[header.index(found.target)]) for row in sample if row[header.index(found.target)]]
    has_numbers = bool(numbers) and all(number is not None for number in numbers)
    return found if has_numbers and len(set(numbers)) > 2 else None


@dataclass(frozen=True)
class TimedRows:
    """The columns of all sound rows, [N] each; `names` are "" where the table is one series."""

    columns: SeriesColumns
    clock: Clock
    times: list[str]
    values: np.ndarray
    names: list[str]

    @cached_property
    def ticks(self) -> np.ndarray:
        """NaN where a time cannot be read, or lies far away from all others."""
        ticks = self.clock.read(self.times)
        ticks[far_away(ticks, self.names)] = np.nan
        return ticks

    @cached_property
    def unread(self) -> np.ndarray:
        """Numbers of the rows without a time."""
        return np.flatnonzero(np.isnan(self.ticks))

    def shown(self, row: int) -> dict[str, Any]:
        """What a finding shows of a row."""
        stands = [self.times[row], f"{self.values[row]:g}", self.names[row]]
        return {"row": [[name, shorten(value, 40)] for name, value in zip(self.columns.own, stands, strict=False)]}

    @property
    def steps(self) -> int:
        """How many values all series have together when their gaps are filled."""
        periods = (self.frequency.periods(self.ticks[rows]) for rows in self.groups.values())
        return sum(int(np.ptp(each)) + 1 for each in periods)

    @cached_property
    def frequency(self) -> Frequency | None:
        return infer_frequency(times_of(self.names, self.ticks), is_number=self.clock.is_number)

    @cached_property
    def groups(self) -> dict[str, np.ndarray]:
        """Rows with a time and a number, by series."""
        found: dict[str, list[int]] = {}
        for row in np.flatnonzero(~np.isnan(self.ticks) & ~np.isnan(self.values)).tolist():
            found.setdefault(self.names[row], []).append(row)
        return {name: np.array(rows) for name, rows in found.items()}

    @cached_property
    def filled(self) -> dict[str, tuple[int, np.ndarray, np.ndarray]]:
        """By series: the first period, values in equal steps, and which of them are known."""
        found = {}
        for name, rows in self.groups.items():
            periods, values = merge(self.frequency.periods(self.ticks[rows]), self.values[rows], MEAN)
            found[name] = regularise(periods, values, LAST, 1)
        return found

    @property
    def gaps(self) -> int:
        """How many steps no row has."""
        return sum(int((~known).sum()) for _, _, known in self.filled.values())


def read_timed_rows(path: Path, columns: SeriesColumns) -> TimedRows | None:
    """Of data.csv, which holds the sound rows; None where its times cannot be read, there is but one, or
    they lie so far apart that the steps between them cannot be filled."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        places = [header.index(name) for name in columns.own]
        table = [[row[place] for place in places] for row in reader]
    times = [row[0] for row in table]
    clock = find_clock(times)
    if clock is None:
        return None
    numbers = [parse_number(row[1]) for row in table]
    values = np.array([np.nan if number is None else number for number in numbers])
    found = TimedRows(columns, clock, times, values, [row[2] if columns.series else "" for row in table])
    return found if found.groups and found.frequency and found.steps <= MOST_STEPS else None


def split_by_times(
    found: TimedRows, given: Sequence[str | None], fractions: Sequence[float], findings: Findings
) -> Assignment:
    """The last part of time is the test, the part before it validation; the user's own split where it is by time, with
    the end of its training part for validation where that is missing."""
    present = {split for split in given if split}
    if "train" in present and None not in given and len(present) > 1 and is_by_time(found.ticks, given):
        if "val" in present:
            return Assignment(list(given), True, ())
        splits, train = np.array(given, dtype="<U5"), np.array(given) == "train"
        share = fractions[1] / (fractions[0] + fractions[1])
        splits[train] = split_by_time(found.ticks[train], (1 - share, share, 0.0))
        return Assignment(splits.tolist(), True, ("val",))
    if present:
        findings.add(
            "split_not_by_time",
            "The data were split anew by time: forecasts need a test that lies after all of the training part, and a "
            "validation part between.",
        )
    return Assignment(split_by_time(found.ticks, fractions).tolist(), False, ())


def describe_series(found: TimedRows) -> dict[str, Any]:
    """For people and for the launch form."""
    frequency, known = found.frequency, found.ticks[~np.isnan(found.ticks)]
    lengths = [len(values) for _, values, _ in found.filled.values()]
    return {
        **found.columns.to_dict(),
        "count": len(found.groups),
        "frequency": frequency.name,
        "season": find_season([values for _, values, _ in found.filled.values()], frequency.seasons),
        "usual_horizon": frequency.usual_horizon,
        "from": found.clock.write(float(known.min())),
        "until": found.clock.write(float(known.max())),
        "median_length": int(np.median(lengths)),
        "gaps": found.gaps,
        "shown": [_shown(found, name) for name in list(found.groups)[:MOST_SHOWN_SERIES]],
    }


def _shown(found: TimedRows, name: str) -> dict[str, Any]:
    """The end of a series, for a picture; null where a gap was filled."""
    first, values, known = found.filled[name]
    start = max(0, len(values) - MOST_SHOWN_POINTS)
    ticks = found.frequency.ticks(np.arange(first + start, first + len(values))).tolist()
    pairs = zip(values[start:].tolist(), known[start:].tolist(), strict=True)
    return {
        "name": shorten(name, 60),
        "times": [found.clock.write(tick) for tick in ticks],
        "values": [float(f"{value:.6g}") if is_known else None for value, is_known in pairs],
    }
