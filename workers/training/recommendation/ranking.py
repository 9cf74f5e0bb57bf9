"""How good lists of recommendations are. numpy only.

`lists` is int [U, k], item numbers best first, -1 where a list is shorter; `relevant` has for each of these users the
items that were kept from training. All items that a user has not taken before are ranked, never a sample of them.
"""

from __future__ import annotations

import numpy as np

from workers.training.recommendation.sparse import Sparse

LENGTH = 10
NDCG, RECALL, HIT_RATE, COVERAGE = "ndcg_at_10", "recall_at_10", "hit_rate_at_10", "coverage_at_10"


def find_hits(lists: np.ndarray, relevant: Sparse) -> np.ndarray:
    """bool [U, k]: which of the recommended items are relevant."""
    wanted = relevant.row_of * relevant.width + relevant.columns
    said = np.arange(len(lists))[:, None] * relevant.width + lists
    return np.isin(said, wanted) & (lists >= 0)


def ndcg(hits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[U]: sum of 1 / log2(place + 1) over the hits, places from 1, divided by what the best order would reach with
    `counts` [U] relevant items (Järvelin, Kekäläinen 2002, with relevance 0 or 1)."""
    gains = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    best = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(counts, hits.shape[1])]
    return (hits * gains).sum(axis=1) / best


def recall(hits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[U]: the share of the relevant items that stand in the list."""
    return hits.sum(axis=1) / counts


def coverage(lists: np.ndarray, items: int) -> float:
    """The share of all items that are recommended to anybody."""
    return len(np.unique(lists[lists >= 0])) / items


def ranking_metrics(lists: np.ndarray, relevant: Sparse) -> dict[str, float]:
    """Means over the users, each of whom has something relevant."""
    hits, counts = find_hits(lists, relevant), relevant.lengths
    return {
        NDCG: float(ndcg(hits, counts).mean()),
        RECALL: float(recall(hits, counts).mean()),
        HIT_RATE: float(hits.any(axis=1).mean()),
        COVERAGE: coverage(lists, relevant.width),
    }
