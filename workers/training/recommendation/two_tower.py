"""Training the two towers of `workers.recommending.TwoTower`, where the formulas of what is served stand.

In each step a part of what each user of a batch has is hidden, and the towers learn to name it from the rest: the loss
is the cross-entropy of a softmax over items (Covington, Adams, Sargin: Deep Neural Networks for YouTube
Recommendations, 2016), in which what a user shows does not compete. All items compete in a small catalogue. In a large
one it is those that somebody of the batch hides and some drawn at random, so that what most have competes more often
than its share; scores are therefore lowered by the logarithm of how likely an item was to compete (Yi et al.:
Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, 2019; both kinds of rivals together: Yang
et al.: Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations, 2020).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.contract import ProgramFailure
from workers.recommending import SMALLEST_TOTAL
from workers.training.recommendation.candidates import STATE, Arrays, model_of
from workers.training.recommendation.data import Interactions
from workers.training.recommendation.judging import ScoreUsers
from workers.training.recommendation.sparse import Sparse
from workers.training.state import export_state, import_state

USERS_OF_A_BATCH = 128
FEWEST_STEPS = 100  # of an epoch, which goes through few users several times
LEARNING_RATE, WEIGHT_DECAY = 0.003, 0.01
HIDDEN_TIMES, DROPOUT = 2, 0.5  # width of the hidden layer, in vectors of an item
HIDDEN_SHARES = (0.1, 0.5)  # of what a user has, drawn for each anew
LARGEST_WHOLE = 4_096  # items, up to which all compete
DRAWN_RIVALS = 2_048


class Towers(nn.Module):
    """Vectors of users, by the rows of who took what, and of items, which are their `embeddings`. `counts` [items] says
    how many took each: the `biases` begin with its logarithm."""

    def __init__(self, width: int, counts: Tensor) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(torch.randn(len(counts), width) / width**0.5)
        self.biases = nn.Parameter(torch.log((counts + 1) / (counts + 1).sum()))
        self.hidden = nn.Linear(width, HIDDEN_TIMES * width)
        self.out = nn.Linear(HIDDEN_TIMES * width, width)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, taken: Sparse) -> Tensor:
        """float32 [rows, f]"""
        means = mean_embeddings(self.embeddings, taken)
        return means + self.out(self.dropout(functional.relu(self.hidden(means))))


def mean_embeddings(embeddings: Tensor, taken: Sparse) -> Tensor:
    """The mean of the embeddings of each row's items by how much they count, float32 [rows, f]; 0 of an empty row."""
    device = embeddings.device
    totals = np.add.reduceat(np.append(taken.values, 0), taken.starts[:-1]) * (taken.lengths > 0)
    shares = taken.values / np.maximum(totals, SMALLEST_TOTAL)[taken.row_of]
    return functional.embedding_bag(
        torch.from_numpy(taken.columns.astype(np.int64)).to(device), embeddings,
        torch.from_numpy(taken.starts[:-1]).to(device), mode="sum",
        per_sample_weights=torch.from_numpy(shares.astype(np.float32)).to(device),
    )  # fmt: skip


@dataclass(frozen=True)
class Hidden:
    """Of a batch of users what is `shown`, and what is `hidden` of each."""

    shown: Sparse
    hidden: Sparse

    @classmethod
    def of(cls, taken: Sparse) -> Hidden:
        """Drawn at random; of each user, who has two items or more, at least one is hidden and one shown."""
        lowest, highest = HIDDEN_SHARES
        shares = lowest + (highest - lowest) * torch.rand(len(taken)).numpy()
        draws = torch.rand(len(taken.columns)).numpy()
        is_hidden = draws < shares[taken.row_of]
        order = np.lexsort((draws, taken.row_of))
        is_hidden[order[taken.starts[:-1]]], is_hidden[order[taken.starts[1:] - 1]] = True, False
        return cls(_part(taken, ~is_hidden), _part(taken, is_hidden))


def _part(taken: Sparse, is_in: np.ndarray) -> Sparse:
    shape = (len(taken), taken.width)
    return Sparse.of(taken.row_of[is_in], taken.columns[is_in], taken.values[is_in], shape)


@dataclass(frozen=True)
class Rivals:
    """The numbers of the `items` that compete in a step, ascending, and the logarithm of how likely each was to."""

    items: np.ndarray
    log_chances: np.ndarray

    @classmethod
    def of(cls, hidden: np.ndarray, shares: np.ndarray) -> Rivals:
        """`hidden` are the items that are hidden in the batch; `shares` [items] how often each is among all."""
        count = len(shares)
        if count <= LARGEST_WHOLE:
            return cls(np.arange(count), np.zeros(count))
        drawn = torch.randperm(count)[:DRAWN_RIVALS].numpy()
        items = np.union1d(hidden, drawn)
        missed = len(hidden) * np.log1p(-np.minimum(shares[items], 0.999)) + np.log1p(-DRAWN_RIVALS / count)
        return cls(items, np.log(-np.expm1(missed)))

    def cells(self, taken: Sparse) -> tuple[np.ndarray, np.ndarray]:
        """The rows of `taken`, and the places of their items among these, of those that compete."""
        places = np.minimum(np.searchsorted(self.items, taken.columns), len(self.items) - 1)
        is_there = self.items[places] == taken.columns
        return taken.row_of[is_there], places[is_there]


