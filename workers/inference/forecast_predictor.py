"""A model that forecasts series."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from workers.arrays import read_arrays
from workers.contract import ProgramFailure
from workers.inference.files import read_rows
from workers.series.model import Asked
from workers.series.regular import Series
from workers.series.storing import Reading, model_from, unpack_series
from workers.series.times import find_clock
from workers.tables.cells import is_missing
from workers.tables.columns import MISSING_CODE

WEIGHTS_FILE, SERIES_FILE = "model.safetensors", "series.json"
TIME, VALUE = "time", "value"  # what columns may be called beside their own names
FEWEST_VALUES = 4
LARGEST_VALUE = 1e15
LONGEST_GAP = 100_000  # periods between the first and the last time of what a client sends
DIGITS = 8


@dataclass(frozen=True)
class Forecast:
    """The answer to one question: `times` as the data write them, and the middle and the ends of the range [H].
    `is_one` asks for one time only; `past` are the last known (time, value), where they were asked for."""

    series: str
    times: list[str]
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray
    is_one: bool = False
    past: tuple[tuple[str, float], ...] = ()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """By which answers are compared."""
        return np.asarray(np.concatenate([self.middle, self.low, self.high]), dtype=dtype)


class ForecastPredictor:
    """The next values of a series of the data, or of one that somebody sends.

    A question is ``{"series": name}`` (without a name where the data are one series) or ``{"history": rows}``, with
    "horizon", the number of steps; "future", rows with columns that are known beforehand; "history_steps", how many of
    the last values come with the answer. Or it is ``{"at": row}``, one row of a table without its value. Rows name
    their columns as the data do, or "time" and "value".
    """

    classes: list[str] = []

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        arrays = read_arrays(model_dir / WEIGHTS_FILE)
        self.names: list[str] = json.loads((model_dir / SERIES_FILE).read_text(encoding="utf-8"))["series"]
        self.sample: dict[str, Any] = json.loads((model_dir / meta["sample"]).read_text(encoding="utf-8"))
        self.reading = Reading.from_meta(meta["reading"])
        self.series = unpack_series(arrays, self.names)
        self.model = model_from(arrays, meta["forecast"], self.reading)
        self.horizon = self.model.horizon
        self._from_test: int = meta["forecast"]["from_test"]

    def encode(self, items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return list(items)

    def feed(self, items: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        return {}  # there is no graph

    def run(self, encoded: Sequence[Mapping[str, Any]]) -> list[Forecast]:
        """Single times of one series are reckoned together."""
        if not all("at" in question for question in encoded):
            return [self._at([q["at"]])[0] if "at" in q else self._ahead(q) for q in encoded]
        return self._at([question["at"] for question in encoded])

    def predict(self, items: Sequence[Mapping[str, Any]]) -> list[Forecast]:
        return self.run(self.encode(items))

    def _ahead(self, question: Mapping[str, Any]) -> Forecast:
        """From the last value on."""
        steps = question.get("horizon") or self.horizon
        if steps > self.horizon:
            message = f"{steps:,} steps were asked for; this model was trained to forecast {self.horizon:,} at most."
            raise ProgramFailure("horizon_too_long", message, hint="Ask for fewer, or train with a longer horizon.",
                                 field="horizon")  # fmt: skip
        future = question.get("future", [])
        if "history" in question:
            series = self._series_of(str(question.get("series", "")), question["history"], future)
        else:
            series = self._with_future(self._known(question.get("series")), future)
        asked = Asked.whole(series, np.array([len(series) - 1]), steps)
        self._check_dates(asked)
        return self._answer(asked, question.get("history_steps", 0))

    def _at(self, rows: Sequence[Mapping[str, Any]]) -> list[Forecast]:
        """Of the time in each row. Times that are known already are forecast as if only what came before their block of
        so many steps as the horizon has were known; blocks are counted from the beginning of the test part."""
        groups: dict[tuple[str, int], list[tuple[int, int, int]]] = defaultdict(list)
        seen: Counter[tuple[str, int]] = Counter()
        for place, row in enumerate(rows):
            name, origin, step = self._place_of(row)
            turn = 0
            if origin + step > self.series[name].last and self.reading.further.parts:
                # What two rows say of one time ahead may differ, so they are answered apart.
                turn = seen[name, origin + step]
                seen[name, origin + step] += 1
            groups[name, turn].append((place, origin, step))
        found: dict[int, Forecast] = {}
        for (name, _turn), asked in groups.items():
            found |= self._at_once(self.series[name], rows, asked)
        return [found[place] for place in range(len(rows))]

    def _at_once(
        self, series: Series, rows: Sequence[Mapping[str, Any]], asked: Sequence[tuple[int, int, int]]
    ) -> dict[int, Forecast]:
        """By the place among `rows`, for (place, origin, step) each."""
        ahead = [rows[place] for place, origin, step in asked if origin + step > series.last]
        series = self._with_future(series, ahead)
        places, origins, steps = (np.array(column) for column in zip(*asked, strict=True))
        found = self._answer(Asked(series, origins - series.first, steps), 0)
        parts = (found.low, found.middle, found.high)
        return {
            place: replace(
                found, times=[found.times[number]], is_one=True,
                **dict(zip(("low", "middle", "high"), (part[number : number + 1] for part in parts), strict=True)),
            )
            for number, place in enumerate(places.tolist())
        }  # fmt: skip

    def _place_of(self, row: Mapping[str, Any]) -> tuple[str, int, int]:
        """The series of a row, the period of its origin, and the step from there. Raises ProgramFailure."""
        columns = self.reading.columns
        series = self._known(row.get(columns.series) if columns.series else None)
        period = int(self._periods([self._cell(row, columns.time, TIME)])[0])
        origin = min(series.last, period - 1 - (period - self._from_test) % self.horizon)
        step = period - origin
        if step > self.horizon:
            message = (
                f"{self._written([period])[0]} is {step:,} steps after the last value; {self.horizon:,} are forecast."
            )
            raise ProgramFailure("horizon_too_long", message, hint="Ask for earlier times.", field=columns.time)
        if origin - series.first + 1 < FEWEST_VALUES:
            message = f"Too little is known before {self._written([period])[0]} to forecast it."
            raise ProgramFailure("history_too_short", message, hint="Ask for later times.", field=columns.time)
        return series.name, origin, step

    def _check_dates(self, asked: Asked) -> None:
        """Raises ProgramFailure where a forecast would lie beyond what calendars know."""
        try:
            self._written(asked.times[-1:])
        except (ValueError, OverflowError) as error:
            message = "The forecast would reach beyond the year 9999."
            hint = "Send earlier times, or ask for fewer steps."
            raise ProgramFailure("unreadable_time", message, hint=hint, field=self.reading.columns.time) from error

    def _answer(self, asked: Asked, past: int) -> Forecast:
        found, series = self.model.forecast(asked), asked.series
        start = max(0, len(series) - past)
        known = [place for place in range(start, len(series)) if series.known[place]] if past else []
        times = self._written([series.first + place for place in known])
        last = tuple(zip(times, (float(series.values[place]) for place in known), strict=True))
        return Forecast(series.name, self._written(asked.times), found.low, found.middle, found.high, past=last)

    def _known(self, name: Any) -> Series:
        if name is None and len(self.names) == 1:
            name = self.names[0]
        if name is None or is_missing(name) and len(self.names) > 1:
            message = f"The model knows {len(self.names):,} series, and none was named."
            raise ProgramFailure("invalid_request", message, hint='Name one under "series".', field="series")
        if (found := self.series.get(str(name))) is None:
            message = f"The model knows no series {str(name)[:60]!r}."
            hint = 'Name one it was trained on, or send its values under "history".'
            raise ProgramFailure("unknown_series", message, hint=hint, field="series")
        return found

    def _series_of(
        self, name: str, history: Sequence[Mapping[str, Any]], future: Sequence[Mapping[str, Any]]
    ) -> Series:
        """Of rows that a client sends; those of the future have no value."""
        columns = self.reading.columns
        rows = [dict(row) for row in [*history, *future]]
        periods = self._periods([self._cell(row, columns.time, TIME) for row in rows])
        values = [self._number(row, place) for place, row in enumerate(history)] + [np.nan] * len(future)
        found = self.reading.series_of(name, self.reading.frequency.ticks(periods), np.array(values, float), rows)
        if found is None or int(found.known.sum()) < FEWEST_VALUES:
            count = 0 if found is None else int(found.known.sum())
            message = f"The history has values at {count} different times; {FEWEST_VALUES} are needed."
            raise ProgramFailure("history_too_short", message, hint="Send more of them.", field="history")
        return found

    def _with_future(self, series: Series, rows: Sequence[Mapping[str, Any]]) -> Series:
        """With what is known beforehand of times after the last value."""
        if not rows or not self.reading.further.parts:
            return series
        periods = self._periods([self._cell(row, self.reading.columns.time, TIME) for row in rows])
        encoded = self.reading.further.encode([dict(row) for row in rows])
        length = min(max(len(series.numbers), int(periods.max()) - series.first + 1), len(series) + self.horizon)
        numbers = np.full((length, series.numbers.shape[1]), np.nan, dtype=np.float32)
        codes = np.full((length, series.codes.shape[1]), MISSING_CODE, dtype=np.int64)
        numbers[: len(series.numbers)], codes[: len(series.codes)] = series.numbers[:length], series.codes[:length]
        places = periods - series.first
        inside = (places >= len(series)) & (places < length)
        numbers[places[inside]], codes[places[inside]] = encoded.numeric[inside], encoded.categorical[inside]
        return replace(series, numbers=numbers, codes=codes)

    def _cell(self, row: Mapping[str, Any], own: str, usual: str) -> Any:
        name = own if own in row else usual
        if name not in row:
            message = f"A row has no {own!r}, which holds the {usual}."
            raise ProgramFailure("missing_column", message, hint=f'It may be called "{usual}" too.', field=own)
        return row[name]

    def _number(self, row: Mapping[str, Any], place: int) -> float:
        own = self.reading.columns.target
        value = self._cell(row, own, VALUE)
        try:
            number = np.nan if is_missing(value) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = np.inf
        if isinstance(value, bool) or abs(number) > LARGEST_VALUE:
            message = f"Row {place + 1} of the history has {str(value)[:40]!r} where a number is needed."
            raise ProgramFailure("wrong_type", message, hint="Give a number, or null where it is not known.", field=own)
        return number

    def _periods(self, values: Sequence[Any]) -> np.ndarray:
        """int64 [N]. Times may be written as the data write them, or as ISO 8601. Raises ProgramFailure."""
        clock, frequency = self.reading.clock, self.reading.frequency
        ticks = clock.read([str(value) for value in values])
        if np.isnan(ticks).any() and not clock.is_number and (other := find_clock(values)) and not other.is_number:
            ticks = other.read([str(value) for value in values])
        if np.isnan(ticks).any():
            place = int(np.flatnonzero(np.isnan(ticks))[0])
            message = f"Row {place + 1} has {str(values[place])[:40]!r}, which is no time that can be read."
            example = self._written([next(iter(self.series.values())).last])[0]
            raise ProgramFailure("unreadable_time", message, hint=f"Write times such as {example}.",
                                 field=self.reading.columns.time)  # fmt: skip
        periods = frequency.periods(ticks)
        if int(np.ptp(periods)) > LONGEST_GAP:
            message = f"The times lie {int(np.ptp(periods)):,} steps apart; at most {LONGEST_GAP:,} are read."
            raise ProgramFailure("history_too_long", message, hint="Send the latest part.", field="history")
        return periods

    def _written(self, periods: Sequence[int] | np.ndarray) -> list[str]:
        ticks = self.reading.frequency.ticks(np.asarray(periods, dtype=np.int64))
        return [self.reading.clock.write(tick) for tick in ticks.tolist()]

    def items_in(self, path: Path) -> list[dict[str, Any]]:
        """The series in a CSV file: to be continued where rows have values, else the names in its column. Raises
        ProgramFailure."""
        columns, rows = self.reading.columns, read_rows(path)
        if rows and columns.target not in rows[0]:
            if columns.series and columns.series in rows[0]:
                return [{"series": name} for name in dict.fromkeys(row[columns.series] for row in rows)]
            hint = f"It needs {columns.time!r} and {columns.target!r}, or names of known series."
            raise ProgramFailure("missing_column", f"{path.name} lacks the column {columns.target!r}.", hint=hint)
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            groups.setdefault(row.get(columns.series, "") if columns.series else "", []).append(row)
        return [{"history": part, "series": name} for name, part in groups.items()]

    def outcome(self, output: Forecast, top_k: int | None = None) -> dict[str, Any]:
        """{"forecast": [{"time", "value", "low", "high"}]} with "series" and "history"; of one time only its entry."""
        listed = [
            {"time": time, "value": _short(middle), "low": _short(low), "high": _short(high)}
            for time, low, middle, high in zip(output.times, output.low, output.middle, output.high, strict=True)
        ]
        if output.is_one:
            return {name: listed[0][name] for name in ("value", "low", "high", "time")}
        found: dict[str, Any] = {"forecast": listed}
        if output.series:
            found["series"] = output.series
        if output.past:
            found["history"] = [{"time": time, "value": _short(value)} for time, value in output.past]
        return found


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
