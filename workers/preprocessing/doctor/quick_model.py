"""A classifier in closed form, and what it says of items that it has not learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FOLDS = 5
RIDGES = (0.01, 0.1)
TEMPERATURES = (1, 2, 4, 6, 8, 12, 16, 24, 32)
SCORED_AT_ONCE = 4_096


@dataclass(frozen=True)
class Judged:
    """`probabilities` float32 [N, C] by models that did not learn from the item; `accuracy` by the given labels, and
    `explained`, the share of their entropy that the model takes away: 0 is what knowing their shares alone does."""

    probabilities: np.ndarray
    accuracy: float
    explained: float


def judge(features: np.ndarray, labels: np.ndarray, classes: int, *, fitted: int, seed: int = 0) -> Judged:
    """Ask about every item a model that did not learn from it.

    `features` float32 [N, D], of which the first `fitted` are learned from in `FOLDS` folds; the others are asked of
    all these models. A model is the least-squares fit to the classes as 0 and 1 with the weights held small:
    W = (X'X + r tr(X'X) / D I)^-1 X'Y (ridge regression; Hastie et al. 2009, 3.4.1 and 4.2). Its scores become
    probabilities by softmax(t s); r and t are those with the least log loss on what was not learned from (for t see Guo
    et al. 2017).
    """
    features = np.hstack([features, np.ones((len(features), 1), dtype=np.float32)])
    learned, answers = features[:fitted], np.eye(classes, dtype=np.float32)[labels[:fitted]]
    fold = deal(labels[:fitted], seed)
    grams = [learned[fold == number].T @ learned[fold == number] for number in range(FOLDS)]
    sums = [learned[fold == number].T @ answers[fold == number] for number in range(FOLDS)]
    best, chosen = np.inf, (np.zeros((0, classes)), 1, 0.0)
    for ridge in RIDGES:
        weights = [_solve(sum(grams) - grams[n], sum(sums) - sums[n], ridge) for n in range(FOLDS)]
        scores = np.empty((fitted, classes), dtype=np.float32)
        for number in range(FOLDS):
            scores[fold == number] = learned[fold == number] @ weights[number]
        for temperature in TEMPERATURES:
            loss = _log_loss(softmax(scores * temperature), labels[:fitted])
            if loss < best:
                best, chosen = loss, (np.stack(weights), temperature, scores)
    weights, temperature, scores = chosen
    rest = [features[start : start + SCORED_AT_ONCE] @ weights.mean(0)
            for start in range(fitted, len(features), SCORED_AT_ONCE)]  # fmt: skip
    probabilities = softmax(np.concatenate([scores, *rest]) * temperature)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    shares = np.bincount(labels, minlength=classes) / len(labels)
    entropy = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    return Judged(probabilities, accuracy, 1 - _log_loss(probabilities, labels) / max(entropy, 1e-9))


def deal(labels: np.ndarray, seed: int) -> np.ndarray:
    """A fold for each item, such that each has its share of every class."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.intp)
    fold[order] = np.arange(len(labels)) % FOLDS
    return fold


def _solve(gram: np.ndarray, sums: np.ndarray, ridge: float) -> np.ndarray:
    gram = gram.astype(np.float64)
    gram[np.diag_indices(len(gram))] += ridge * np.trace(gram) / len(gram) + 1e-9
    return np.linalg.solve(gram, sums.astype(np.float64)).astype(np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-6)).mean())
