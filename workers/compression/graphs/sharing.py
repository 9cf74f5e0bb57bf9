"""Weight sharing of Deep Compression (Han, Mao and Dally 2016): all weights of a layer take one of a few values.

The values are the means that k-means finds, begun evenly over the range of the weights, which the paper found best: the
few large weights, which matter most, keep values of their own. Weights that were removed stay exactly zero.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto

from workers.compression.graphs.reading import is_weights, nothing_to_compress, read
from workers.compression.graphs.writing import write_short

SHARED_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8)
ROUNDS = 40
CLOSE_ENOUGH = 1e-6  # relative to the range of the weights


def share_weights(source: Path, target: Path, values: int) -> list[str]:
    """Write the graph `source` with at most `values` different weights in each layer to `target`; returns notes.

    Zero is one of the values where weights are zero. Weights that quantising stored in 16 or 8 bits share these. The
    file is as large as before; packing it makes it small (workers/inference/packing.py).
    Raises ProgramFailure nothing_to_compress, damaged_model.
    """
    graph = read(source)
    changed, notes = 0, []
    for tensor in graph.initializers:
        if not is_weights(tensor, *SHARED_TYPES):
            continue
        weights = graph.array(tensor.name)
        if not np.isfinite(weights).all():
            notes.append(f"{weights.size:,} weights stay as they were: not all of them are finite.")
            continue
        graph.put(tensor.name, cluster(weights, values))
        changed += 1
    if not changed:
        raise nothing_to_compress("few shared values")
    write_short(graph.model, target)
    return notes


def cluster(weights: np.ndarray, values: int) -> np.ndarray:
    """`weights`, each in place of it the nearest of at most `values` means; zeros stay zero, integers integers."""
    flat = weights.reshape(-1).astype(np.float64)
    is_zero = flat == 0
    points, count = flat[~is_zero], max(1, values - int(is_zero.any()))
    if not points.size:
        return weights
    means = _means(points, count)
    shared = np.zeros_like(flat)
    shared[~is_zero] = means[_nearest(points, means)]
    if weights.dtype.kind == "i":
        shared = np.rint(shared)
    return shared.reshape(weights.shape).astype(weights.dtype)


def _means(points: np.ndarray, count: int) -> np.ndarray:
    """Lloyd's algorithm on a line, from means evenly over the range; those that nothing is near to stay."""
    means = np.linspace(points.min(), points.max(), count)
    for _ in range(ROUNDS):
        nearest = _nearest(points, means)
        members = np.bincount(nearest, minlength=count)
        sums = np.bincount(nearest, weights=points, minlength=count)
        moved = np.sort(np.where(members > 0, sums / np.maximum(members, 1), means))
        is_done = np.abs(moved - means).max() <= CLOSE_ENOUGH * np.ptp(points)
        means = moved
        if is_done:
            break
    return means


def _nearest(points: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The number of the nearest of the sorted `means`."""
    return np.searchsorted((means[1:] + means[:-1]) / 2, points)
