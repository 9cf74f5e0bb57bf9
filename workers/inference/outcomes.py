"""What a classifier says, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

PROBABILITY_DIGITS = 6


def class_outcome(classes: Sequence[str], probabilities: np.ndarray, top_k: int | None) -> dict[str, Any]:
    """{"class", "probability"}, and "classes" with the `top_k` most probable where asked for."""
    order = np.argsort(-probabilities, kind="stable")
    ranked = [
        {"class": classes[index], "probability": round(float(probabilities[index]), PROBABILITY_DIGITS)}
        for index in order[: max(1, top_k or 1)]
    ]
    return {**ranked[0], "classes": ranked} if top_k else ranked[0]
