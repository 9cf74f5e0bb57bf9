"""The parts of a checkpoint put together to the state of the whole model, whatever strategy wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workers.parallel.plan import FSDP, PIPELINE
from workers.training.checkpoints import Checkpoint

Arrays = dict[str, np.ndarray]


def fuse(parts: Sequence[Checkpoint]) -> tuple[Arrays, dict[str, Any]]:
    """Arrays by name, and the plain values of the strategy that goes with them.

    Slices (FSDP) are joined, stages (pipeline) laid side by side with the random generator of the last, which alone has
    dropout in a classifier. Processes that each hold a whole model (local SGD) agree on its weights; of their moments
    those of the first are taken.
    """
    strategy = parts[0].state["layout"]["strategy"]
    plain = parts[0].state["strategy"]
    if strategy == FSDP:
        sliced = set(plain["sliced"])
        arrays = {
            name: np.concatenate([part.tensors[name] for part in parts]) if name in sliced else value
            for name, value in parts[0].tensors.items()
        }
        return arrays, plain
    if strategy == PIPELINE:
        arrays, moments = {}, {}
        for part in parts:
            arrays |= part.tensors
            moments |= part.state["strategy"]["optimizer"]
        return arrays, plain | {"optimizer": moments}
    return dict(parts[0].tensors), plain
