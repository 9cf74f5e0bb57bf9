"""How good several labels for one item are. Numpy only.

`truths` bool [N, K] says which of N items have which of K labels, `scores` [N, K] are probabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workers.training.metrics import SMALLEST, auc

USUAL_THRESHOLD = 0.5


def average_precision(truths: np.ndarray, scores: np.ndarray) -> float:
    """Of one label [N]: the sum over the different scores, from the highest down, of the precision at each times by how
    much recall grows there. NaN where nothing has the label."""
    positives = int(truths.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(truths[order])[ends]
    precision, recall = hits / (ends + 1), hits / positives
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def f1(hits: int, said: int, true: int) -> float:
    """2 TP / (said + true); 0 where there is neither."""
    return 2 * hits / (said + true) if said + true else 0.0


def best_thresholds(truths: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """float64 [K]: for each label the score from which it is to be said for the highest F1; 1/2 for one that no item
    has. It lies in the middle between two scores that occur."""
    return np.array([_best_threshold(truths[:, label], scores[:, label]) for label in range(truths.shape[1])])


def _best_threshold(truths: np.ndarray, scores: np.ndarray) -> float:
    positives = int(truths.sum())
    if not positives:
        return USUAL_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    values = 2 * np.cumsum(truths[order])[ends] / (ends + 1 + positives)
    best = int(np.argmax(values))
    above = scores[order][ends[best]]
    below = scores[order][ends[best] + 1] if ends[best] + 1 < len(scores) else 0.0
    return float((above + below) / 2)


def binary_loss(truths: np.ndarray, scores: np.ndarray) -> float:
    """The mean over N and K of -y ln p - (1 - y) ln(1 - p)."""
    right = np.where(truths, scores, 1 - scores)
    return float(-np.log(np.clip(right, SMALLEST, 1.0)).mean())


def measure(truths: np.ndarray, scores: np.ndarray, thresholds: np.ndarray) -> dict[str, float]:
    """mean_average_precision (of the labels that occur), micro_f1, macro_f1, exact_match and loss."""
    said = scores >= thresholds
    precisions = [average_precision(truths[:, label], scores[:, label]) for label in range(truths.shape[1])]
    hits, spoken, true = (truths & said).sum(axis=0), said.sum(axis=0), truths.sum(axis=0)
    occurring = true > 0
    single = [f1(*(int(count[label]) for count in (hits, spoken, true))) for label in np.flatnonzero(occurring)]
    return {
        "mean_average_precision": float(np.nanmean(precisions)) if occurring.any() else 0.0,
        "micro_f1": f1(int(hits.sum()), int(spoken.sum()), int(true.sum())),
        "macro_f1": float(np.mean(single)) if single else 0.0,
        "exact_match": float((truths == said).all(axis=1).mean()),
        "loss": binary_loss(truths, scores),
    }


def measure_labels(
    names: list[str], truths: np.ndarray, scores: np.ndarray, thresholds: np.ndarray
) -> list[dict[str, Any]]:  # fmt: skip
    """For each label {"name", "count", "average_precision", "auc", "precision", "recall", "f1", "threshold"}, null
    where there is none to measure, the most frequent first."""
    rows = []
    for place, name in enumerate(names):
        truth, score = truths[:, place], scores[:, place]
        said = score >= thresholds[place]
        hits, spoken, true = int((truth & said).sum()), int(said.sum()), int(truth.sum())
        figures = {
            "average_precision": average_precision(truth, score),
            "auc": auc(truth.astype(int), score),
            "precision": hits / spoken if spoken else float("nan"),
            "recall": hits / true if true else float("nan"),
            "f1": f1(hits, spoken, true) if true else float("nan"),
            "threshold": float(thresholds[place]),
        }
        rows.append({"name": name, "count": true} | {key: value if value == value else None
                                                     for key, value in figures.items()})  # fmt: skip
    return sorted(rows, key=lambda row: -row["count"])
