"""From which checkpoint the processes of a training go on: the newest that all of them can."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workers.parallel.fusing import fuse
from workers.parallel.strategies.base import Strategy
from workers.training.checkpoints import WHOLE, Checkpoint, CheckpointStore, Part

# Whether the state of a checkpoint after so many steps is one to go on from.
Accepts = Callable[[int, Mapping[str, Any]], bool]


def part_of(strategy: Strategy) -> Part | None:
    """The part of a checkpoint that this process writes; None where it writes nothing."""
    processes = strategy.processes
    if strategy.has_own_parts:
        return Part(processes.rank, processes.world_size)
    return WHOLE if processes.is_first else None


@dataclass(frozen=True)
class Restored:
    """The step to go on from, what the loop knew then, and the layout of those who wrote it."""

    step: int
    state: dict[str, Any]
    layout: dict[str, Any]


def restore_newest(store: CheckpointStore, strategy: Strategy, accepts: Accepts) -> Restored | None:
    """Put the newest complete checkpoint that `accepts` into `strategy`; None when there is none.

    Each process takes its own part where every one of them finds its part whole. The first process can also put all
    parts together, where they all lie in its folder, and tell the others: so a training goes on with another number of
    processes or another strategy.
    """
    shared = _newest_shared_step(store, strategy, accepts)
    processes = strategy.processes
    parts = store.load_parts(newer_than=shared) if processes.is_first else []
    parts = parts if parts and accepts(parts[0].step, parts[0].state) else []
    if processes.any(bool(parts)):
        return _divide(parts, strategy)
    if shared < 0:
        return None
    own = store.load(shared, part_of(strategy))
    strategy.import_state(_tensors(own.tensors), own.state["strategy"])
    return Restored(shared, own.state, own.state["layout"])


def _divide(parts: list[Checkpoint], strategy: Strategy) -> Restored:
    """Put together the `parts` that the first process has, and give everyone theirs."""
    processes = strategy.processes
    arrays, plain = fuse(parts) if parts else ({}, {})
    step, state, plain = processes.from_first([parts[0].step, parts[0].state, plain] if parts else None)
    if state["layout"] != strategy.layout:  # into how many micro-batches others cut a batch fits them alone
        plain["way"]["accumulation"] = strategy.plan.accumulation
    tensors = processes.spread(_tensors(arrays))
    strategy.import_state(strategy.part_of(tensors), plain)
    return Restored(step, state, state["layout"])


def _newest_shared_step(store: CheckpointStore, strategy: Strategy, accepts: Accepts) -> int:
    """The newest step of which every process has its own part, written in the present layout; -1 when there is none."""
    if not strategy.has_own_parts:
        return -1
    part, steps = part_of(strategy), []
    for step in store.steps(part):
        state = store.load_state(step, part)
        if accepts(step, state) and state["layout"] == strategy.layout:
            steps.append(step)
    return max(set.intersection(*map(set, strategy.processes.gather(steps))), default=-1)


def _tensors(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
