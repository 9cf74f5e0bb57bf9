"""What a strategy finds out on its machine: the parts of a batch that fit into memory, and how steps are fastest.

Trials run the strategy's own forward and backward on a batch, and leave no trace in the training.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workers.contract import ProgramFailure
from workers.parallel.plan import DDP, SINGLE
from workers.training.acceleration import Log, Way, choose_way, has_bf16
from workers.training.batches import Batch
from workers.training.memory import available_bytes, is_out_of_memory

if TYPE_CHECKING:
    from workers.parallel.strategies.base import Strategy

# The strategies whose step is a forward and a backward of one process that another precision may compute.
TRIED = (SINGLE, DDP)
# Of the free memory, what may be kept of the activations: their gradients and workspaces take about as much again.
ACTIVATIONS_SHARE = 0.4
PROBE_ROWS = 8


class Volatile:
    """What a forward pass changes in a model that is no gradient: its buffers, and the random generators."""

    def __init__(self, model: nn.Module, device_type: str) -> None:
        self.buffers = [buffer.detach() for buffer in model.buffers()]
        self.copies = [buffer.clone() for buffer in self.buffers]
        self.is_cuda = device_type == "cuda"
        self.keep()

    def keep(self) -> None:
        if self.buffers:
            torch._foreach_copy_(self.copies, self.buffers)
        self.random = (torch.get_rng_state(), torch.cuda.get_rng_state() if self.is_cuda else None)

    def restore(self) -> None:
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.copies)
        torch.set_rng_state(self.random[0])
        if self.random[1] is not None:
            torch.cuda.set_rng_state(self.random[1])


def make_room(strategy: Strategy, batch: Batch, log: Log) -> None:
    """Cut batches like `batch` into parts whose activations fit into the machine's memory.

    A system that promises more memory than it has kills who takes it. Devices do not, so that there steps are tried.
    """
    if strategy.name != SINGLE or strategy.device_type != "cpu":
        return
    rows = len(batch)
    probed = min(PROBE_ROWS, rows)
    try:
        needed = rows / probed * strategy.measure_activations(batch, probed)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return  # the first step will divide its batch by trying
    free, parts = ACTIVATIONS_SHARE * available_bytes(), min(rows, strategy.plan.accumulation)
    wanted = parts
    while needed / wanted > free and wanted < rows:
        wanted = min(rows, 2 * wanted)
    if wanted > parts:
        strategy.plan = replace(strategy.plan, accumulation=wanted)
        log(
            f"A batch of {rows} would keep {needed / 2**20:.0f} MB of activations, more than fits: it is computed in "
            f"{wanted} parts, one after the other."
        )


def settle(strategy: Strategy, batch: Batch, steps: int, log: Log) -> Way:
    """The way in which `strategy` should compute the `steps` to come, judged on `batch`; the first process decides."""
    if strategy.name not in TRIED:
        return strategy.way

    def measure(way: Way) -> float:
        return strategy.processes.from_first(_seconds(strategy, batch, way))

    return choose_way(
        strategy.way,
        settings=strategy.hyperparameters,
        device_type=strategy.device_type,
        may_halve=not strategy.processes.any(not has_bf16(strategy.device_type)),
        is_alone=strategy.processes.world_size == 1,
        steps=steps,
        measure=measure,
        log=log,
    )


def _seconds(strategy: Strategy, batch: Batch, way: Way) -> float:
    """Of one pass over `batch` and back."""
    before = strategy.way
    strategy.use(way)
    try:
        begin = time.perf_counter()
        strategy.try_descent(batch)
        return time.perf_counter() - begin
    finally:
        strategy.use(before)


def divide(strategy: Strategy, rows: int, log: Log, evidence: str) -> None:
    """Halve the micro-batches of a batch of `rows` for which there was no memory: the same step in more parts.

    Raises ProgramFailure (out_of_memory) when they hold one example each.
    """
    parts = min(rows, strategy.plan.accumulation)
    if parts >= rows:
        raise ProgramFailure(
            "out_of_memory",
            f"There is not enough memory to train on a single example at a time ({evidence[:200]}).",
            hint="Choose a smaller model or smaller inputs, or a device with more memory.",
            blame="machine",
        )
    strategy.plan = replace(strategy.plan, accumulation=min(rows, 2 * parts))
    log(
        f"Out of memory: batches of {rows} are now computed in {strategy.plan.accumulation} parts, one after the other."
    )


def kept_bytes(model: nn.Module, forward: Callable[[], Tensor]) -> int:
    """What `forward` keeps for its backward pass, beside the weights of `model`."""
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def count(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return None  # nothing goes back through this pass

    with torch.autograd.graph.saved_tensors_hooks(count, lambda nothing: nothing):
        forward()
    return sum(kept.values())
