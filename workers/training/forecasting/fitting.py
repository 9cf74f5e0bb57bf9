"""The two parts of a model: trees for three quantiles, and a ridge regression from the last values to every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workers.contract import EventWriter, TrainSpec
from workers.series.features import Recipe
from workers.series.model import QUANTILES, Linear, windows_of
from workers.training.forecasting.data import SeriesData
from workers.training.forecasting.pairs import Pairs, Span
from workers.training.tables.boosting import PINBALL, Booster, BoostingSettings, Sample
from workers.training.tables.candidates import ROUNDS_PER_EPOCH
from workers.training.tables.checkpointing import Keeper
from workers.training.tables.growing import report_growth
from workers.trees import Arrays

PARITY_ROWS = 500
LONGEST_WINDOW, SHORTEST_WINDOW = 128, 8
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
MOST_WINDOWS = 20_000
ROUNDS = "rounds"


@dataclass
class Study:
    """One training: what it learns from, and where its checkpoints and its progress go."""

    spec: TrainSpec
    data: SeriesData
    recipe: Recipe
    events: EventWriter
    keeper: Keeper

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.spec.hyperparameters


def grow_trees(
    study: Study, key: str, train: Pairs, holdout: Pairs, span: tuple[float, float], rounds: Mapping[str, int]
) -> dict[str, Arrays]:  # fmt: skip
    """The arrays of each quantile's trees. With `rounds` so many are grown of each; else as many as do best on the
    `holdout`, and `Arrays` say under "rounds" how many these are. Raises Stopped after a checkpoint."""
    found = {}
    width = (span[1] - span[0]) / len(QUANTILES)
    for place, (name, quantile) in enumerate(QUANTILES.items()):
        part = (span[0] + place * width, span[0] + (place + 1) * width)
        settings = _settings(study.settings, quantile, rounds.get(name, 0))
        found[name] = _grow(study, f"{key} {name}", settings, train, holdout, part)
    return found


def _settings(settings: Mapping[str, Any], quantile: float, rounds: int) -> BoostingSettings:
    usual = BoostingSettings(
        rounds=settings["trees"],
        learning_rate=settings["tree_learning_rate"],
        max_leaf_nodes=settings["max_leaf_nodes"],
        min_samples_leaf=settings["min_samples_leaf"],
        l2_regularization=settings["l2_regularization"],
        patience=ROUNDS_PER_EPOCH * settings["early_stopping_patience"],
        loss=PINBALL,
        seed=settings["seed"],
        quantile=quantile,
    )
    return replace(usual, rounds=rounds, patience=0, is_settled=True) if rounds else usual


def _grow(
    study: Study, key: str, settings: BoostingSettings, train: Pairs, holdout: Pairs, span: tuple[float, float]
) -> Arrays:  # fmt: skip
    keeper, recipe = study.keeper, study.recipe
    if key not in keeper.members:
        study.keeper.stop.check()
        booster = Booster(settings, recipe.numeric_count, recipe.all_code_counts, 0)
        if stored := keeper.partial(key):
            booster.restore(*stored)
        samples = (Sample(each.matrix, each.scaled_targets) for each in (train, holdout))
        booster.grow(*samples, report_growth(booster, keeper, key, keeper.curves(key), span, f" ({key})"))
        arrays = booster.arrays(holdout.matrix[:PARITY_ROWS])
        keeper.finish(key, arrays | {ROUNDS: np.array([booster.best_round])}, [])
    return keeper.members[key]


def fit_linear(study: Study, span: Span, strength: float) -> Linear:
    """Ridge regression on whole horizons with targets in the span."""
    return Linear(_ridge(*_windows(study, span), strength))


def choose_strength(study: Study, span: Span, judge: Callable[[Linear], float]) -> tuple[float, Linear]:
    """The strength with the lowest loss on the validation data, and what was learned with it."""
    windows = _windows(study, span)
    found = [(strength, Linear(_ridge(*windows, strength))) for strength in STRENGTHS]
    return min(found, key=lambda one: judge(one[1]))


def window_length(recipe: Recipe) -> int:
    return max(SHORTEST_WINDOW, min(LONGEST_WINDOW, 2 * recipe.season))


def _windows(study: Study, span: Span) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [N, W + 1] and scaled targets [N, H] of whole horizons, at most `MOST_WINDOWS` drawn at random."""
    data, recipe, width = study.data, study.recipe, window_length(study.recipe)
    random = np.random.default_rng(study.settings["seed"])
    origins = [data.origins(each, *span, horizon=data.horizon) for each in data.series]
    share = min(1.0, MOST_WINDOWS / max(1, sum(map(len, origins))))
    rows, targets = [], []
    for series, places in zip(data.series, origins, strict=True):
        places = places[random.random(len(places)) < share] if share < 1 else places
        if not len(places):
            continue
        windows, frame = windows_of(recipe, series, places, width)
        ahead = series.values[places[:, None] + np.arange(1, data.horizon + 1)]
        rows.append(windows)
        targets.append((ahead - frame.level[:, None]) / frame.spread[:, None])
    if not rows:
        return np.zeros((0, width + 1)), np.zeros((0, data.horizon))
    return np.concatenate(rows), np.concatenate(targets)


def _ridge(rows: np.ndarray, targets: np.ndarray, strength: float) -> np.ndarray:
    """(X'X + s I)^-1 X'Y; the constant is not shrunk."""
    shrunk = np.eye(rows.shape[1])
    shrunk[-1, -1] = 1e-9
    return np.linalg.solve(rows.T @ rows + strength * shrunk, rows.T @ targets)
