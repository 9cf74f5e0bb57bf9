"""A classifier in closed form, and what it says of items that it has not learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

FOLDS = 5
RIDGES = (0.01, 0.1)
TEMPERATURES = (1, 2, 4, 6, 8, 12, 16, 24, 32)
SCORED_AT_ONCE = 4_096
Model = Callable[[int, float], np.ndarray]  # number of a fold and ridge -> weights [D, C]


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
    answers = np.eye(classes, dtype=np.float32)[labels[:fitted]]
    best, chosen = np.inf, (np.zeros((0, classes)), 1)
    for scores in fit(features, answers, deal(labels[:fitted], seed)):
        for temperature in TEMPERATURES:
            loss = _log_loss(softmax(scores[:fitted] * temperature), labels[:fitted])
            if loss < best:
                best, chosen = loss, (scores, temperature)
    scores, temperature = chosen
    probabilities = softmax(scores * temperature)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    shares = np.bincount(labels, minlength=classes) / len(labels)
    entropy = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    return Judged(probabilities, accuracy, 1 - _log_loss(probabilities, labels) / max(entropy, 1e-9))


def judge_each(features: np.ndarray, has: np.ndarray, *, fitted: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The same where an item may have several of K labels, bool [N, K], each judged as two classes, to have it or not:
    float32 [N, K], how likely it is that an item has each, and [K], the share of the entropy of each that is explained.

    All share the folds, which are dealt by the rarest label of each item. As the scores of two classes add up to 1, the
    softmax of both is 1 / (1 + exp(-t (2 s - 1))), with r and t of its own for each label.
    """
    counts = has[:fitted].sum(axis=0)
    rarest = np.where(has[:fitted], counts, fitted + 1).argmin(axis=1)
    best, likely = np.full(has.shape[1], np.inf), np.zeros(has.shape, dtype=np.float32)
    for scores in fit(features, has[:fitted].astype(np.float32), deal(rarest, seed)):
        for temperature in TEMPERATURES:
            found = 1 / (1 + np.exp(-temperature * (2 * scores - 1)))
            losses = _binary_losses(found[:fitted], has[:fitted])
            better = losses < best
            best[better], likely[:, better] = losses[better], found[:, better]
    shares = has.mean(axis=0)
    entropies = _binary_losses(np.broadcast_to(shares, has.shape), has)
    return likely, 1 - _binary_losses(likely, has) / np.maximum(entropies, 1e-9)


def _binary_losses(likely: np.ndarray, has: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(np.where(has, likely, 1 - likely), 1e-6)).mean(axis=0)


def fit(features: np.ndarray, answers: np.ndarray, fold: np.ndarray) -> Iterator[np.ndarray]:
    """For each strength of `RIDGES` the scores [N, C] of all items by models that did not learn from them; `answers`
    [n, C] and `fold` [n] are those of the first n, which are learned from."""
    features = np.hstack([features, np.ones((len(features), 1), dtype=np.float32)])
    fitted = len(answers)
    parts = [np.flatnonzero(fold == number) for number in range(FOLDS)]
    learn = learn_by_items if fitted < features.shape[1] else learn_by_features
    model = learn(features[:fitted], answers, parts)
    for ridge in RIDGES:
        weights = np.stack([model(number, ridge) for number in range(FOLDS)])
        scores = np.empty((len(features), answers.shape[1]), dtype=np.float32)
        for part, weight in zip(parts, weights, strict=True):
            scores[part] = features[part] @ weight
        for start in range(fitted, len(features), SCORED_AT_ONCE):
            scores[start : start + SCORED_AT_ONCE] = features[start : start + SCORED_AT_ONCE] @ weights.mean(0)
        yield scores


def learn_by_features(features: np.ndarray, answers: np.ndarray, parts: Sequence[np.ndarray]) -> Model:
    """From `features` [n, D] and `answers` [n, C], the weights [D, C] of the model that learned from all but the part
    of a number, with a ridge."""
    grams = [features[part].T @ features[part] for part in parts]
    sums = [features[part].T @ answers[part] for part in parts]

    def model(number: int, ridge: float) -> np.ndarray:
        gram = sum(grams) - grams[number]
        return _solve(gram, sum(sums) - sums[number], ridge * np.trace(gram) / len(gram))

    return model


def learn_by_items(features: np.ndarray, answers: np.ndarray, parts: Sequence[np.ndarray]) -> Model:
    """The same weights, faster where there are fewer items than features: (X'X + c I)^-1 X' = X' (XX' + c I)^-1, and
    both products have the same trace (Hastie et al. 2009, 18.3.5)."""
    products = features @ features.T

    def model(number: int, ridge: float) -> np.ndarray:
        others = np.delete(np.arange(len(features)), parts[number])
        among = products[np.ix_(others, others)]
        ridge *= np.trace(among) / features.shape[1]
        return features[others].T @ _solve(among, answers[others], ridge)

    return model


def deal(labels: np.ndarray, seed: int) -> np.ndarray:
    """A fold for each item, such that each has its share of every class."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.intp)
    fold[order] = np.arange(len(labels)) % FOLDS
    return fold


def _solve(products: np.ndarray, sums: np.ndarray, added: float) -> np.ndarray:
    products = products.astype(np.float64)
    products[np.diag_indices(len(products))] += added + 1e-9
    return np.linalg.solve(products, sums.astype(np.float64)).astype(np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-6)).mean())
