"""What a strategy finds out on its machine before the first step, and what it does when memory runs out in one.

Trials run the strategy's own forward and backward on the first batch, and leave no trace in the training.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workers.contract import ProgramFailure
from workers.parallel.plan import DDP, SINGLE
from workers.training.acceleration import Log, Way, choose_way
from workers.training.batches import Batch
from workers.training.memory import available_bytes, is_out_of_memory

if TYPE_CHECKING:
    from workers.parallel.strategies.base import Strategy

# The strategies whose step is a forward and a backward of one process that another precision may compute.
TRIED = (SINGLE, DDP)
TIMED_STEPS = 2
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


def settle(strategy: Strategy, batch: Batch, steps: int, log: Log) -> Way:
    """The way in which `strategy` should compute the `steps` to come, judged on `batch`; the first process decides.

    The batch is cut into so many micro-batches as fit into the memory of this machine.
    """
    if strategy.name not in TRIED:
        return strategy.way
    if strategy.processes.world_size == 1 and strategy.device_type == "cpu":
        _divide_to_fit(strategy, batch, log)

    def measure(way: Way) -> float:
        return strategy.processes.from_first(_seconds(strategy, batch, way))

    return choose_way(
        strategy.way,
        settings=strategy.hyperparameters,
        device_type=strategy.device_type,
        is_alone=strategy.processes.world_size == 1,
        steps=steps,
        measure=measure,
        log=log,
    )


def _seconds(strategy: Strategy, batch: Batch, way: Way) -> float:
    """The fastest of a few passes over `batch` after one that warms up, or compiles."""
    before, found = strategy.way, []
    strategy.use(way)
    try:
        for _ in range(1 + TIMED_STEPS):
            begin = time.perf_counter()
            strategy.try_descent(batch)
            found.append(time.perf_counter() - begin)
    finally:
        strategy.use(before)
    return min(found[1:])


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


def _divide_to_fit(strategy: Strategy, batch: Batch, log: Log) -> None:
    """A system that promises more memory than it has kills who takes it: so what a step needs is counted first."""
    rows, volatile = len(batch), Volatile(strategy.model, strategy.device_type)
    probed = min(PROBE_ROWS, rows)
    try:
        needed = rows / probed * _activation_bytes(strategy, *batch.take(0, probed))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return  # the first step will divide its batch by trying
    finally:
        volatile.restore()
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


def _activation_bytes(strategy: Strategy, inputs: tuple[Tensor, ...], targets: Tensor) -> int:
    """What one forward pass keeps for its backward pass, beside the weights."""
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in strategy.model.parameters()}

    def count(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return None  # nothing goes back through this pass

    with torch.autograd.graph.saved_tensors_hooks(count, lambda nothing: nothing):
        strategy.forward(inputs, targets)
    return sum(kept.values())
