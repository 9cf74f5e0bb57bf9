"""What a classifier says, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

PROBABILITY_DIGITS = 6


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [N, K] as they are when their logits are divided by `temperature`; unchanged where that is 1."""
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, np.finfo(probabilities.dtype).tiny)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def class_outcome(classes: Sequence[str], probabilities: np.ndarray, top_k: int | None) -> dict[str, Any]:
    """{"class", "probability"}, and "classes" with the `top_k` most probable where asked for."""
    if not top_k:
        return _told(classes, probabilities, probabilities.argmax())
    order = np.argsort(-probabilities, kind="stable")
    ranked = [_told(classes, probabilities, index) for index in order[:top_k]]
    return {**ranked[0], "classes": ranked}


def _told(classes: Sequence[str], probabilities: np.ndarray, index: int) -> dict[str, Any]:
    return {"class": classes[index], "probability": round(float(probabilities[index]), PROBABILITY_DIGITS)}
