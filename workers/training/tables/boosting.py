"""Gradient boosting with scikit-learn's histogram trees, grown in short spans so that it reports, stops and resumes.

The fitted trees leave as the plain arrays of workers/trees.py. A span's state can be stored and taken up again: the
same trees come out as if training had not been interrupted, because rows are binned anew the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

from workers.contract import ProgramFailure
from workers.trees import Arrays, Ensemble

FIRST_SPAN, SPAN_SECONDS = 5, 0.7
NEVER = 10**9
PARITY_TOLERANCE = 1e-5
REGRESSION_LOSSES = {"mse": "squared_error", "mae": "absolute_error", "huber": "squared_error"}


@dataclass(frozen=True)
class BoostingSettings:
    """`patience` counts rounds without a better validation loss; 0 grows all `rounds`. None in max_depth: no limit."""

    rounds: int
    learning_rate: float
    max_leaf_nodes: int
    min_samples_leaf: int
    l2_regularization: float
    max_depth: int | None = None
    max_features: float = 1.0
    patience: int = 0
    loss: str = "mse"
    class_weight: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """Rows `matrix` float32 [N, F] as `Encoded.matrix()` makes them, with class numbers or standardised `targets` [N]."""

    matrix: np.ndarray
    targets: np.ndarray


# Called after each span with the rounds grown so far and, for each new round, (round, train loss, validation loss).
Report = Callable[[int, list[tuple[int, float, float]]], None]


class Booster:
    """One gradient boosting model: `grow` it to its end, then take its `arrays`."""

    def __init__(self, settings: BoostingSettings, numeric_count: int, code_counts: list[int], classes: int) -> None:
        """`classes` is 0 for regression; the matrix has `numeric_count` numeric features, then categorical codes."""
        self.settings, self.numeric_count, self.code_counts, self.classes = settings, numeric_count, code_counts, classes
        self.estimator = self._make_estimator()
        self.span = FIRST_SPAN
        self._restored: tuple[Arrays, dict[str, Any]] | None = None

    def _make_estimator(self) -> Any:
        kind = HistGradientBoostingClassifier if self.classes else HistGradientBoostingRegressor
        chosen = {"class_weight": self.settings.class_weight} if self.classes else {}
        if not self.classes:
            chosen["loss"] = REGRESSION_LOSSES[self.settings.loss]
        categorical = [self.numeric_count + index for index in range(len(self.code_counts))]
        return kind(
            learning_rate=self.settings.learning_rate,
            max_leaf_nodes=self.settings.max_leaf_nodes,
            max_depth=self.settings.max_depth,
            min_samples_leaf=self.settings.min_samples_leaf,
            l2_regularization=self.settings.l2_regularization,
            max_features=self.settings.max_features,
            categorical_features=categorical or None,
            # sklearn then computes both losses of every round but never stops by itself: `best_round` decides.
            early_stopping=True,
            n_iter_no_change=NEVER,
            warm_start=True,
            random_state=self.settings.seed,
            **chosen,
        )

    @property
    def rounds(self) -> int:
        return len(getattr(self.estimator, "_predictors", []))

    @property
    def best_round(self) -> int:
        """The number of rounds with the lowest validation loss."""
        return int(np.argmax(self.estimator.validation_score_[1:])) + 1

    @property
    def is_finished(self) -> bool:
        patience = self.settings.patience
        return self.rounds >= self.settings.rounds or (0 < patience <= self.rounds - self.best_round)

    def grow(self, train: Sample, holdout: Sample, report: Report) -> None:
        """Grow to the end. `report` may raise to stop; `state` is then what to store."""
        if self._restored:
            self._take_up(train, holdout)
        while not (self.rounds and self.is_finished):
            start, started_at = self.rounds, time.monotonic()
            self._fit(train, holdout, min(self.settings.rounds, start + self.span))
            if time.monotonic() - started_at < SPAN_SECONDS:
                self.span *= 2
            report(self.rounds, self._losses(start))

    def _fit(self, train: Sample, holdout: Sample, rounds: int) -> None:
        self.estimator.set_params(max_iter=rounds)
        self.estimator.fit(train.matrix, train.targets, X_val=holdout.matrix, y_val=holdout.targets)

    def _losses(self, start: int) -> list[tuple[int, float, float]]:
        train, validation = -self.estimator.train_score_, -self.estimator.validation_score_
        return [(number, float(train[number]), float(validation[number])) for number in range(start + 1, len(train))]

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Tensors and JSON from which `restore` continues; empty before the first span."""
        if not self.rounds:
            return self._restored or ({}, {})
        flat = [tree for trees in self.estimator._predictors for tree in trees]
        nodes = np.concatenate([tree.nodes for tree in flat])
        tensors = {f"nodes.{name}": _storable(nodes[name]) for name in PREDICTOR_RECORD_DTYPE.names}
        tensors["tree_sizes"] = np.array([len(tree.nodes) for tree in flat])
        for name in ("binned_left_cat_bitsets", "raw_left_cat_bitsets"):
            sets = [getattr(tree, name) for tree in flat]
            tensors[name] = np.concatenate(sets).reshape(-1, 8)
        tensors["set_sizes"] = np.array([len(tree.raw_left_cat_bitsets) for tree in flat])
        tensors["train_score"] = self.estimator.train_score_
        tensors["validation_score"] = self.estimator.validation_score_
        generator = self.estimator._feature_subsample_rng.bit_generator.state
        return tensors, {"generator": generator, "span": self.span}

    def restore(self, tensors: Arrays, state: dict[str, Any]) -> None:
        """Continue from what `state` returned, in the next `grow` on the same rows."""
        self._restored = (tensors, state) if state else None

    def _take_up(self, train: Sample, holdout: Sample) -> None:
        tensors, state = self._restored
        self._fit(train, holdout, 1)  # makes what does not depend on trees: classes, baseline, seeds
        trees = _stored_trees(tensors)
        per_round = len(self.estimator._predictors[0])
        self.estimator._predictors = [trees[i : i + per_round] for i in range(0, len(trees), per_round)]
        self.estimator.train_score_ = tensors["train_score"]
        self.estimator.validation_score_ = tensors["validation_score"]
        self.estimator._feature_subsample_rng.bit_generator.state = state["generator"]
        self.span, self._restored = state["span"], None

    def arrays(self, check: np.ndarray) -> Arrays:
        """The best rounds as plain arrays. Raises ProgramFailure where they and sklearn disagree on rows `check`."""
        rounds = self.estimator._predictors[: self.best_round]
        flat = [tree for trees in rounds for tree in trees]
        arrays = _plain_arrays(flat, self._known_codes(), self.numeric_count, self.code_counts)
        arrays["baseline"] = self.estimator._baseline_prediction.reshape(-1).astype(np.float64)
        self._check_parity(arrays, check)
        return arrays

    def _known_codes(self) -> list[np.ndarray]:
        """For each categorical feature the codes that sklearn saw, in its own order."""
        if not self.code_counts:
            return []
        encoder = self.estimator._preprocessor.named_transformers_["encoder"]
        return [np.asarray(codes, dtype=np.intp) for codes in encoder.categories_]

    def _check_parity(self, arrays: Arrays, check: np.ndarray) -> None:
        every = self.estimator._predictors
        self.estimator._predictors = every[: self.best_round]
        try:
            expected = self.estimator._raw_predict(check)
        finally:
            self.estimator._predictors = every
        gap = np.abs(Ensemble.from_arrays(arrays).predict(check) - expected).max(initial=0)
        if gap > PARITY_TOLERANCE * max(1.0, np.abs(expected).max(initial=0)):
            raise ProgramFailure(
                "export_differs",
                f"The exported trees differ from the trained ones by {gap:.2g}.",
                hint="This is a fault of the installation: scikit-learn's version may not be supported.",
                blame="machine",
            )


