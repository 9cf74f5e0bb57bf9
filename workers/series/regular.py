"""A series as values in equal steps, its gaps filled from what came before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

SEASON, LAST, ZERO = FILLINGS = ("season", "last", "zero")
MEAN, SUM, LATEST = MERGINGS = ("mean", "sum", "last")


@dataclass(frozen=True)
class Series:
    """`values` float64 [T] from period `first` on, without gaps; `known` bool [T], false where a gap was filled.

    `numbers` float32 [U, F] (NaN where unknown) and `codes` int64 [U, C] are further columns, U >= T, as the encoder of
    the columns makes them; beyond T they are those that are known beforehand.
    """

    name: str
    first: int
    values: np.ndarray
    known: np.ndarray
    numbers: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    codes: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def last(self) -> int:
        """The period of the last value."""
        return self.first + len(self.values) - 1


def merge(periods: np.ndarray, values: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """One value for each period, in order: the mean, the sum or the last in the table of those that share one."""
    order = np.lexsort((np.arange(len(periods)), periods))
    ordered, sorted_values = periods[order], values[order]
    distinct, starts, counts = np.unique(ordered, return_index=True, return_counts=True)
    if how == LATEST:
        return distinct, sorted_values[starts + counts - 1]
    sums = np.add.reduceat(sorted_values, starts) if len(starts) else np.zeros(0)
    return distinct, sums if how == SUM else sums / counts


def regularise(
    periods: np.ndarray, values: np.ndarray, filling: str, season: int
) -> tuple[int, np.ndarray, np.ndarray]:
    """(first period, values [T], known [T]) of different `periods` [N] in order, N > 0.

    A gap gets the value of one season before, else the last before it, or zero: never one from later.
    """
    first = int(periods[0])
    places = periods - first
    full, known = np.full(int(places[-1]) + 1, np.nan), np.zeros(int(places[-1]) + 1, dtype=bool)
    full[places], known[places] = values, True
    for place in np.flatnonzero(~known).tolist():
        if filling == ZERO:
            full[place] = 0.0
        else:
            back = season if filling == SEASON and place >= season > 0 else 1
            full[place] = full[place - back]
    return first, full, known


def find_season(series: Sequence[np.ndarray], seasons: Sequence[int]) -> int:
    """The main season: the shortest of the frequency's that two thirds of the longest series hold twice; without any,
    that after which the longest series is most like itself; 1 where there is none."""
    longest = max(series, key=len)
    fitting = [length for length in seasons if 3 * length <= len(longest)]
    if seasons:
        return fitting[0] if fitting else 1
    return _alike_after(longest)


def _alike_after(values: np.ndarray, least: float = 0.3, longest: int = 400) -> int:
    """The lag from 2 on with the highest autocorrelation of the steps between values, where that is above `least`."""
    steps = np.diff(values)
    steps = steps - steps.mean() if len(steps) else steps
    power = float((steps**2).sum())
    lags = range(2, min(longest, len(steps) // 3) + 1)
    if power <= 0 or not len(lags):
        return 1
    alike = np.array([(steps[lag:] * steps[:-lag]).sum() / power for lag in lags])
    best = int(np.argmax(alike))
    return lags[best] if alike[best] > least else 1


def most_frequent_first(names: Mapping[str, int]) -> list[str]:
    """Names of series, those with the most values in front, equal ones in order of the name."""
    return sorted(names, key=lambda name: (-names[name], name))
