"""Whether a classifier is right as often as it is sure, and one number that makes it so. Numpy only.

Logits are divided by a temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks"), which changes how
sure the answers are and never which class is the most probable.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workers.inference.outcomes import tempered
from workers.training.metrics import expected_calibration_error

TEMPERATURES = np.geomspace(0.3, 5.0, 241)
FEW_TEMPERATURES = TEMPERATURES[::12]
RELIABILITY_BINS = 10
# Where nothing is to be fitted, one number lowers the sum of the log losses by less in 19 cases of 20 (Wilks 1938:
# twice that is a chi-squared variable with one degree of freedom).
CHANCE = 1.92


def best_temperature(logits: np.ndarray, labels: np.ndarray, among: np.ndarray = TEMPERATURES) -> float:
    """What logits [N, K] are to be divided by for the lowest log loss on `labels` [N].

    The loss is convex in 1 / T, a log of sums of exponentials, so that `among`, which ascend, are halved and not tried.
    """
    low, high = 0, len(among) - 1
    while low < high:
        middle = (low + high) // 2
        if _loss(logits / among[middle], labels) <= _loss(logits / among[middle + 1], labels):
            high = middle
        else:
            low = middle + 1
    return float(among[low])


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """The sum of the log losses, of small probabilities too."""
    below = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(below).sum(axis=1)) - below[np.arange(len(labels)), labels]).sum(dtype=np.float64))


def temperature_that_helps(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The best temperature for `probabilities` [N, K], or 1 where it gives no more than chance would."""
    logits = np.log(np.maximum(probabilities, np.finfo(probabilities.dtype).tiny))
    temperature = best_temperature(logits, labels)
    gain = _loss(logits, labels) - _loss(logits / temperature, labels)
    return temperature if gain > CHANCE else 1.0


def calibration_of(labels: np.ndarray, probabilities: np.ndarray, temperature: float) -> dict[str, Any]:
    """{"temperature", "before", "after", "reliability"}: expected calibration error without the temperature by which
    the logits were divided and with it, and `reliability` {"before", "after"} (see `reliability_of`)."""
    both = {"before": tempered(probabilities, 1 / temperature), "after": probabilities}
    return {
        "temperature": temperature,
        **{name: expected_calibration_error(labels, each) for name, each in both.items()},
        "reliability": {name: reliability_of(labels, each) for name, each in both.items()},
    }


def reliability_of(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = RELIABILITY_BINS
) -> list[dict[str, float | None]]:
    """For each of so many equally wide ranges of confidence {"items", "confidence", "right"}: how many answers were
    given with it, their mean confidence, and the share that is right; None of no answers."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    sums = [np.bincount(bin_of, weights=values, minlength=bins) for values in (confidence, right)]
    return [
        {"items": int(count), "confidence": sure / count if count else None, "right": hits / count if count else None}
        for count, sure, hits in zip(counts.tolist(), sums[0].tolist(), sums[1].tolist(), strict=True)
    ]
