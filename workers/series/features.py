"""What a forecast is made from: the values until its origin, the calendar of its time, and further columns.

A forecast is asked for by an origin (the last value that is known) and a step from 1 on. No feature depends on any
value after the origin. Values are measured from the level at the origin, in units of the spread before it, so that
series of any size, and series that were never seen, are read alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from workers.series.frequency import MONTH, STEP, Frequency
from workers.series.regular import Series

MOST_LAGS = 12
SEASONS_BACK = 4
YEARLY_FROM = 52  # steps: a season so long is read as the mean of a few neighbours
NEIGHBOURS = 3
LARGEST = 1e6
CALENDAR = ("hour", "weekday", "day", "month", "day of the year")


@dataclass(frozen=True)
class Recipe:
    """How features are made. `seasons` are in steps, the main one first; `number_count` and `code_counts` describe the
    further columns, of which those with their place in `ahead` are read at the time that is forecast and the others at
    the origin. `names` are the series that are told apart by a code."""

    frequency: Frequency
    seasons: tuple[int, ...]
    number_count: int = 0
    code_counts: tuple[int, ...] = ()
    numbers_ahead: tuple[bool, ...] = ()
    codes_ahead: tuple[bool, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def season(self) -> int:
        return self.seasons[0] if self.seasons else 1

    @property
    def lags(self) -> int:
        return min(MOST_LAGS, max(6, self.season))

    @property
    def level_window(self) -> int:
        """Steps whose mean is the level: a season, so that it does not follow the season."""
        return max(4, self.season)

    @property
    def context(self) -> int:
        """Steps whose deviation is the spread."""
        return max(16, 2 * self.season)

    @property
    def windows(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys((3, self.level_window, 4 * self.level_window)))

    @property
    def numeric_names(self) -> list[str]:
        """Of the features, in order, without the further columns and the codes."""
        names = ["step", *(f"value {lag} before the origin" for lag in range(self.lags))]
        for season in self.seasons:
            names += [f"season {season}, once before", f"season {season}, twice before", f"season {season}, mean",
                      f"season {season}, growth"]  # fmt: skip
        names += [f"mean of {window}" for window in self.windows] + ["spread of a season", "slope"]
        return names + list(CALENDAR)

    @property
    def numeric_count(self) -> int:
        return len(self.numeric_names) + self.number_count

    @property
    def all_code_counts(self) -> list[int]:
        return [*self.code_counts, *([len(self.names) + 1] if self.names else [])]


@dataclass(frozen=True)
class Frame:
    """Where the origins stand: `level` and `spread` [N], in the unit of the values."""

    level: np.ndarray
    spread: np.ndarray

    def inwards(self, values: np.ndarray) -> np.ndarray:
        return np.clip((values - self.level) / self.spread, -LARGEST, LARGEST)

    def outwards(self, scaled: np.ndarray) -> np.ndarray:
        return scaled * self.spread + self.level


class Sums:
    """Means of any part of a series in one look-up: running sums of the values, each of what came until then."""

    def __init__(self, values: np.ndarray) -> None:
        self.shift = values[0] if len(values) else 0.0
        moved = values - self.shift
        self.values, self.count = values, len(values)
        self.sums = np.concatenate([[0.0], np.cumsum(moved)])
        self.squares = np.concatenate([[0.0], np.cumsum(moved**2)])

    def mean(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Of the values from `begin` until before `end` [N], as far as there are any; NaN for none."""
        begin = np.clip(begin, 0, self.count)
        count = np.maximum(end, 0) - begin
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (self.sums[np.clip(end, 0, self.count)] - self.sums[begin]) / count
        return np.where(count > 0, mean + self.shift, np.nan)

    def deviation(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        begin, end = np.clip(begin, 0, self.count), np.clip(end, 0, self.count)
        count = np.maximum(1, end - begin)
        mean = (self.sums[end] - self.sums[begin]) / count
        return np.sqrt(np.maximum(0.0, (self.squares[end] - self.squares[begin]) / count - mean**2))

    def at(self, places: np.ndarray) -> np.ndarray:
        """NaN before the beginning."""
        return np.where(places >= 0, self.values[np.maximum(places, 0)], np.nan)


def frame_of(recipe: Recipe, sums: Sums, origins: np.ndarray) -> Frame:
    """Level and spread at each origin [N]."""
    end = origins + 1
    level = sums.mean(end - recipe.level_window, end)
    spread = sums.deviation(end - recipe.context, end)
    least = 1e-3 * np.abs(level) + 1e-9
    return Frame(level, np.where(spread > least, spread, np.maximum(0.1 * np.abs(level), 1.0)))


def build(recipe: Recipe, series: Series, origins: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, Frame]:
    """float32 [N, F] for places of origins [N] in the series and steps [N], codes last; and where the origins stand."""
    sums = Sums(series.values)
    frame = frame_of(recipe, sums, origins)
    parts = [steps.astype(np.float64)]
    parts += [frame.inwards(sums.at(origins - lag)) for lag in range(recipe.lags)]
    for season in recipe.seasons:
        parts += _of_season(recipe, sums, frame, origins, steps, season)
    end = origins + 1
    parts += [frame.inwards(sums.mean(end - window, end)) for window in recipe.windows]
    parts.append(sums.deviation(end - recipe.level_window, end) / frame.spread)
    parts.append(frame.inwards(sums.mean(end - 2 * recipe.level_window, end - recipe.level_window)))
    parts += calendar(recipe.frequency, series.first + origins + steps)
    numeric = np.stack(parts, axis=1)
    extra = _further(series.numbers, origins, steps, recipe.numbers_ahead, np.nan)
    codes = _further(series.codes, origins, steps, recipe.codes_ahead, 1)
    if recipe.names:
        known = recipe.names.index(series.name) + 1 if series.name in recipe.names else 0
        codes = np.concatenate([codes, np.full((len(origins), 1), known)], axis=1)
    return np.concatenate([numeric, extra, codes], axis=1).astype(np.float32), frame


def _of_season(
    recipe: Recipe, sums: Sums, frame: Frame, origins: np.ndarray, steps: np.ndarray, season: int
) -> list[np.ndarray]:
    """The same place of earlier seasons, the nearest that the origin knows first, and how the level has grown since."""
    seasons_ahead = -(-steps // season)
    first = origins + steps - seasons_ahead * season
    reach = NEIGHBOURS if season >= YEARLY_FROM else 0
    found = []
    for back in range(SEASONS_BACK):
        middle = first - back * season
        if reach:
            found.append(sums.mean(middle - reach, np.minimum(middle + reach, origins) + 1))
        else:
            found.append(sums.at(middle))
    scaled = np.stack([frame.inwards(each) for each in found])
    count = (~np.isnan(scaled)).sum(axis=0)
    mean = np.where(count > 0, np.nansum(scaled, axis=0) / np.maximum(1, count), np.nan)
    end = origins + 1 - seasons_ahead * season
    growth = frame.inwards(sums.mean(end - recipe.level_window, end))
    return [scaled[0], scaled[1], mean, growth]


def calendar(frequency: Frequency, periods: np.ndarray) -> list[np.ndarray]:
    """float64 [N] each: hour, weekday, day, month and day of the year of the periods; NaN for times that are numbers,
    and for what the frequency does not tell apart."""
    if frequency.unit == STEP:
        return [np.full(len(periods), np.nan)] * len(CALENDAR)
    distinct, place = np.unique(periods, return_inverse=True)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    moments = [epoch + timedelta(seconds=tick) for tick in frequency.ticks(distinct).tolist()]
    table = np.array([_parts(moment) for moment in moments], dtype=np.float64).reshape(-1, len(CALENDAR))
    if frequency.unit == MONTH:
        table[:, [0, 1, 2, 4]] = np.nan
    return list(table[place].T)


def _parts(moment: datetime) -> tuple[float, ...]:
    hour = moment.hour + moment.minute / 60
    return hour, moment.weekday(), moment.day, moment.month, moment.timetuple().tm_yday


def _further(
    table: np.ndarray, origins: np.ndarray, steps: np.ndarray, ahead: tuple[bool, ...], unknown: float
) -> np.ndarray:
    """[N, K] of further columns, those that are known ahead at the time that is forecast."""
    found = np.full((len(origins), len(ahead)), unknown, dtype=np.float64)
    for column, is_ahead in enumerate(ahead):
        places = origins + steps if is_ahead else origins
        inside = places < len(table)
        found[inside, column] = table[places[inside], column]
    return found
