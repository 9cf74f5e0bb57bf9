"""Gradient boosting and linear models as candidates, and which are tried for which settings."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workers.tables.encoder import Encoded
from workers.training.tables.boosting import Booster, BoostingSettings, Sample
from workers.training.tables.data import Fold
from workers.training.tables.growing import report_growth
from workers.training.tables.linear import design, fit_linear, predict_linear
from workers.training.tables.pieces import PIECES, Pieces
from workers.training.tables.study import Candidate, FittedMember, Span, Study
from workers.trees import Arrays, Ensemble, to_probabilities

# early_stopping_patience counts epochs; so many boosting rounds are taken for one.
ROUNDS_PER_EPOCH = 5
PARITY_ROWS = 2000
# Trees with fewer leaves learn less in a round and get more rounds, up to this factor.
MAX_ROUNDS_FACTOR = 4
LINEAR_STRENGTHS = (0.5, 3.0, 15.0, 60.0)
MAX_LINEAR_CELLS = 20_000_000


@dataclass(frozen=True)
class TreesCandidate:
    """Gradient boosting with `settings`."""

    name: str
    settings: BoostingSettings
    family: str = "trees"

    def fit(self, study: Study, fold: Fold, key: str, span: Span) -> FittedMember:
        encoder = study.table.encoder
        booster = Booster(self.settings, len(encoder.numeric_features), encoder.code_counts, study.classes)
        if stored := study.keeper.partial(key):
            booster.restore(*stored)
        train, holdout = (Sample(study.table.encoded[rows].matrix(), study.table.targets[rows])
                          for rows in (fold.train, fold.holdout))  # fmt: skip
        booster.grow(train, holdout, report_growth(booster, study.keeper, key, study.curves(key), span))
        history = [
            {"epoch": number, "train_loss": train_loss, "val_loss": holdout_loss}
            for number, train_loss, holdout_loss in booster.history
        ]
        return FittedMember(booster.arrays(holdout.matrix[:PARITY_ROWS]), history)

    def predict(self, study: Study, arrays: Arrays, rows: Encoded) -> np.ndarray:
        scores = Ensemble.from_arrays(arrays).predict(rows.matrix())
        return to_probabilities(scores) if study.classes else scores[:, 0]


@dataclass(frozen=True)
class LinearCandidate:
    """Logistic regression or ridge with an L2 penalty of `strength`, of numbers in pieces: a curve for each."""

    name: str
    strength: float
    family: str = "linear"

    def fit(self, study: Study, fold: Fold, key: str, span: Span) -> FittedMember:
        study.events.progress(span[0], "Fitting a linear model")
        arrays = fit_linear(
            design(study.table.encoded[fold.train], study.table.encoder.code_counts, study.pieces),
            study.table.targets[fold.train],
            classes=study.classes,
            strength=self.strength,
            class_weight=study.class_weight,
            seed=study.hyperparameters["seed"],
        )
        return FittedMember(arrays | study.pieces.to_arrays(), [])

    def predict(self, study: Study, arrays: Arrays, rows: Encoded) -> np.ndarray:
        return predict_linear(
            arrays, design(rows, study.table.encoder.code_counts, Pieces.from_arrays(arrays)), study.classes
        )


def make_candidates(study: Study) -> list[Candidate]:
    """The candidates for the hyper-parameter `model`."""
    model = study.hyperparameters["model"]
    if model == "gradient_boosting":
        return [TreesCandidate("gradient_boosting", boosting_settings(study))]
    candidates: list[Candidate] = []
    if model in ("auto", "blend"):
        candidates += _trees(boosting_settings(study))
    if model == "linear" or (model in ("auto", "blend") and _linear_is_affordable(study)):
        candidates += [LinearCandidate(f"linear_{strength:g}", strength) for strength in LINEAR_STRENGTHS]
    if model in ("mlp", "blend"):
        candidates.append(importlib.import_module("workers.training.tables.mlp").MlpCandidate())
    return candidates


def boosting_settings(study: Study) -> BoostingSettings:
    """The user's settings."""
    chosen: dict[str, Any] = study.hyperparameters
    if (study.classes and chosen["loss"] != "cross_entropy") or chosen["loss"] == "huber":
        used = "cross_entropy" if study.classes else "mse"
        study.events.log(f"Trees and linear models have no loss {chosen['loss']}; they use {used}.", "warning")
    return BoostingSettings(
        rounds=chosen["trees"],
        learning_rate=chosen["tree_learning_rate"],
        max_leaf_nodes=chosen["max_leaf_nodes"],
        min_samples_leaf=chosen["min_samples_leaf"],
        l2_regularization=chosen["l2_regularization"],
        patience=chosen["early_stopping_patience"] * ROUNDS_PER_EPOCH,
        loss=chosen["loss"],
        class_weight=study.class_weight,
        seed=chosen["seed"],
    )


def _trees(settings: BoostingSettings) -> list[Candidate]:
    """From trees as the user set them to ever simpler ones, for data where those would learn the noise."""

    def variant(name: str, leaves: int, l2: float, features: float, depth: int | None = None) -> TreesCandidate:
        leaves = min(leaves, settings.max_leaf_nodes)
        factor = min(MAX_ROUNDS_FACTOR, settings.max_leaf_nodes / leaves)
        chosen = replace(
            settings,
            rounds=round(settings.rounds * factor),
            max_leaf_nodes=leaves,
            l2_regularization=max(l2, settings.l2_regularization),
            max_features=features,
            max_depth=depth,
        )
        return TreesCandidate(name, chosen)

    return [
        variant("full_trees", settings.max_leaf_nodes, 1.0, 0.5),
        variant("medium_trees", 15, 1.0, 1.0),
        variant("small_trees", 8, 10.0, 0.3),
        variant("shallow_trees", 4, 1.0, 1.0, depth=2),
    ]


def _linear_is_affordable(study: Study) -> bool:
    encoder = study.table.encoder
    width = (2 + PIECES) * len(encoder.numeric_features) + sum(encoder.code_counts)
    return width * len(study.table.development) * max(1, study.classes) <= MAX_LINEAR_CELLS
