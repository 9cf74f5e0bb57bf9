"""Recommending from a history, the same way in training and in serving. numpy only.

A model knows nothing of users: it turns a history, which is the items that somebody took and what they gave for them,
into a score for every item. So somebody who is new is answered exactly as somebody whom training knew.

`Factors` is implicit matrix factorisation (Hu, Koren, Volinsky: Collaborative Filtering for Implicit Feedback Datasets,
2008). A user's vector x minimises sum over the history of w_i (1 - x·y_i)² + a sum over all items of (x·y_i)² + l |x|²,
hence x = (a YᵀY + sum w_i y_i y_iᵀ + l I)⁻¹ sum w_i y_i; scores are x·y.

`ItemWeights` is a linear model of items on items, scores_j = sum over the history of v_i B_ij, with B from EASE (Steck:
Embarrassingly Shallow Autoencoders for Sparse Data, 2019), of which the largest weights of each item are kept.

`TwoTower` is a neural network (Covington, Adams, Sargin: Deep Neural Networks for YouTube Recommendations, 2016; Yi et
al.: Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, 2019): scores are x·y + b. The tower
of items gives each its embedding y and its bias b; that of users makes x = m + W relu(V m + v) + w out of m, the mean
of the embeddings of the history by how much each item counts.

`Ratings` is matrix factorisation with biases (Koren, Bell, Volinsky: Matrix Factorization Techniques for Recommender
Systems, 2009): a rating is mean + b_i + b_u + x·q_i. For a user, b_u and x minimise the squared errors over the history
plus l n |x|² + m b_u², with n the length of the history.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BIAS_REGULARIZATION = 5.0  # m
SMALLEST_TOTAL = 1e-9  # of how much a history counts; an empty one has the mean 0
LARGEST_RATING = 1e9  # in size; squares of larger ones are lost to 32 bits


@dataclass(frozen=True)
class Popularity:
    """How many took each item, float32 [items], whatever the history."""

    counts: np.ndarray

    def scores(self, items: np.ndarray, values: np.ndarray) -> np.ndarray:
        """float32 [items] for a history of item numbers and their values."""
        return self.counts.astype(np.float32)


@dataclass(frozen=True)
class Factors:
    """`items` float32 [items, f] and `gram` YᵀY; `unobserved` is a. For a history of n, l is `regularization` times
    n + a · (number of items), which makes implicit factorisation good (Rendle et al.: Revisiting the Performance of
    iALS on Item Recommendation Benchmarks, 2021)."""

    items: np.ndarray
    gram: np.ndarray
    unobserved: float
    regularization: float

    def user_vector(self, items: np.ndarray, values: np.ndarray) -> np.ndarray:
        taken = self.items[items].astype(np.float64)
        pull = self.regularization * (len(items) + self.unobserved * len(self.items))
        left = self.unobserved * self.gram + (taken * values[:, None]).T @ taken + pull * np.eye(self.items.shape[1])
        return np.linalg.solve(left, taken.T @ values.astype(np.float64))

    def scores(self, items: np.ndarray, values: np.ndarray) -> np.ndarray:
        """float32 [items] for a history of item numbers and how much each counts."""
        return (self.items @ self.user_vector(items, values)).astype(np.float32)


@dataclass(frozen=True)
class ItemWeights:
    """Row i of B is ``weights[starts[i]:starts[i + 1]]`` at the columns ``places`` of the same slice."""

    starts: np.ndarray
    places: np.ndarray
    weights: np.ndarray

    def scores(self, items: np.ndarray, values: np.ndarray) -> np.ndarray:
        """float32 [items] for a history of item numbers and how much each counts."""
        found = np.zeros(len(self.starts) - 1, dtype=np.float64)
        for item, value in zip(items, values, strict=True):
            row = slice(self.starts[item], self.starts[item + 1])
            found[self.places[row]] += value * self.weights[row]  # a column occurs once in a row
        return found.astype(np.float32)


@dataclass(frozen=True)
class TwoTower:
    """`items` float32 [items, f] are y, `biases` [items] b; `hidden` is V [h, f], v [h]; `out` is W [f, h], w [f]."""

    items: np.ndarray
    biases: np.ndarray
    hidden: tuple[np.ndarray, np.ndarray]
    out: tuple[np.ndarray, np.ndarray]

    def user_vector(self, items: np.ndarray, values: np.ndarray) -> np.ndarray:
        mean = (values / max(float(values.sum()), SMALLEST_TOTAL)) @ self.items[items]
        units = np.maximum(self.hidden[0] @ mean + self.hidden[1], 0)
        return mean + self.out[0] @ units + self.out[1]

    def scores(self, items: np.ndarray, values: np.ndarray) -> np.ndarray:
        """float32 [items] for a history of item numbers and how much each counts."""
        return (self.items @ self.user_vector(items, values) + self.biases).astype(np.float32)


@dataclass(frozen=True)
class Ratings:
    """`items` float32 [items, f], `biases` float32 [items]; ratings are kept within `lowest` and `highest`."""

    mean: float
    biases: np.ndarray
    items: np.ndarray
    regularization: float
    lowest: float
    highest: float

    def scores(self, items: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The rating that is expected of every item, float32 [items], for a history of item numbers and ratings."""
        width = self.items.shape[1]
        taken = np.concatenate([self.items[items].astype(np.float64), np.ones((len(items), 1))], axis=1)
        pull = np.append(np.full(width, self.regularization * max(1, len(items))), BIAS_REGULARIZATION)
        left = values - self.mean - self.biases[items]
        solved = np.linalg.solve(taken.T @ taken + np.diag(pull), taken.T @ left)
        found = self.mean + self.biases + self.items @ solved[:width] + solved[width]
        return np.clip(found, self.lowest, self.highest).astype(np.float32)


Scorer = Popularity | Factors | ItemWeights | TwoTower | Ratings


def best_places(scores: np.ndarray, most: int, excluded: np.ndarray) -> np.ndarray:
    """The numbers of the best items, best first, without the `excluded` ones; equal scores in order of the item."""
    left = scores.astype(np.float64)
    left[excluded] = -np.inf
    most = min(most, int(np.isfinite(left).sum()))
    if most <= 0:
        return np.zeros(0, dtype=np.int64)
    bar = np.partition(left, len(left) - most)[len(left) - most]
    candidates = np.flatnonzero(left >= bar)
    return candidates[np.argsort(-left[candidates], kind="stable")][:most]
