"""Mini-batches whose order and augmentation depend on seed and step alone: training can go on from any step, and every
process of a distributed training draws the same batch and takes its own rows of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Source = Tensor | np.ndarray


class Draws:
    """Random numbers for the rows `start` to `stop` of a batch of `count`.

    They are drawn for the whole batch, so that an example gets the same ones whichever rows are taken with it.
    """

    def __init__(self, seed: int, count: int, start: int = 0, stop: int | None = None) -> None:
        self.count, self.rows = count, slice(start, stop)
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        """[rows, *shape] between 0 and 1."""
        return torch.rand(self.count, *shape, generator=self.generator)[self.rows]


# Changes inputs at random, with the numbers it draws.
Transform = Callable[[tuple[Tensor, ...], Draws], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Batch:
    """One step's examples: `rows` numbers them in `batches`. Nothing is read before it is taken."""

    batches: Batches
    rows: np.ndarray
    step: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def targets(self) -> Tensor:
        return self.batches.targets[torch.from_numpy(self.rows)]

    def take(self, start: int, stop: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """Inputs and targets of the rows from `start` to `stop`."""
        return self.batches.read(self.rows, self.step, start, stop)


@dataclass(frozen=True)
class Batches:
    """Training examples in a new order each epoch.

    `inputs` are arrays or tensors with the same first dimension, passed to the model in this order; `targets` is [N].
    `rows` [N] says which of the inputs they belong to where these hold more than the training examples. `groups` [N]
    names where each example comes from. `own` are the numbers of the examples that this process goes through, where
    these are not all; they make as many batches an epoch as all would, and smaller ones.
    An epoch has ceil(N / batch_size) batches whose sizes differ by at most one: a last batch of one example would
    break batch normalisation.
    """

    inputs: Sequence[Source]
    targets: Tensor
    batch_size: int
    seed: int
    transform: Transform | None = None
    rows: np.ndarray | None = None
    groups: np.ndarray | None = None
    own: np.ndarray | None = None

    def __len__(self) -> int:
        return math.ceil(len(self.targets) / self.batch_size)

    def of(self, own: np.ndarray, seed: int) -> Batches:
        """As many batches of the examples `own`, in another order."""
        return replace(self, own=own, seed=seed)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number` (from 0), from batch `start` on."""
        examples = np.arange(len(self.targets)) if self.own is None else self.own
        order = np.random.default_rng((self.seed, number)).permutation(examples)
        parts = np.array_split(order, len(self))
        for position in range(start, len(parts)):
            # Sorted within the batch: a memory-mapped store is then read front to back.
            yield Batch(self, np.sort(parts[position]), number * len(self) + position)

    def read(self, rows: np.ndarray, step: int, start: int, stop: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """Inputs and targets of ``rows[start:stop]``, changed as that part of the batch of step `step`."""
        taken = rows[start:stop]
        places = taken if self.rows is None else self.rows[taken]
        inputs = tuple(_take(source, places) for source in self.inputs)
        if self.transform:
            inputs = self.transform(inputs, Draws((self.seed + 1) * 1_000_003 + step, len(rows), start, stop))
        return inputs, self.targets[torch.from_numpy(taken)]


@dataclass(frozen=True)
class BatchesByTokens(Batches):
    """Batches of examples of about the same length, with up to `batch_size` tokens in all, padding included.

    `lengths` [N] are in tokens. Each epoch draws anew which examples of one length come together, and the order of the
    batches; how many there are and how long each is stays the same.
    """

    lengths: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @cached_property
    def _ends(self) -> np.ndarray:
        """Where each batch ends in the order of lengths."""
        return np.cumsum([len(part) for part in parts_by_length(self.lengths, self.batch_size)])

    def __len__(self) -> int:
        return len(self._ends)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        generator = np.random.default_rng((self.seed, number))
        order = generator.permutation(len(self.lengths))
        parts = np.split(order[np.argsort(self.lengths[order], kind="stable")], self._ends[:-1])
        for position, place in enumerate(generator.permutation(len(parts)).tolist()):
            if position >= start:
                yield Batch(self, np.sort(parts[place]), number * len(self) + position)


def parts_by_length(lengths: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """The places of examples of these lengths, in parts of up to `most` tokens, padding included: short ones with short
    ones, so that little of a part is padding. An example that is longer is a part of its own."""
    order, start = np.argsort(lengths, kind="stable"), 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= most:
            stop += 1
        yield order[start:stop]
        start = stop


def _take(source: Source, rows: np.ndarray) -> Tensor:
    if isinstance(source, Tensor):
        return source[torch.from_numpy(rows)]
    return torch.from_numpy(np.asarray(source[rows]))