def cross_entropy(towers: Towers, batch: Hidden, rivals: Rivals) -> Tensor:
    """The mean over the users of the mean over what is hidden of each of -log softmax."""
    device = towers.embeddings.device
    chosen = torch.from_numpy(rivals.items).to(device)
    scores = towers(batch.shown) @ towers.embeddings[chosen].T + towers.biases[chosen]
    scores = scores - torch.from_numpy(rivals.log_chances.astype(np.float32)).to(device)
    shown, hidden = (tuple(torch.from_numpy(each).to(device) for each in rivals.cells(part))
                     for part in (batch.shown, batch.hidden))  # fmt: skip
    is_shown = torch.zeros_like(scores, dtype=torch.bool)
    is_shown[shown] = True
    likelihoods = functional.log_softmax(scores.masked_fill(is_shown, -torch.inf), dim=1)[hidden]
    weights = torch.from_numpy(1 / batch.hidden.lengths).to(device)[hidden[0]]
    return -(likelihoods * weights).sum() / len(batch.shown)


@dataclass(frozen=True)
class TwoTowerCandidate:
    """Two towers, `workers.recommending.TwoTower`."""

    name: str
    width: int
    weight_decay: float
    most_epochs: int
    seed: int
    device: str = "cpu"
    is_rating: bool = False

    def check(self, data: Interactions, rows: np.ndarray) -> None:
        """Raises ProgramFailure histories_too_short where nobody has something to show and something to hide."""
        if data.preferred(rows).lengths.max(initial=0) >= 2:
            return
        message = "No user has two items to train on; two_tower learns from one of them to name the other."
        if data.is_rated:
            message = "No user rates two training items above average; two_tower learns from one to name the other."
        hint = "Choose another model, or add data."
        raise ProgramFailure("histories_too_short", message, hint=hint, blame="settings", field="model")

    def epochs(self, data: Interactions, rows: np.ndarray, start: Arrays | None) -> Iterator[Arrays]:
        taken = data.preferred(rows)
        counts = np.bincount(taken.columns, minlength=taken.width)
        torch.manual_seed(self.seed)
        towers = Towers(self.width, torch.from_numpy(counts.astype(np.float32))).to(self.device)
        optimizer = torch.optim.AdamW(towers.parameters(), lr=LEARNING_RATE, weight_decay=self.weight_decay)
        if start:
            _restore(towers, optimizer, start)
        users = np.flatnonzero(taken.lengths >= 2)
        while True:
            towers.train()
            for some in _batches(users):
                batch = Hidden.of(taken.take(some))
                loss = cross_entropy(towers, batch, Rivals.of(batch.hidden.columns, counts / counts.sum()))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            yield _arrays(towers, optimizer)

    def score(self, arrays: Arrays, data: Interactions, known: np.ndarray) -> ScoreUsers:
        taken = data.preferred(known)
        with torch.device("meta"):  # draws nothing, so that training goes on as if nobody had asked
            towers = Towers(self.width, torch.zeros(taken.width)).eval()
        tensors = {name: torch.from_numpy(array) for name, array in model_of(arrays).items()}
        towers.load_state_dict(tensors, assign=True)
        towers.to(self.device)

        @torch.no_grad()
        def score(users: np.ndarray) -> Tensor:
            return towers(taken.take(users)) @ towers.embeddings.T + towers.biases

        return score


def _batches(users: np.ndarray) -> Iterator[np.ndarray]:
    """Those of an epoch: all users in a new order, again and again where they are few."""
    steps = -(-len(users) // USERS_OF_A_BATCH)
    for _pass in range(-(-FEWEST_STEPS // steps)):
        order = users[torch.randperm(len(users)).numpy()]
        yield from (order[start : start + USERS_OF_A_BATCH] for start in range(0, len(order), USERS_OF_A_BATCH))


def _arrays(towers: Towers, optimizer: torch.optim.Optimizer) -> Arrays:
    """What is served, and how training goes on."""
    state, _plain = export_state(towers, optimizer, None, {})
    everything = towers.state_dict() | {STATE + name: value for name, value in state.items()}
    return {name: value.detach().cpu().numpy().copy() for name, value in everything.items()}


def _restore(towers: Towers, optimizer: torch.optim.Optimizer, start: Arrays) -> None:
    state = {name.removeprefix(STATE): torch.from_numpy(array.copy()) for name, array in start.items()
             if name.startswith(STATE)}  # fmt: skip
    import_state(state, {}, towers, optimizer, None)
