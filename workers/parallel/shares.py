"""Who takes which rows of a batch, and which examples of a data set. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Bounds = tuple[int, int]


def micro_batches(count: int, pieces: int) -> list[Bounds]:
    """From where to where each of `pieces` lies in a batch of `count` rows: sizes differ by at most one, larger ones
    first, and none is empty."""
    pieces = min(count, pieces)
    small, larger = divmod(count, pieces)
    edges = np.cumsum([0] + [small + (number < larger) for number in range(pieces)])
    return [(int(start), int(stop)) for start, stop in zip(edges, edges[1:], strict=False)]


def divide(count: int, shares: Sequence[float]) -> list[Bounds]:
    """`count` rows cut in proportion to `shares`, which sum to 1; a small share of few rows may be none."""
    edges = [0, *(round(count * part) for part in np.cumsum(shares))]
    edges[-1] = count
    return [(start, stop) for start, stop in zip(edges, edges[1:], strict=False)]


def even_shares(world_size: int) -> tuple[float, ...]:
    return (1 / world_size,) * world_size


def deal_stratified(labels: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Row numbers for each share, sorted: of every class in `labels` [N] its part, chosen at random.

    What rounding leaves over of a class goes to whoever is furthest below their share of all rows, so that the sizes
    fit the shares to within the number of classes.
    """
    random = np.random.default_rng(seed)
    dealt: list[list[np.ndarray]] = [[] for _ in shares]
    counts, wanted, seen = np.zeros(len(shares)), np.asarray(shares), 0
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        seen += len(rows)
        sizes = np.floor(wanted * len(rows)).astype(int)
        for _ in range(len(rows) - sizes.sum()):
            sizes[np.argmax(wanted * seen - counts - sizes)] += 1
        counts += sizes
        for part, piece in zip(dealt, np.split(rows, np.cumsum(sizes)[:-1]), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in dealt]


def deal_by_group(groups: np.ndarray, shares: Sequence[float]) -> list[np.ndarray]:
    """Row numbers for each share, sorted: rows of one group in `groups` [N] stay together.

    The largest groups are dealt first, each to whoever is furthest below their share.
    """
    names, members = np.unique(groups, return_inverse=True)
    sizes = np.bincount(members)
    counts, wanted = np.zeros(len(shares)), np.asarray(shares) * len(groups)
    holder = np.zeros(len(names), dtype=int)
    for group in np.argsort(-sizes, kind="stable"):
        holder[group] = np.argmax(wanted - counts)
        counts[holder[group]] += sizes[group]
    return [np.flatnonzero(holder[members] == share) for share in range(len(shares))]
