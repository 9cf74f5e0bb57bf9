"""Whether a fused model is better than each that it was made of, by what validation says. Numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST_GAIN = 0.003  # of what is no count but a measure: less is what other rows would have given as well
NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Measured:
    """Figures of one model; `test` is empty where there is no test split. `test_interval` holds the true figure of
    the test split (accuracy, or rmse) 95 times of 100."""

    validation: Mapping[str, float]
    test: Mapping[str, float]
    test_interval: tuple[float, float] | None
    size_bytes: int
    latency_ms: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "validation": dict(self.validation),
            "test": dict(self.test),
            "test_interval": list(self.test_interval) if self.test_interval else None,
            "bytes": self.size_bytes,
            "latency_p50_ms": self.latency_ms,
        }


def score(figures: Mapping[str, float]) -> tuple[float, float]:
    """What validation says, to compare models by, more is better: accuracy and then log loss; or rmse alone."""
    if "accuracy" in figures:
        return figures["accuracy"], -figures["log_loss"]
    return -figures["rmse"], 0.0


def best_of(models: Sequence[Measured]) -> int:
    """The number of the model that does best on validation."""
    return max(range(len(models)), key=lambda number: score(models[number].validation))


def is_better(fused: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """More answers are right; or as many, and their certainty fits better by a clear margin. Of numbers, the error is
    lower by a clear margin."""
    if "accuracy" not in fused:
        return fused["rmse"] < best["rmse"] * (1 - LEAST_GAIN)
    if fused["accuracy"] != best["accuracy"]:
        return fused["accuracy"] > best["accuracy"]
    return fused["log_loss"] < best["log_loss"] * (1 - LEAST_GAIN)


def describe(fused: Measured, best: Measured, name: str) -> list[str]:
    """A sentence for what it brings and one for what it costs, against the best model, called `name`."""
    ours, theirs = fused.validation, best.validation
    if "accuracy" not in ours:
        quality = f"Its root mean squared error on validation is {ours['rmse']:.4g}; {name} has {theirs['rmse']:.4g}."
    elif ours["accuracy"] != theirs["accuracy"]:
        quality = f"Its validation accuracy is {_percent(ours)}; {name} has {_percent(theirs)}."
    else:
        losses = f"its log loss is {ours['log_loss']:.4f}, where {name} has {theirs['log_loss']:.4f}"
        quality = f"Its validation accuracy is {_percent(ours)}, as that of {name}; {losses}."
    size, time = fused.size_bytes / best.size_bytes, fused.latency_ms / best.latency_ms
    costs = f"Its files are {_times(size)} large as those of {name}, and an answer takes {_times(time)} long."
    return [quality, costs]


def _times(ratio: float) -> str:
    return "as" if 0.9 <= ratio <= 1.1 else f"{ratio:.2g} times as"


def _percent(figures: Mapping[str, float]) -> str:
    return f"{figures['accuracy'] * 100:.2f} %"


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
