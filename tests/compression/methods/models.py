"""Small models of several kinds, trained a little on data that scikit-learn brings, and ways to ask them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from workers.compression.methods import Data
from workers.training.image_models import ImageClassifier

BATCH = 64


@dataclass(frozen=True)
class Case:
    """A trained model, `plain` as its architecture makes it, and the data it knows."""

    name: str
    model: nn.Module
    build: Callable[[], nn.Module]
    inputs: Tensor
    targets: Tensor
    held_inputs: Tensor
    held_targets: Tensor

    def data(self, steps: int = 0) -> Data:
        return Data((self.inputs[:16],), self.batches, steps)

    def batches(self) -> Iterator[tuple[tuple[Tensor], Tensor]]:
        for start in range(0, 256, BATCH):
            yield (self.inputs[start : start + BATCH],), self.targets[start : start + BATCH]

    def copy(self) -> nn.Module:
        return deepcopy(self.model)

    @torch.no_grad()
    def accuracy(self, model: nn.Module) -> float:
        model.eval()
        return float((model(self.held_inputs).argmax(dim=1) == self.held_targets).float().mean())


def tune(model: nn.Module, case: Case, epochs: int, rate: float = 0.003, seed: int = 0) -> int:
    """Plain training; returns the number of steps."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    model.train()
    steps = 0
    for _ in range(epochs):
        for rows in torch.randperm(len(case.targets)).split(BATCH):
            if len(rows) == BATCH:
                optimizer.zero_grad()
                cross_entropy(model(case.inputs[rows]), case.targets[rows]).backward()
                optimizer.step()
                steps += 1
    model.eval()
    return steps


def steps_of(case: Case, epochs: int) -> int:
    return epochs * (len(case.targets) // BATCH)


# The models


class Separable(nn.Module):
    """Depthwise separable convolutions with a grouped one between, and branches that are put side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16), nn.ReLU())
        self.pointwise = nn.Sequential(nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.grouped = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, groups=4), nn.BatchNorm2d(32), nn.ReLU())
        self.left, self.right = nn.Conv2d(32, 8, 1), nn.Conv2d(32, 12, 3, padding=1)
        self.head = nn.Linear(20 * 16, 10)

    def forward(self, images: Tensor) -> Tensor:
        values = images.permute(0, 3, 1, 2).float() / 16
        values = self.grouped(self.pointwise(self.depthwise(self.stem(values))))
        values = torch.cat([self.left(values), self.right(values)], dim=1).relu()
        return self.head(nn.functional.max_pool2d(values, 2).flatten(1))


class FusedAttention(nn.Module):
    """One linear layer makes queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, values: Tensor) -> Tensor:
        items, length, _ = values.shape
        queries, keys, values = self.qkv(values).reshape(items, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(queries, keys, values)
        return self.projection(mixed.transpose(1, 2).reshape(items, length, -1))


class TorchAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, values: Tensor) -> Tensor:
        return self.attention(values, values, values, need_weights=False)[0]


class Block(nn.Module):
    def __init__(self, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = attention
        self.forward_layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, values: Tensor) -> Tensor:
        values = values + self.attention(self.first(values))
        return values + self.forward_layers(self.second(values))


class Transformer(nn.Module):
    """Tokens [N, 16] to logits; one block with an attention of its own and one with torch's."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(17, width)
        self.positions = nn.Parameter(torch.randn(1, 16, width) * 0.1)
        self.blocks = nn.Sequential(
            Block(width, FusedAttention(width, heads)), Block(width, TorchAttention(width, heads))
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        values = self.blocks(self.tokens(tokens) + self.positions)
        return self.head(self.norm(values).mean(dim=1))


class Recurrent(nn.Module):
    """Tokens [N, 16] to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.gru = nn.Embedding(17, 16), nn.GRU(16, 48, batch_first=True)
        self.hidden, self.head = nn.Linear(48, 64), nn.Linear(64, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        _, last = self.gru(self.tokens(tokens))
        return self.head(self.hidden(last[0]).relu())


class Table(nn.Module):
    """Codes [N, F] of categories to logits."""

    def __init__(self, features: int, codes: int) -> None:
        super().__init__()
        self.register_buffer("offsets", torch.arange(features) * codes)
        self.codes = nn.Embedding(features * codes, 8)
        self.layers = nn.Sequential(
            nn.Linear(8 * features, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU()
        )
        self.head = nn.Linear(32, 2)

    def forward(self, codes: Tensor) -> Tensor:
        return self.head(self.layers(self.codes(codes + self.offsets).flatten(1)))


def residual() -> ImageClassifier:
    return ImageClassifier(
        channels=1, classes=10, widths=(16, 32), blocks=1, stem_stride=1, dropout=0.0, mean=[78.0], deviation=[96.0]
    )


# The cases


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    images, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    return images[order].reshape(-1, 8, 8), targets[order]


def _case(name: str, build: Callable[[], nn.Module], inputs: np.ndarray, targets: np.ndarray, epochs: int) -> Case:
    torch.manual_seed(0)
    model, cut = build(), len(targets) * 3 // 4
    inputs, targets = torch.from_numpy(inputs), torch.from_numpy(targets).long()
    case = Case(name, model, build, inputs[:cut], targets[:cut], inputs[cut:], targets[cut:])
    tune(model, case, epochs)
    return case


@cache
def trained(name: str) -> Case:
    """One of CASES; to be copied before it is changed."""
    torch.set_num_threads(1)
    if name == "table":
        columns, targets = load_breast_cancer(return_X_y=True)
        edges = np.quantile(columns, [0.2, 0.4, 0.6, 0.8], axis=0)
        codes = (columns[:, :12, None] > edges.T[:12]).sum(axis=2)
        return _case(name, lambda: Table(12, 5), codes, targets, 10)
    images, targets = digits()
    if name in ("residual", "separable"):
        scale = 15.9375 if name == "residual" else 1
        pixels = (images[..., None] * scale).astype(np.uint8)
        return _case(name, residual if name == "residual" else Separable, pixels, targets, 5)
    tokens = images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).round().astype(np.int64).reshape(-1, 16)
    return _case(name, Transformer if name == "transformer" else Recurrent, tokens, targets, 12)


CASES = ("residual", "separable", "transformer", "recurrent", "table")
