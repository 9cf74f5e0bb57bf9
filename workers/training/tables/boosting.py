"""Gradient boosting with scikit-learn's histogram trees, such that it reports, stops and resumes after any round.

The fitted trees leave as the plain arrays of workers/trees.py. The state after a round can be stored and taken up
later: the same trees come out as if training had not been interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

from workers.contract import ProgramFailure
from workers.training.metrics import log_loss, pinball_loss
from workers.training.threads import thread_limit
from workers.trees import Arrays, Ensemble, to_probabilities

NEVER = 10**9
PARITY_TOLERANCE = 1e-5
PINBALL = "pinball"
REGRESSION_LOSSES = {"mse": "squared_error", "mae": "absolute_error", "huber": "squared_error", PINBALL: "quantile"}


@dataclass(frozen=True)
class BoostingSettings:
    """`patience` counts rounds without a better validation loss; 0 grows all `rounds`. None in max_depth: no limit.
    `quantile` is what is learned of a value where `loss` is "pinball". All rounds are kept where their number
    `is_settled`, else those until the best."""

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
    quantile: float | None = None
    is_settled: bool = False


@dataclass(frozen=True)
class Sample:
    """Rows as `Encoded.matrix()` makes them, float32 [N, F], with class numbers or standardised `targets` [N]."""

    matrix: np.ndarray
    targets: np.ndarray


# Called after each round with (round from 1, train loss, validation loss); may raise to stop.
Report = Callable[[int, float, float], None]


class Enough(Exception):
    """The validation loss has not become better for long."""


class Booster:
    """One gradient boosting model: `grow` it to its end, then take its `arrays`.

    sklearn is asked to score itself by `_score` after every round, which is how training is followed and stopped.
    """

    def __init__(self, settings: BoostingSettings, numeric_count: int, code_counts: list[int], classes: int) -> None:
        """`classes` is 0 for regression; the matrix has `numeric_count` numeric features, then categorical codes."""
        self.settings, self.classes = settings, classes
        self.numeric_count, self.code_counts = numeric_count, code_counts
        self.estimator = self._make_estimator()
        self.history: list[tuple[int, float, float]] = []
        self._report: Report | None = None
        self._train_loss: float | None = None
        self._scores: dict[int, tuple[np.ndarray, int]] = {}
        self._restored: tuple[Arrays, dict[str, Any]] | None = None

    def _make_estimator(self) -> Any:
        kind = HistGradientBoostingClassifier if self.classes else HistGradientBoostingRegressor
        chosen = {"class_weight": self.settings.class_weight} if self.classes else {}
        if not self.classes:
            chosen |= {"loss": REGRESSION_LOSSES[self.settings.loss], "quantile": self.settings.quantile}
        categorical = [self.numeric_count + index for index in range(len(self.code_counts))]
        return kind(
            learning_rate=self.settings.learning_rate,
            max_leaf_nodes=self.settings.max_leaf_nodes,
            max_depth=self.settings.max_depth,
            min_samples_leaf=self.settings.min_samples_leaf,
            l2_regularization=self.settings.l2_regularization,
            max_features=self.settings.max_features,
            categorical_features=categorical or None,
            early_stopping=True,
            scoring=self._score,
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
        """The number of rounds with the lowest validation loss, or all where their number is settled."""
        if self.settings.is_settled:
            return len(self.history)
        return int(np.argmin([loss for _, _, loss in self.history])) + 1

    @property
    def is_finished(self) -> bool:
        patience = self.settings.patience
        return self.rounds >= self.settings.rounds or (0 < patience <= self.rounds - self.best_round)

    def grow(self, train: Sample, holdout: Sample, report: Report) -> None:
        """Grow to the end. `report` may raise to stop; `state` is then what to store."""
        if self._restored:
            self._take_up(train, holdout)
        self._report = report
        if not (self.rounds and self.is_finished):
            self._fit(train, holdout, self.settings.rounds)

    def _fit(self, train: Sample, holdout: Sample, rounds: int) -> None:
        self._scores, self._train_loss = {}, None
        self.estimator.set_params(max_iter=rounds)
        try:
            with thread_limit(len(train.targets)), suppress(Enough):
                self.estimator.fit(train.matrix, train.targets, X_val=holdout.matrix, y_val=holdout.targets)
        finally:
            # Left behind when fit is cut short; sklearn would then take raw rows for binned ones.
            self.estimator.__dict__.pop("_in_fit", None)

    def _score(self, estimator: Any, binned: np.ndarray, targets: np.ndarray, sample_weight: Any = None) -> float:
        """Called by sklearn before the first round and after each, with training rows and then with held-out rows."""
        if self._report is None:
            return 0.0
        loss = self._loss(self._follow(binned), targets)
        if self._train_loss is None:
            self._train_loss = loss
            return -loss
        train_loss, self._train_loss = self._train_loss, None
        if self.rounds:
            self.history.append((self.rounds, train_loss, loss))
            self._report(self.rounds, train_loss, loss)
            if self.is_finished:
                raise Enough
        return -loss

    def _follow(self, binned: np.ndarray) -> np.ndarray:
        """Raw scores [N, K] of all trees for `binned` rows, by adding those of the trees grown since the last call."""
        rounds = self.estimator._predictors
        scores, seen = self._scores.get(id(binned), (None, 0))
        if scores is None:
            scores = np.repeat(self.estimator._baseline_prediction, len(binned), axis=0)
        missing = self.estimator._bin_mapper.missing_values_bin_idx_
        for trees in rounds[seen:]:
            for output, tree in enumerate(trees):
                scores[:, output] += tree.predict_binned(binned, missing, 1)
        self._scores[id(binned)] = (scores, len(rounds))
        return scores

    def _loss(self, scores: np.ndarray, targets: np.ndarray) -> float:
        if self.classes:
            return log_loss(targets.astype(np.intp), to_probabilities(scores))
        if self.settings.quantile is not None:
            return pinball_loss(targets, scores[:, 0], self.settings.quantile)
        errors = np.abs(scores[:, 0] - targets)
        return float(np.mean(errors if self.settings.loss == "mae" else errors**2))

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Tensors and JSON from which `restore` continues; empty before the first round."""
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
        tensors["history"] = np.array(self.history)
        return tensors, {"generator": self.estimator._feature_subsample_rng.bit_generator.state}

    def restore(self, tensors: Arrays, state: dict[str, Any]) -> None:
        """Continue from what `state` returned, in the next `grow` on the same rows."""
        self._restored = (tensors, state) if state else None

    def _take_up(self, train: Sample, holdout: Sample) -> None:
        tensors, state = self._restored
        self._fit(train, holdout, 1)  # makes what does not depend on trees: classes, baseline, seeds
        trees = _stored_trees(tensors)
        per_round = len(self.estimator._predictors[0])
        self.estimator._predictors = [trees[i : i + per_round] for i in range(0, len(trees), per_round)]
        self.estimator._feature_subsample_rng.bit_generator.state = state["generator"]
        self.history = [(int(number), train, holdout) for number, train, holdout in tensors["history"].tolist()]
        self._restored = None

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
    """uint8 [S, W]: for each categorical split the codes that go left; unseen codes go as missing values do."""
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
