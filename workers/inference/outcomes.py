"""What a classifier says, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

PROBABILITY_DIGITS = 6


def class_outcome(classes: Sequence[str], probabilities: np.ndarray, top_k: int | None) -> dict[str, Any]:
    """{"class", "probability"}, and "classes" with the `top_k` most probable where asked for."""
    if not top_k:
        return _told(classes, probabilities, probabilities.argmax())
    order = np.argsort(-probabilities, kind="stable")
    ranked = [_told(classes, probabilities, index) for index in order[:top_k]]
    return {**ranked[0], "classes": ranked}


def _told(classes: Sequence[str], probabilities: np.ndarray, index: int) -> dict[str, Any]:
    return {"class": classes[index], "probability": round(float(probabilities[index]), PROBABILITY_DIGITS)}
