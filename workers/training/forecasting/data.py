"""A frozen table of series as numbers: values in equal steps, and where validation and test begin."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from workers.contract import EventWriter, ProgramFailure, TrainSpec
from workers.series.columns import NO_COLUMN, SeriesColumns, far_away, find_columns, split_names, times_of
from workers.series.frequency import infer_frequency
from workers.series.regular import Series, find_season, most_frequent_first
from workers.series.splitting import cut_times, is_by_time
from workers.series.storing import Further, Reading
from workers.series.times import find_clock
from workers.tables.cells import is_missing
from workers.tables.encoder import Row, TableEncoder
from workers.training.forecasting.measures import naive_scale

FRACTIONS = (0.8, 0.1, 0.1)
MOST_TOLD_APART = 200  # series that have a code of their own
MOST_PERIODS = 50_000_000  # of all series together
FEWEST_BEFORE = 4  # values before an origin
HORIZONS_IN_TIME = 6  # an automatic horizon is at most so small a part of the longest series
USUAL_NAME = ""  # of the only series


@dataclass(frozen=True)
class SeriesData:
    """`series` have a value each; periods from `from_val` on are for validation, from `from_test` on for the test."""

    reading: Reading
    series: list[Series]
    seasons: tuple[int, ...]
    horizon: int
    from_val: int
    from_test: int
    last: int
    left_out: int = 0

    @property
    def season(self) -> int:
        return self.reading.season

    @property
    def has_test(self) -> bool:
        return self.from_test <= self.last

    @cached_property
    def told_apart(self) -> tuple[str, ...]:
        """Series that have a code, those with the most values in front; none where there is one only."""
        if len(self.series) < 2:
            return ()
        lengths = {each.name: int(each.known.sum()) for each in self.series}
        return tuple(most_frequent_first(lengths)[:MOST_TOLD_APART])

    @cached_property
    def scales(self) -> dict[str, float]:
        """By what the seasonal naive forecast misses each series in its training part."""
        ends = {each.name: max(0, self.from_val - each.first) for each in self.series}
        return {
            each.name: naive_scale(each.values[: ends[each.name]], each.known[: ends[each.name]], self.season)
            for each in self.series
        }

    def origins(self, series: Series, begin: int, end: int, horizon: int | None = None) -> np.ndarray:
        """Places of all origins whose next value lies in the periods [begin, end), and the whole horizon too where it
        is given; only those that have some values before them."""
        least = min(max(FEWEST_BEFORE, self.season), max(2, len(series) // 3))
        first = max(begin - 1 - series.first, least - 1)
        last = min(end, series.last + 1) - series.first - 1 - (horizon or 1)
        return np.arange(first, last + 1)


def read_series(spec: TrainSpec, events: EventWriter) -> SeriesData:
    """Raises ProgramFailure: unknown_column, no_time_column, same_column_twice, unreadable_times, target_unsuitable,
    no_frequency, too_many_periods, series_too_short, wrong_type."""
    index = json.loads(Path(spec.index_path).read_text(encoding="utf-8"))
    rows = _read_rows(Path(spec.data_path))
    columns = choose_columns(index, rows, spec)
    clock = find_clock([row[columns.time] for row in rows])
    if clock is None:
        raise _unusable("unreadable_times", columns.time, "holds no times that can be read", "time_column")
    ticks = clock.read([row[columns.time] for row in rows])
    ticks[far_away(ticks, [_name(row, columns) for row in rows])] = np.nan
    values = _numbers(rows, columns.target)
    used = np.flatnonzero(~np.isnan(ticks) & ~np.isnan(values))
    if not len(used):
        raise _unusable("target_unsuitable", columns.target, "holds no numbers", "target")
    if len(used) < len(rows):
        events.log(f"{len(rows) - len(used):,} rows have no time or no number and are left out.", "warning")
    rows = [rows[row] for row in used]
    ticks, values = ticks[used], values[used]
    names = [_name(row, columns) for row in rows]
    frequency = infer_frequency(times_of(names, ticks), is_number=clock.is_number)
    if frequency is None:
        raise _unusable("no_frequency", columns.time, "has no two times of one series", "time_column")
    settings = spec.hyperparameters
    plain = Reading(columns, clock, frequency, 1, settings["fill_gaps"], settings["same_time"], Further(None, None))
    groups = _groups(names)
    _check_size(frequency.periods(ticks), groups)
    bare = [plain.series_of(name, ticks[group], values[group], ()) for name, group in groups.items()]
    season = settings["season_length"] or find_season([each.values for each in bare], frequency.seasons)
    longest = max(len(each) for each in bare)
    horizon = choose_horizon(settings["horizon"], frequency.usual_horizon, longest)
    from_val, from_test, last = _cut(index, columns, frequency, ticks, used, horizon)
    ahead = _check_known(columns, settings)
    further = _fit_further(index, ahead, rows, frequency.periods(ticks) < from_val)
    reading = Reading(ahead, clock, frequency, season, settings["fill_gaps"], settings["same_time"], further)
    series = [
        reading.series_of(name, ticks[group], values[group], [rows[row] for row in group])
        for name, group in groups.items()
    ]
    seasons = (season, *(each for each in frequency.seasons if each > season and 2 * each <= longest))
    found = SeriesData(reading, series, seasons if season > 1 else (1,), horizon, from_val, from_test, last)
    _check_length(found, settings["horizon"])
    _tell(found, len(used), events)
    return found


def choose_columns(index: Mapping[str, Any], rows: Sequence[Row], spec: TrainSpec) -> SeriesColumns:
    """The columns as the settings name them, else as the check of the data has found them. Raises ProgramFailure
    (unknown_column, no_time_column, same_column_twice)."""
    header = [column["name"] for column in index["columns"]]
    settings, target = spec.hyperparameters, spec.target or index["target"]
    checked = index.get("series")
    if checked and checked["target"] == target and not settings["time_column"]:
        found: SeriesColumns | None = SeriesColumns.from_dict(checked)
    else:
        table = [[row[name] for name in header] for row in rows]
        found = find_columns(header, table, target, is_certain=True)
    time = settings["time_column"] or (found.time if found else "")
    series = settings["series_column"] or (found.series if found else None)
    if not time:
        message = "It is not known which column holds the times."
        raise ProgramFailure("no_time_column", message, hint=f"Choose one of {', '.join(header)[:200]}.",
                             blame="settings", field="time_column")  # fmt: skip
    chosen = SeriesColumns(time, target, None if series == NO_COLUMN or series in (time, target) and
                           not settings["series_column"] else series)  # fmt: skip
    for field, name in (("time_column", time), ("target", target), ("series_column", chosen.series)):
        if name and name not in header:
            message = f"The table has no column {name!r}."
            hint = f"It has {', '.join(header)[:200]}."
            raise ProgramFailure("unknown_column", message, hint=hint, blame="settings", field=field)
    if len(set(chosen.own)) < len(chosen.own):
        message = "One column is chosen twice: times, values and names of series need one each."
        raise ProgramFailure("same_column_twice", message, blame="settings", field="time_column")
    return chosen


def _check_known(columns: SeriesColumns, settings: Mapping[str, Any]) -> SeriesColumns:
    known = tuple(name for name in split_names(settings["known_columns"]) if name not in columns.own)
    return SeriesColumns(columns.time, columns.target, columns.series, known)


def choose_horizon(wanted: int, usual: int, longest: int) -> int:
    """The person's, or what is usual as far as the longest series of `longest` steps lets it be judged."""
    return wanted or max(1, min(usual, longest // HORIZONS_IN_TIME))


def _read_rows(path: Path) -> list[Row]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _numbers(rows: Sequence[Row], column: str) -> np.ndarray:
    def number(text: str) -> float:
        try:
            value = float(text) if not is_missing(text) else np.nan
        except ValueError:
            return np.nan
        return value if np.isfinite(value) else np.nan

    return np.array([number(row[column]) for row in rows], dtype=np.float64)


def _name(row: Row, columns: SeriesColumns) -> str:
    return row[columns.series] if columns.series else USUAL_NAME


def _groups(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Row numbers by series, in the order in which the series come."""
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        groups.setdefault(name, []).append(row)
    return {name: np.array(rows) for name, rows in groups.items()}


def _check_size(periods: np.ndarray, groups: Mapping[str, np.ndarray]) -> None:
    total = sum(int(np.ptp(periods[group])) + 1 for group in groups.values())
    if total > MOST_PERIODS:
        message = (
            f"With its gaps filled the table would have {total:,} values; at most {MOST_PERIODS:,} are trained on."
        )
        raise ProgramFailure("too_many_periods", message, hint="Choose another column of times, or take coarser times.")


def _cut(
    index: Mapping[str, Any], columns: SeriesColumns, frequency: Any, ticks: np.ndarray, used: np.ndarray, horizon: int
) -> tuple[int, int, int]:  # fmt: skip
    """(first period of validation, of the test, last period of all): as the data were split, or anew where that was not
    by time; each part is long enough for one horizon. Without a test split the test begins after the end."""
    periods = frequency.periods(ticks)
    last = int(periods.max())
    split = np.asarray(index["split"])[used]
    if not is_by_time(ticks, split.tolist()) or "val" not in split:
        cuts = cut_times(ticks, FRACTIONS)
        split = np.select([ticks >= cuts[1], ticks >= cuts[0]], ["test", "val"], "train")
    from_test = last + 1
    if "test" in split:
        from_test = min(int(periods[split == "test"].min()), last - horizon + 1)
    from_val = min(int(periods[split == "val"].min()), from_test - horizon)
    if last - int(periods.min()) >= 10 * horizon:
        from_val = min(from_val, from_test - 2 * horizon)
    return from_val, from_test, last


def _fit_further(
    index: Mapping[str, Any], columns: SeriesColumns, rows: Sequence[Row], is_train: np.ndarray
) -> Further:  # fmt: skip
    """What the further columns hold, learned from the training rows."""
    learned = [row for row, is_known in zip(rows, is_train, strict=True) if is_known]
    others = [column for column in index["columns"] if column["name"] not in columns.own]
    groups = [[each for each in others if (each["name"] in columns.known) == ahead] for ahead in (True, False)]
    return Further(*(_encoder(group, learned) for group in groups))


def _encoder(columns: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> TableEncoder | None:
    if not columns or not rows:
        return None
    try:
        return TableEncoder.fit(columns, rows)
    except ProgramFailure as failure:
        if failure.code == "no_usable_columns":
            return None
        raise


def _check_length(data: SeriesData, wanted: int) -> None:
    longest = max(data.series, key=len)
    if not any(len(data.origins(each, each.first, data.from_val)) for each in data.series):
        message = (
            f"The longest series has {len(longest):,} steps, too few to learn from and to be judged {data.horizon} "
            "steps ahead."
        )
        hint = "Ask for fewer steps." if wanted else "Upload a longer time."
        raise ProgramFailure("series_too_short", message, hint=hint, field="horizon" if wanted else "")


def _tell(data: SeriesData, rows: int, events: EventWriter) -> None:
    gaps = sum(int((~each.known).sum()) for each in data.series)
    merged = rows - sum(int(each.known.sum()) for each in data.series)
    names = f"{len(data.series):,} series" if len(data.series) > 1 else "One series"
    events.log(
        f"{names}, {data.reading.frequency.name}, {sum(map(len, data.series)):,} values; forecasts reach "
        f"{data.horizon} steps ahead, and a season has {data.season}."
    )
    if gaps:
        events.log(
            f"{gaps:,} missing values were filled ({data.reading.filling}); nothing is judged by them.", "warning"
        )
    if merged:
        events.log(
            f"{merged:,} rows share their time with another of their series ({data.reading.merging}).", "warning"
        )


def _unusable(code: str, column: str, detail: str, field: str) -> ProgramFailure:
    return ProgramFailure(code, f'The column "{column}" {detail}.', hint="Choose another column.", field=field)
