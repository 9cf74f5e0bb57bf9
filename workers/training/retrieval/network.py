"""The encoder of questions and answers, and what it learns from pairs of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.training.losses import Loss
from workers.training.text_data import Ragged
from workers.training.text_models import WeightedBag, bag_weights

FIRST_SCALE, HIGHEST_SCALE = 20.0, 100.0


class Tower(nn.Module):
    """Ids [N, L] of texts to vectors [N, width] of length 1; questions and answers share all of it.

    `log_scale` is the logarithm of what cosines are multiplied by before the softmax, the inverse of its temperature,
    and is learned (Radford et al.: Learning Transferable Visual Models From Natural Language Supervision, 2021).
    """

    def __init__(self, *, word_buckets: int, run_buckets: int, width: int, dropout: float) -> None:
        super().__init__()
        self.word_buckets = word_buckets
        self.register_buffer("weights", torch.ones(1 + word_buckets + run_buckets))
        self.bag = WeightedBag(1 + word_buckets + run_buckets, width)
        self.dropout = nn.Dropout(dropout)
        self.log_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))

    def weigh(self, weights: Tensor) -> None:
        """Take over how much each id counts [ids]."""
        self.weights.copy_(weights)

    def embed(self, ids: Tensor) -> Tensor:
        """[N, width]"""
        return F.normalize(self.bag(ids, self.dropout(bag_weights(ids, self.weights, self.word_buckets))), dim=1)

    def forward(self, questions: Tensor, partners: Tensor) -> Tensor:
        """[N, 2, width]: the products of the two halves are scaled cosines."""
        scale = self.log_scale.clamp(max=math.log(HIGHEST_SCALE)).exp().sqrt()
        return torch.stack([self.embed(questions), self.embed(partners)], dim=1) * scale


def contrastive_loss() -> Loss:
    """InfoNCE in both directions (van den Oord et al.: Representation Learning with Contrastive Predictive Coding,
    2018): of all partners in the batch each question is to find its own, and each partner its question.

    Outputs are those of `Tower` [N, 2, width], targets [N, 2] the numbers of the question and of its answer. Where two
    rows have the same question or the same answer, neither is a wrong partner of the other, so that both are left out.
    """

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        products = outputs[:, 0] @ outputs[:, 1].T
        is_alike = (targets[:, None, :] == targets[None, :, :]).any(dim=2)
        is_alike.fill_diagonal_(False)
        products = products.masked_fill(is_alike, -torch.inf)
        own = torch.arange(len(products), device=products.device)
        return (F.cross_entropy(products, own) + F.cross_entropy(products.T, own)) / 2

    return Loss(mean)


class Chosen:
    """Rows of a store of ids under numbers of their own."""

    def __init__(self, store: Ragged, rows: np.ndarray) -> None:
        self.store, self.rows = store, rows

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        return self.store[self.rows[numbers]]


def make_pairs(rows: np.ndarray, answer_of: np.ndarray, questions: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows of questions, places of their partners) of all pairs to learn from. Each question of `rows` is paired with
    its answer, at the place `questions` + number, and, where others lead to the same answer, with one of them."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    order = shuffled[np.argsort(answer_of[shuffled], kind="stable")]
    starts = np.flatnonzero(np.diff(answer_of[order], prepend=-1))
    following = np.roll(order, -1)
    following[np.append(starts[1:], len(order)) - 1] = order[starts]  # the last of an answer is followed by its first
    is_pair = following != order
    lefts = np.concatenate([order, order[is_pair]])
    return lefts, np.concatenate([questions + answer_of[order], following[is_pair]])


@torch.no_grad()
def vectors_of(model: Tower, store: Ragged, rows: np.ndarray, device: str, at_once: int) -> np.ndarray:
    """float32 [rows, width]"""
    model.eval()
    found = np.zeros((len(rows), model.bag.embedding.embedding_dim), dtype=np.float32)
    for start in range(0, len(rows), at_once):
        ids = torch.from_numpy(store[rows[start : start + at_once]]).to(device)
        found[start : start + at_once] = model.embed(ids).float().cpu().numpy()
    return found


def network_arguments(settings: dict[str, Any], word_buckets: int, run_buckets: int) -> dict[str, Any]:
    """What a `Tower` is made from; it stands in meta.json, so that the weights can be loaded again."""
    return {
        "word_buckets": word_buckets,
        "run_buckets": run_buckets,
        "width": settings["embedding_size"],
        "dropout": settings["dropout"],
    }
