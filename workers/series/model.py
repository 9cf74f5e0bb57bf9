"""A model that forecasts: trees for three quantiles, a linear map of the last values, and a measured correction.

One forecast is direct: each step has its own answer, and none is made from another forecast. The middle is the mean of
both parts, weighted by what did best on the validation data. The range between the 10 % and the 90 % quantile is
widened or narrowed by a correction for each step, such that it held 80 % of the validation values: conformalised
quantile regression (Romano, Patterson and Candès, 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from workers.series.features import Frame, Recipe, Sums, build, frame_of
from workers.series.regular import Series
from workers.trees import Arrays, Ensemble

LOW, MIDDLE, HIGH = "q10", "q50", "q90"
QUANTILES = {LOW: 0.1, MIDDLE: 0.5, HIGH: 0.9}
LINEAR = "linear"


@dataclass(frozen=True)
class Asked:
    """Forecasts of one series: places of origins [N] in its values and steps from 1 on [N]."""

    series: Series
    origins: np.ndarray
    steps: np.ndarray

    @property
    def times(self) -> np.ndarray:
        """int64 [N], the periods that are forecast."""
        return self.series.first + self.origins + self.steps

    @property
    def targets(self) -> np.ndarray:
        """float64 [N], what came; NaN where it is not known, or a gap was filled."""
        places = self.origins + self.steps
        inside = places < len(self.series)
        found = np.full(len(places), np.nan)
        places = places[inside]
        found[inside] = np.where(self.series.known[places], self.series.values[places], np.nan)
        return found

    @classmethod
    def whole(cls, series: Series, origins: np.ndarray, horizon: int) -> Asked:
        """Every step until the horizon from each origin."""
        return cls(series, np.repeat(origins, horizon), np.tile(np.arange(1, horizon + 1), len(origins)))


@dataclass(frozen=True)
class Ranges:
    """`low`, `middle` and `high` [N], in the unit of the values or, in a frame, in units of the spread."""

    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Linear:
    """`weights` float64 [W + 1, H]: from the last W values, as the frame scales them, and 1, to each step."""

    weights: np.ndarray

    @property
    def window(self) -> int:
        return len(self.weights) - 1

    def predict(self, recipe: Recipe, asked: Asked) -> np.ndarray:
        """float64 [N], scaled."""
        origins, place = np.unique(asked.origins, return_inverse=True)
        rows, _frame = windows_of(recipe, asked.series, origins, self.window)
        return (rows @ self.weights)[place, asked.steps - 1]


def windows_of(recipe: Recipe, series: Series, origins: np.ndarray, width: int) -> tuple[np.ndarray, Frame]:
    """float64 [N, width + 1]: the last values before each origin, the newest first, scaled, 0 where there are none, and
    1; and where the origins stand."""
    sums = Sums(series.values)
    frame = frame_of(recipe, sums, origins)
    lags = np.stack([frame.inwards(sums.at(origins - lag)) for lag in range(width)], axis=1)
    return np.concatenate([np.nan_to_num(lags), np.ones((len(origins), 1))], axis=1), frame


@dataclass(frozen=True)
class ForecastModel:
    """`trees` by quantile, none where only the linear part is used; `share` is how much of the middle is linear;
    `correction` float64 [H] in units of the spread; `floor` is the least that a value can be, None without one."""

    recipe: Recipe
    trees: Mapping[str, Ensemble]
    linear: Linear | None
    share: float
    correction: np.ndarray
    floor: float | None = None

    @property
    def horizon(self) -> int:
        return len(self.correction)

    def scaled(self, asked: Asked) -> tuple[Ranges, Frame]:
        """Without the correction, in units of the spread; where each origin stands comes along."""
        matrix, frame = build(self.recipe, asked.series, asked.origins, asked.steps)
        straight = self.linear.predict(self.recipe, asked) if self.linear else np.zeros(len(matrix))
        if not self.trees:
            return Ranges(straight, straight, straight), frame
        found = {name: trees.predict(matrix)[:, 0] for name, trees in self.trees.items()}
        return mix(found, straight, self.share), frame

    def forecast(self, asked: Asked) -> Ranges:
        """In the unit of the values; low <= middle <= high, none below the floor."""
        scaled, frame = self.scaled(asked)
        wider = self.correction[asked.steps - 1]
        middle = frame.outwards(scaled.middle)
        low, high = frame.outwards(scaled.low - wider), frame.outwards(scaled.high + wider)
        low, high = np.minimum(low, middle), np.maximum(high, middle)
        if self.floor is None:
            return Ranges(low, middle, high)
        return Ranges(*(np.maximum(each, self.floor) for each in (low, middle, high)))

    def to_arrays(self, trees: Mapping[str, Arrays]) -> Arrays:
        """As they are stored; `trees` are the arrays that the ensembles were made of."""
        arrays = {f"{name}.{key}": array for name, each in trees.items() for key, array in each.items()}
        if self.linear:
            arrays[LINEAR] = self.linear.weights
        return arrays | {"correction": self.correction}

    @classmethod
    def from_arrays(cls, arrays: Arrays, recipe: Recipe, share: float, floor: float | None) -> ForecastModel:
        """Raises KeyError, ValueError and ProgramFailure for what are no arrays of a model."""
        parts = {
            name: {key.partition(".")[2]: array for key, array in arrays.items() if key.startswith(f"{name}.")}
            for name in QUANTILES
        }
        trees = {name: Ensemble.from_arrays(part) for name, part in parts.items() if part}
        linear = Linear(arrays[LINEAR]) if LINEAR in arrays else None
        if not trees and linear is None or trees and len(trees) != len(QUANTILES):
            raise ValueError("a part of the model is missing")
        return cls(recipe, trees, linear, share, arrays["correction"], floor)


def mix(trees: Mapping[str, np.ndarray], straight: np.ndarray, share: float) -> Ranges:
    """The middle of both parts, and the range of the trees around it."""
    middle = (1 - share) * trees[MIDDLE] + share * straight
    moved = middle - trees[MIDDLE]
    return Ranges(trees[LOW] + moved, middle, trees[HIGH] + moved)


def correct(scores: np.ndarray, steps: np.ndarray, horizon: int, share: float = 0.8, fewest: int = 50) -> np.ndarray:
    """float64 [H], by how much the range must grow at each step to hold so large a share of the values.

    `scores` [N] are max(low - y, y - high), `steps` [N] theirs. Of n scores it is the one of rank ceil((n + 1) share);
    neighbouring steps are taken together until each group has `fewest` scores, or all are.
    """
    known = ~np.isnan(scores)
    scores, steps = scores[known], steps[known]
    if not len(scores):
        return np.zeros(horizon)
    size = min(horizon, max(1, -(-fewest * horizon // len(scores))))
    found = np.zeros(horizon)
    for start in range(0, horizon, size):
        begin = min(start, max(0, horizon - size))
        group = np.sort(scores[(steps > begin) & (steps <= begin + size)])
        if not len(group):
            group = np.sort(scores)
        rank = min(len(group), int(np.ceil((len(group) + 1) * share)))
        found[start : start + size] = group[rank - 1]
    return found
