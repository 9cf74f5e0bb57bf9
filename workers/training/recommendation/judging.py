"""Asking candidates about users whose further items are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workers.training.metrics import mae, rmse
from workers.training.recommendation.data import Interactions
from workers.training.recommendation.ranking import LENGTH, ranking_metrics
from workers.training.recommendation.sparse import Sparse

SCORES_AT_ONCE = 2**23
MOST_JUDGES_IN_TRAINING, MOST_JUDGES = 5_000, 50_000

ScoreUsers = Callable[[np.ndarray], Tensor]  # of user numbers [b], float32 [b, items]


@dataclass(frozen=True)
class Jury:
    """The users who judge: `seen` what they took before [U rows], `relevant` what they like of what was kept, and the
    ratings that they gave for it."""

    users: np.ndarray
    seen: Sparse
    relevant: Sparse

    @classmethod
    def of(cls, data: Interactions, known: np.ndarray, kept: np.ndarray, most: int, seed: int) -> Jury:
        """`known` and `kept` are row numbers. Of more than `most` users so many are drawn."""
        liked = data.liked(kept)
        relevant = Sparse.of(data.users[liked], data.items[liked], np.ones(len(liked)), data.shape)
        users = np.flatnonzero(relevant.lengths)
        if len(users) > most:
            users = np.sort(np.random.default_rng(seed).choice(users, most, replace=False))
        return cls(users, data.rated(known).take(users), relevant.take(users))

    def recommend(self, score: ScoreUsers, length: int = LENGTH) -> np.ndarray:
        """int64 [U, length], best first and never what they have seen; -1 where nothing is left."""
        lists = np.full((len(self.users), length), -1, dtype=np.int64)
        step = max(1, SCORES_AT_ONCE // self.seen.width)
        for start in range(0, len(self.users), step):
            places = np.arange(start, min(len(self.users), start + step))
            scores = score(self.users[places])
            seen = self.seen.take(places)
            scores[torch.from_numpy(seen.row_of), torch.from_numpy(seen.columns.astype(np.int64))] = -torch.inf
            best = torch.topk(scores, min(length, self.seen.width), dim=1)
            found = torch.where(torch.isfinite(best.values), best.indices, -1)
            lists[places, : found.shape[1]] = found.cpu().numpy()
        return lists

    def judge(self, score: ScoreUsers) -> dict[str, float]:
        return ranking_metrics(self.recommend(score), self.relevant)


def judge_ratings(score: ScoreUsers, data: Interactions, kept: np.ndarray) -> dict[str, float]:
    """rmse and mae of what is expected for the rows `kept`."""
    asked = data.rated(kept)
    users = np.flatnonzero(asked.lengths)
    expected = np.zeros(len(asked.columns), dtype=np.float64)
    step = max(1, SCORES_AT_ONCE // asked.width)
    for start in range(0, len(users), step):
        part = users[start : start + step]
        scores = score(part).cpu().numpy()
        rows = asked.take(part)
        places = np.arange(len(rows.columns)) + asked.starts[part[0]]
        expected[places] = scores[rows.row_of, rows.columns]
    actual = asked.values.astype(np.float64)
    return {"rmse": rmse(actual, expected), "mae": mae(actual, expected)}
