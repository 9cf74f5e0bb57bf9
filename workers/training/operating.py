"""What a classifier finds and what it costs, for each threshold of its probability.

Whoever acts on a class chooses a threshold: all items whose probability of the class is at least that are flagged. From
the counts here follow sensitivity (recall), specificity, precision, the share that is flagged, and gain and lift as
marketing has them (Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27, 2006, sections 2 to 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

STEPS = 100
MOST_CLASSES = 12


def operating_points(classes: Sequence[str], targets: np.ndarray, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """One entry for each class that some item has and some has not; none where there are more than 12 classes.

    `targets` int [N], `probabilities` float [N, K]. An entry: "class", "items" (N), "positives" (those of the class),
    and for the thresholds 0, 0.01, ..., 1 "flagged" and, of these, "found" (of the class), 101 counts each.
    """
    if len(classes) > MOST_CLASSES:
        return []
    counts = [_counts(probabilities[:, number], targets == number) for number in range(len(classes))]
    return [
        {"class": name, "items": len(targets), "positives": int((targets == number).sum()), **counts[number]}
        for number, name in enumerate(classes)
        if 0 < (targets == number).sum() < len(targets)
    ]


def _counts(scores: np.ndarray, is_positive: np.ndarray) -> dict[str, list[int]]:
    thresholds = np.arange(STEPS + 1) / STEPS
    return {
        name: (len(chosen) - np.searchsorted(np.sort(chosen), thresholds, side="left")).tolist()
        for name, chosen in (("flagged", scores), ("found", scores[is_positive]))
    }