def _storable(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values)


def _stored_trees(tensors: Arrays) -> list[TreePredictor]:
    nodes = np.empty(len(tensors["nodes.value"]), dtype=PREDICTOR_RECORD_DTYPE)
    for name in PREDICTOR_RECORD_DTYPE.names:
        nodes[name] = tensors[f"nodes.{name}"]
    node_ends, set_ends = np.cumsum(tensors["tree_sizes"])[:-1], np.cumsum(tensors["set_sizes"])[:-1]
    parts = zip(
        np.split(nodes, node_ends),
        np.split(tensors["binned_left_cat_bitsets"], set_ends),
        np.split(tensors["raw_left_cat_bitsets"], set_ends),
        strict=True,
    )
    return [TreePredictor(*part) for part in parts]


def _plain_arrays(
    trees: list[TreePredictor], known_codes: list[np.ndarray], numeric_count: int, code_counts: list[int]
) -> Arrays:
    """sklearn puts categorical features first and counts only the codes it saw; both are undone here."""
    nodes = np.concatenate([tree.nodes for tree in trees])
    starts = np.cumsum([0] + [len(tree.nodes) for tree in trees])[:-1]
    inner = np.concatenate([np.arange(len(tree.nodes)) for tree in trees])
    is_leaf, by_set = nodes["is_leaf"] > 0, (nodes["is_categorical"] > 0) & (nodes["is_leaf"] == 0)
    feature = _original_features(nodes["feature_idx"], numeric_count, len(code_counts))
    threshold = _round_down(nodes["num_threshold"])
    sets = _category_sets(trees, nodes, by_set, known_codes, code_counts)
    threshold[by_set] = np.arange(by_set.sum())
    if not np.array_equal(nodes["left"][~is_leaf], inner[~is_leaf] + 1):
        raise RuntimeError("scikit-learn no longer stores trees in preorder")
    return {
        "feature": np.where(is_leaf, -1, feature).astype(np.int32),
        "threshold": np.where(is_leaf, 0, threshold).astype(np.float32),
        "right": np.where(is_leaf, 0, nodes["right"].astype(np.int64) - inner).astype(np.int32),
        "missing_left": np.where(is_leaf, 0, nodes["missing_go_to_left"]).astype(np.uint8),
        "value": np.where(is_leaf, nodes["value"], 0).astype(np.float32),
        "tree_start": starts.astype(np.int32),
        "category_sets": sets,
        "categorical": np.repeat([0, 1], [numeric_count, len(code_counts)]).astype(np.uint8),
    }


