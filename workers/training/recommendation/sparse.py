"""Interactions as the rows of a sparse matrix, in parts that are padded and computed together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

CELLS_OF_A_PART = 2**18  # rows times the longest of them


@dataclass(frozen=True)
class Part:
    """`rows` [b] of the matrix; `columns` int64 [b, L], `values` float32 [b, L]; `is_there` float32 [b, L] is 0 where a
    row is shorter."""

    rows: Tensor
    columns: Tensor
    values: Tensor
    is_there: Tensor


@dataclass(frozen=True)
class Sparse:
    """Row r holds ``columns[starts[r]:starts[r + 1]]`` with the `values` of the same slice."""

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    width: int

    @classmethod
    def of(cls, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> Sparse:
        order = np.lexsort((columns, rows))
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))]).astype(np.int64)
        return cls(starts, columns[order].astype(np.int32), values[order].astype(np.float32), shape[1])

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    @cached_property
    def row_of(self) -> np.ndarray:
        """The row of each entry."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def transposed(self) -> Sparse:
        return Sparse.of(self.columns.astype(np.int64), self.row_of, self.values, (self.width, len(self)))

    def take(self, rows: np.ndarray) -> Sparse:
        """Only these rows, in this order."""
        lengths = self.lengths[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], lengths)
        return Sparse(starts, self.columns[places], self.values[places], self.width)

    def row(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The columns and the values of a row."""
        part = slice(self.starts[number], self.starts[number + 1])
        return self.columns[part], self.values[part]

    def dense(self) -> Tensor:
        """float32 [rows, width]"""
        found = torch.zeros(len(self), self.width)
        found[torch.from_numpy(self.row_of), torch.from_numpy(self.columns.astype(np.int64))] = torch.from_numpy(
            self.values
        )
        return found

    def parts(self) -> Iterator[Part]:
        """All rows that are not empty, short ones with short ones, so that little of a part is padding."""
        order = np.argsort(self.lengths, kind="stable")
        order = order[self.lengths[order] > 0]
        start = 0
        while start < len(order):
            longest = self.lengths[order[start:]]
            # The longest row of a part is its last, so a part may hold n rows while n times the n-th length fits.
            fits = np.arange(1, len(longest) + 1) * longest <= CELLS_OF_A_PART
            count = len(fits) if fits.all() else max(1, int(np.argmin(fits)))
            yield self._part(order[start : start + count])
            start += count

    def _part(self, rows: np.ndarray) -> Part:
        lengths = self.lengths[rows]
        steps = np.arange(lengths.max())
        is_there = steps < lengths[:, None]
        places = np.where(is_there, self.starts[rows][:, None] + steps, 0)
        values = np.where(is_there, self.values[places], 0)
        columns = np.where(is_there, self.columns[places], 0)
        return Part(
            torch.from_numpy(rows),
            torch.from_numpy(columns.astype(np.int64)),
            torch.from_numpy(values.astype(np.float32)),
            torch.from_numpy(is_there.astype(np.float32)),
        )
