"""Mini-batches whose order and augmentation depend on seed and step alone, so training can go on from any step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Changes a batch of inputs at random, with the generator it is given.
Transform = Callable[[tuple[Tensor, ...], torch.Generator], tuple[Tensor, ...]]
Source = Tensor | np.ndarray


@dataclass(frozen=True)
class Batches:
    """Training examples in a new order each epoch.

    `inputs` are arrays or tensors with the same first dimension, passed to the model in this order; `targets` is [N].
    `rows` [N] says which of the inputs they belong to where these hold more than the training examples.
    An epoch has ceil(N / batch_size) batches whose sizes differ by at most one: a last batch of one example would
    break batch normalisation.
    """

    inputs: Sequence[Source]
    targets: Tensor
    batch_size: int
    seed: int
    transform: Transform | None = None
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return math.ceil(len(self.targets) / self.batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """The batches of epoch `number` (from 0), from batch `start` on."""
        order = np.random.default_rng((self.seed, number)).permutation(len(self.targets))
        parts = np.array_split(order, len(self))
        for position in range(start, len(parts)):
            # Sorted within the batch: a memory-mapped store is then read front to back.
            yield self._batch(np.sort(parts[position]), number * len(self) + position)

    def _batch(self, rows: np.ndarray, step: int) -> tuple[tuple[Tensor, ...], Tensor]:
        places = rows if self.rows is None else self.rows[rows]
        inputs = tuple(_take(source, places) for source in self.inputs)
        if self.transform:
            generator = torch.Generator().manual_seed((self.seed + 1) * 1_000_003 + step)
            inputs = self.transform(inputs, generator)
        return inputs, self.targets[torch.from_numpy(rows)]


def _take(source: Source, rows: np.ndarray) -> Tensor:
    if isinstance(source, Tensor):
        return source[torch.from_numpy(rows)]
    return torch.from_numpy(np.asarray(source[rows]))
