"""Yes or no: whether an item counts as the class that somebody looks for, at the probability that they chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workers.inference.outcomes import PROBABILITY_DIGITS


def decide(classes: Sequence[str], probabilities: np.ndarray, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """{"decision": {"positive", "threshold", "probability", "is_positive"}}; nothing where the model has no such class.

    `probabilities` float [K], one for each of `classes`; `wanted` is {"positive": a class, "threshold": 0 to 1}. A
    probability of exactly the threshold is positive, as where it was measured (workers.training.operating).
    """
    if wanted["positive"] not in classes:
        return {}
    probability = float(probabilities[classes.index(wanted["positive"])])
    told = {"probability": round(probability, PROBABILITY_DIGITS), "is_positive": probability >= wanted["threshold"]}
    return {"decision": {**wanted, **told}}
