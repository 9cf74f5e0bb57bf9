"""How far a figure of a sample may lie from the true one. Numpy only."""

from __future__ import annotations

import math

import numpy as np

NORMAL_95 = 1.959964


def accuracy_interval(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of Wilson (1927), which stays true near 0 and 1 and for small counts."""
    share, square = right / count, NORMAL_95**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    reach = NORMAL_95 / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def rmse_interval(errors: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the root mean squared error of `errors` [N], by the normal law for the mean of squares."""
    squares = errors**2
    reach = NORMAL_95 * squares.std() / math.sqrt(len(squares))
    return math.sqrt(max(0.0, squares.mean() - reach)), math.sqrt(squares.mean() + reach)


def confidence_interval(predicted: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Of probabilities [N, K] for class numbers, the interval of the accuracy; of values [N], that of the rmse."""
    if predicted.ndim == 2:
        return accuracy_interval(int(np.sum(predicted.argmax(axis=1) == targets)), len(targets))
    return rmse_interval(predicted - targets)
