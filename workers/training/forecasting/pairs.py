"""Origins and steps to learn from and to be judged by, with what was known and what came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.series.features import Recipe, build
from workers.series.model import Asked
from workers.training.forecasting.data import SeriesData

Span = tuple[int, int]  # periods, the end excluded


@dataclass(frozen=True)
class Pairs:
    """N origins with a step each: features float32 [N, F], level, spread and target [N], the naive scale of the series
    [N], and steps [N]. All have a target."""

    asked: list[Asked]
    matrix: np.ndarray
    level: np.ndarray
    spread: np.ndarray
    targets: np.ndarray
    scales: np.ndarray
    steps: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def scaled_targets(self) -> np.ndarray:
        return (self.targets - self.level) / self.spread

    def outwards(self, scaled: np.ndarray) -> np.ndarray:
        return scaled * self.spread + self.level

    @classmethod
    def of(cls, data: SeriesData, recipe: Recipe, asked: Sequence[Asked]) -> Pairs:
        """Those of `asked` whose targets are known."""
        kept = [_with_targets(each) for each in asked]
        kept = [each for each in kept if len(each.steps)]
        built = [build(recipe, each.series, each.origins, each.steps) for each in kept]
        return cls(
            kept,
            _joined([matrix for matrix, _ in built], (0, recipe.numeric_count + len(recipe.all_code_counts))),
            _joined([frame.level for _, frame in built]),
            _joined([frame.spread for _, frame in built]),
            _joined([each.targets for each in kept]),
            _joined([np.full(len(each.steps), data.scales[each.series.name]) for each in kept]),
            _joined([each.steps for each in kept]).astype(np.int64),
        )


def _joined(parts: Sequence[np.ndarray], shape: tuple[int, ...] = (0,)) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(shape)


def _with_targets(asked: Asked) -> Asked:
    has = ~np.isnan(asked.targets)
    return Asked(asked.series, asked.origins[has], asked.steps[has])


def sample(data: SeriesData, span: Span, most: int, seed: int) -> list[Asked]:
    """Single steps from any origin, whose targets lie in the span; drawn at random where there are more than `most`."""
    random = np.random.default_rng(seed)
    steps = np.arange(1, data.horizon + 1)
    origins = [data.origins(each, *span) for each in data.series]
    share = min(1.0, most / max(1, sum(map(len, origins)) * data.horizon))
    found = []
    for each, places in zip(data.series, origins, strict=True):
        pairs = Asked(each, np.repeat(places, data.horizon), np.tile(steps, len(places)))
        inside = pairs.times < min(span[1], each.last + 1)
        if share < 1:
            inside &= random.random(len(inside)) < share
        found.append(Asked(each, pairs.origins[inside], pairs.steps[inside]))
    return found


def backtest(data: SeriesData, span: Span, most: int) -> list[Asked]:
    """Whole forecasts from many origins, whose targets lie in the span: from every origin, or where that is more than
    `most` single values from origins that are evenly apart, the latest among them."""
    origins = [data.origins(each, *span, horizon=data.horizon) for each in data.series]
    every = max(1, -(-sum(map(len, origins)) * data.horizon // most))
    chosen = [places[::-1][::every][::-1] for places in origins]
    return [
        Asked.whole(each, places, data.horizon) for each, places in zip(data.series, chosen, strict=True) if len(places)
    ]