def _original_features(feature: np.ndarray, numeric_count: int, categorical_count: int) -> np.ndarray:
    return np.where(feature < categorical_count, feature + numeric_count, feature - categorical_count)


def _round_down(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 not above each threshold: it splits float32 values exactly as the threshold does."""
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    above = rounded.astype(np.float64) > thresholds
    return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _category_sets(
    trees: list[TreePredictor],
    nodes: np.ndarray,
    by_set: np.ndarray,
    known_codes: list[np.ndarray],
    code_counts: list[int],
) -> np.ndarray:
    """uint8 [S, W]: for each categorical split the codes that go left; codes unseen in training go as missing values."""
    width = -(-max(code_counts, default=1) // 8) * 8
    sets = np.zeros((int(by_set.sum()), width), dtype=np.uint8)
    offsets = np.cumsum([0] + [len(tree.raw_left_cat_bitsets) for tree in trees])[:-1]
    index = np.repeat(offsets, [len(tree.nodes) for tree in trees])[by_set] + nodes["bitset_idx"][by_set]
    bitsets = np.concatenate([tree.raw_left_cat_bitsets for tree in trees]).reshape(-1, 8)
    members = np.unpackbits(np.ascontiguousarray(bitsets).view(np.uint8), axis=1, bitorder="little")[index]
    features, missing_left = nodes["feature_idx"][by_set], nodes["missing_go_to_left"][by_set]
    for feature, codes in enumerate(known_codes):
        here = features == feature
        sets[here] = missing_left[here][:, None]
        sets[np.ix_(here, codes)] = members[here][:, : len(codes)]
    return np.packbits(sets, axis=1, bitorder="little")
