"""How much of each model goes into the fused one. Numpy only.

Weights are float64 [M], one for each model in the order given, and sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np


def equal_weights(count: int) -> np.ndarray:
    return np.full(count, 1 / count)


def vote_weights(accuracies: Sequence[float], examples: int, classes: int) -> np.ndarray:
    """Each model's say as in a weighted vote, ln(a / (1 - a)) + ln(K - 1), which is 0 for one that guesses; sums to 1.

    With two classes this is the vote that errs least among independent voters (Nitzan and Paroush 1982); with K it is
    that of SAMME (Zhu, Zou, Rosset and Hastie 2009, "Multi-class AdaBoost", algorithm 2). `accuracies` were measured on
    `examples` items; half an item is added to either side, so that no mistake at all does not mean infinite weight.
    Where none is better than a guess all are equal.
    """
    right = (np.asarray(accuracies, dtype=np.float64) * examples + 0.5) / (examples + 1)
    say = np.maximum(np.log(right / (1 - right)) + math.log(classes - 1), 0.0)
    return say / say.sum() if say.sum() > 0 else equal_weights(len(say))


def choose_greedily(scores: Sequence[float], score_together: Callable[[list[int]], float]) -> list[int]:
    """Which models a greedy soup is made of (Wortsman et al. 2022, "Model soups", recipe 1).

    From the best of `scores` (more is better) to the worst, a model is added where `score_together`, of the average of
    the models with the numbers it is given, is not lower than without it. Returns the numbers, the best first.
    """
    order = sorted(range(len(scores)), key=lambda number: -scores[number])
    chosen, best = order[:1], scores[order[0]]
    for number in order[1:]:
        score = score_together([*chosen, number])
        if score >= best:
            chosen, best = [*chosen, number], score
    return chosen


def weights_of(chosen: Sequence[int], count: int) -> np.ndarray:
    """Equal weights for the models in `chosen`, 0 for the others of `count`."""
    weights = np.zeros(count)
    weights[list(chosen)] = 1 / len(chosen)
    return weights


def average_states(states: Sequence[dict[str, np.ndarray]], weights: np.ndarray) -> dict[str, np.ndarray]:
    """The weighted mean of arrays of the same names and shapes, each in its own type; no float: as in the first."""
    mixed = {}
    for name, first in states[0].items():
        if first.dtype.kind == "f":
            total = sum(weight * state[name].astype(np.float64) for weight, state in zip(weights, states, strict=True))
            mixed[name] = total.astype(first.dtype)
        else:
            mixed[name] = first
    return mixed
