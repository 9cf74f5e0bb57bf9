"""The kinds of models, and how each is trained and asked. Formulas and sources stand in workers/recommending.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from workers.recommending import BIAS_REGULARIZATION
from workers.training.recommendation.data import Interactions
from workers.training.recommendation.judging import ScoreUsers
from workers.training.recommendation.least_squares import solve_parts
from workers.training.recommendation.sparse import Part, Sparse

Arrays = dict[str, np.ndarray]
START_DEVIATION = 0.1
LARGEST_CATALOGUE = 6_000  # items, above which a matrix of items by items is too large
KEPT_WEIGHTS = 256  # of each item
STATE = "state."  # begins the names of arrays that only say how training goes on


class Candidate(Protocol):
    """A kind of model with its settings. `is_rating` says whether it expects ratings, else it only ranks."""

    name: str
    is_rating: bool

    def epochs(self, data: Interactions, rows: np.ndarray, start: Arrays | None) -> Iterator[Arrays]:
        """Train on these rows: what there is after each epoch, without end. `start` is what there was after one.
        Names of arrays that are no part of the model begin with `STATE`."""
        ...

    def score(self, arrays: Arrays, data: Interactions, known: np.ndarray) -> ScoreUsers:
        """Scores for users who took what stands in the rows `known`."""
        ...


def model_of(arrays: Arrays) -> Arrays:
    """Without what only says how training goes on."""
    return {name: array for name, array in arrays.items() if not name.startswith(STATE)}


def _random(count: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator) * (START_DEVIATION / max(1, width) ** 0.5)


@dataclass(frozen=True)
class PopularityCandidate:
    """What most others took."""

    name: str = "popularity"
    is_rating: bool = False
    most_epochs: int = 1

    def epochs(self, data: Interactions, rows: np.ndarray, start: Arrays | None) -> Iterator[Arrays]:
        while True:
            counts = np.bincount(data.items[data.liked(rows)], minlength=data.shape[1])
            yield {"counts": counts.astype(np.float32)}

    def score(self, arrays: Arrays, data: Interactions, known: np.ndarray) -> ScoreUsers:
        counts = torch.from_numpy(arrays["counts"])
        return lambda users: counts.repeat(len(users), 1)


@dataclass(frozen=True)
class FactorsCandidate:
    """Implicit matrix factorisation, `workers.recommending.Factors`."""

    name: str
    width: int
    unobserved: float
    regularization: float
    most_epochs: int
    seed: int
    device: str = "cpu"
    is_rating: bool = False

    def epochs(self, data: Interactions, rows: np.ndarray, start: Arrays | None) -> Iterator[Arrays]:
        by_user = data.preferred(rows)
        by_item = by_user.transposed()
        items = torch.from_numpy(start["items"]) if start else _random(data.shape[1], self.width, self.seed)
        items = items.to(self.device)
        user_parts, item_parts = (_moved(each, self.device) for each in (by_user, by_item))
        while True:
            users = self._solve(user_parts, items, len(by_user))
            items = self._solve(item_parts, users, len(by_item))
            yield {"items": items.cpu().numpy()}

    def _solve(self, parts: list[Part], fixed: Tensor, count: int) -> Tensor:
        shared = self.unobserved * (fixed.T @ fixed)
        unseen = self.unobserved * len(fixed)

        def pull(lengths: Tensor) -> Tensor:
            return (self.regularization * (lengths + unseen))[:, None].expand(-1, fixed.shape[1])

        return solve_parts(parts, fixed, count, lambda part: (part.values, torch.ones_like(part.values)), pull, shared)

    def score(self, arrays: Arrays, data: Interactions, known: np.ndarray) -> ScoreUsers:
        items, taken = torch.from_numpy(arrays["items"]).to(self.device), data.preferred(known)

        def score(users: np.ndarray) -> Tensor:
            parts = _moved(taken.take(users), self.device)
            return self._solve(parts, items, len(users)) @ items.T

        return score


@dataclass(frozen=True)
class ItemWeightsCandidate:
    """EASE, `workers.recommending.ItemWeights`: with G = XᵀX + l I and P its inverse, B_ij = -P_ij / P_jj, B_jj = 0."""

    name: str
    regularization: float
    is_rating: bool = False
    most_epochs: int = 1

    def epochs(self, data: Interactions, rows: np.ndarray, start: Arrays | None) -> Iterator[Arrays]:
        while True:
            gram = _gram(data.preferred(rows))
            gram.diagonal().add_(self.regularization)
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
            weights = -inverse / inverse.diagonal()
            weights.fill_diagonal_(0)
            yield _largest_weights(weights)

    def score(self, arrays: Arrays, data: Interactions, known: np.ndarray) -> ScoreUsers:
        taken, weights = data.preferred(known), _dense_weights(arrays)
        return lambda users: taken.take(users).dense() @ weights


def _gram(taken: Sparse) -> Tensor:
    """XᵀX, float32 [items, items], of so many users at once as fit."""
    total = torch.zeros(taken.width, taken.width)
    step = max(1, 2**24 // taken.width)
    for start in range(0, len(taken), step):
        part = taken.take(np.arange(start, min(len(taken), start + step))).dense()
        total += part.T @ part
    return total


def _largest_weights(weights: Tensor) -> Arrays:
    """The largest of each column, by rows."""
    kept = min(KEPT_WEIGHTS, len(weights))
    rows = torch.topk(weights.abs(), kept, dim=0).indices
    values = weights.gather(0, rows).numpy()
    columns = np.tile(np.arange(len(weights)), (kept, 1))
    sparse = Sparse.of(rows.numpy().ravel(), columns.ravel(), values.ravel(), tuple(weights.shape))
    return {"starts": sparse.starts, "places": sparse.columns, "weights": sparse.values}


def _dense_weights(arrays: Arrays) -> Tensor:
    return Sparse(arrays["starts"], arrays["places"], arrays["weights"], len(arrays["starts"]) - 1).dense()


@dataclass(frozen=True)
class RatingsCandidate:
    """Matrix factorisation with biases, `workers.recommending.Ratings`; of width 0 the biases alone.

    Item vectors and their biases are found from the users' as these are from the items', in turns."""

    name: str
    width: int
    regularization: float
    most_epochs: int
    seed: int
    device: str = "cpu"
    is_rating: bool = True

    def epochs(self, data: Interactions, rows: np.ndarray, start: Arrays | None) -> Iterator[Arrays]:
        by_user = data.rated(rows)
        by_item = by_user.transposed()
        mean = float(data.values[rows].astype(np.float64).mean())
        items = torch.from_numpy(start["items"]) if start else _random(data.shape[1], self.width, self.seed)
        biases = torch.from_numpy(start["biases"]) if start else torch.zeros(data.shape[1])
        items, biases = items.to(self.device), biases.to(self.device)
        user_parts, item_parts = (_moved(each, self.device) for each in (by_user, by_item))
        lowest, highest = data.values[rows].min(), data.values[rows].max()
        while True:
            users, user_biases = self._solve(user_parts, items, biases, mean, len(by_user))
            items, biases = self._solve(item_parts, users, user_biases, mean, len(by_item))
            scale = np.array([mean, lowest, highest], dtype=np.float32)
            yield {"items": items.cpu().numpy(), "biases": biases.cpu().numpy(), "scale": scale}

    def _solve(
        self, parts: list[Part], fixed: Tensor, biases: Tensor, mean: float, count: int
    ) -> tuple[Tensor, Tensor]:
        """The vectors and the biases of one side from those of the other."""
        with_one = torch.cat([fixed, torch.ones(len(fixed), 1, device=fixed.device)], dim=1)

        def weigh(part: Part) -> tuple[Tensor, Tensor]:
            return part.is_there, part.values - mean - biases[part.columns]

        def pull(lengths: Tensor) -> Tensor:
            own = (self.regularization * lengths)[:, None].expand(-1, self.width)
            return torch.cat([own, torch.full((len(lengths), 1), BIAS_REGULARIZATION, device=lengths.device)], dim=1)

        found = solve_parts(parts, with_one, count, weigh, pull)
        return found[:, :-1], found[:, -1]

    def score(self, arrays: Arrays, data: Interactions, known: np.ndarray) -> ScoreUsers:
        items, biases = (torch.from_numpy(arrays[name]).to(self.device) for name in ("items", "biases"))
        mean, lowest, highest = arrays["scale"].tolist()
        taken = data.rated(known)

        def score(users: np.ndarray) -> Tensor:
            parts = _moved(taken.take(users), self.device)
            vectors, own = self._solve(parts, items, biases, mean, len(users))
            return (vectors @ items.T + biases + own[:, None] + mean).clamp(lowest, highest)

        return score


def _moved(taken: Sparse, device: str) -> list[Part]:
    return [Part(*(each.to(device) for each in (p.rows, p.columns, p.values, p.is_there))) for p in taken.parts()]
