"""What every strategy of training does, and what it does when there is one process.

The model knows nothing of distribution: `_apply` makes of it what is trained, and `finish` leaves one complete model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from workers.parallel.plan import SINGLE, ParallelPlan
from workers.parallel.processes import Processes
from workers.parallel.strategies.settling import Volatile, divide, kept_bytes, make_room, settle
from workers.training.acceleration import FP16, Log, Way, first_way
from workers.training.batches import Batch, Batches
from workers.training.losses import Loss
from workers.training.memory import is_out_of_memory
from workers.training.optimization import MovingAverage, make_optimizer, set_learning_rate
from workers.training.state import export_state, import_state


class Strategy:
    """One process that trains the whole model on the whole batch, `plan.accumulation` micro-batches after another.

    What the other strategies do otherwise they override. Every process calls the same methods in the same order.
    `best` holds this process's part of the best weights so far.
    """

    name: ClassVar[str] = SINGLE

    def __init__(self, plan: ParallelPlan | None = None, processes: Processes | None = None) -> None:
        self.plan, self.processes = plan or ParallelPlan(), processes or Processes()
        self.best: dict[str, Tensor] = {}
        self.is_settled = False
        self.log: Log = _say_nothing

    # Before the first step

    def prepare(
        self, model: nn.Module, batches: Batches, loss: Loss, hyperparameters: Mapping[str, Any], device: str
    ) -> Batches:
        """Make `model` ready to be trained on `device`; returns the batches that this process goes through."""
        self.original, self.loss, self.hyperparameters, self.device = model, loss, hyperparameters, device
        self.device_type = torch.device(device).type
        self.way = first_way(hyperparameters["mixed_precision"], self.device_type)
        self.scaler = torch.amp.GradScaler(self.device_type, enabled=self.way.precision == FP16)
        self.model, self.compiled = self._apply(model), None
        self.use(self.way)
        self.volatile = Volatile(self.model, self.device_type)
        self.optimizer = make_optimizer(self.model, hyperparameters)
        decay = hyperparameters["ema_decay"]
        self.average = MovingAverage(self.model, decay) if decay else None
        return batches

    def _apply(self, model: nn.Module) -> nn.Module:
        return model.to(self.device)

    def measure_activations(self, batch: Batch, rows: int) -> int:
        """Bytes that a pass over the first `rows` of `batch` keeps for its way back, beside the weights."""
        self.model.train()
        self.volatile.keep()
        try:
            return kept_bytes(self.model, lambda: self._forward(*batch.take(0, rows)))
        finally:
            self.volatile.restore()

    def use(self, way: Way) -> None:
        """Compute steps in this way from now on; models are compiled when they are first called."""
        self.way = way
        # Only steps are compiled: evaluation would need another compilation for each size of its batches.
        if way.is_compiled and self.compiled is None:
            self.compiled = torch.compile(self.model, dynamic=False)
        self.trained = self.compiled if way.is_compiled else self.model

    def make_room(self, batches: Batches, log: Log) -> None:
        """Cut batches into parts that fit into memory; `log` is told of this and of what else is found out."""
        self.log = log if self.processes.is_first else _say_nothing
        if not self.is_settled:
            make_room(self, next(batches.epoch(0)), self.log)

    def settle(self, batch: Batch, taken: int, steps: int) -> None:
        """Find out how the rest of `steps` is computed fastest here, of which `taken` are taken, once and for all.

        The first step is taken as it comes, so that whoever waits for it does not wait for trials too.
        """
        if taken and not self.is_settled:
            self.use(settle(self, batch, steps - taken, self.log))
            self.is_settled = True

    def try_descent(self, batch: Batch) -> None:
        """Forward and backward as in a step, leaving everything as it was but for the parts of a batch that fit."""
        self.model.train()
        try:
            self._descend_within_memory(batch)
        finally:
            self.optimizer.zero_grad(set_to_none=True)
            self.volatile.restore()

    # One step

    def step(self, batch: Batch, number: int, learning_rate: float) -> list[float]:
        """Step `number` (from 1): returns the mean losses over the global batches that are now known, oldest first."""
        self.model.train()
        set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._descend_within_memory(batch)
        self._clip_gradients()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update(self.model, number)
        return [loss]

    def _descend_within_memory(self, batch: Batch) -> float:
        """As `_descend`, in smaller and smaller parts where memory runs out. Raises ProgramFailure (out_of_memory)."""
        self.volatile.keep()
        while True:
            try:
                return self._descend(batch)
            except (RuntimeError, MemoryError) as error:
                # Processes that wait for this one's gradients cannot be told.
                if not is_out_of_memory(error) or self.processes.world_size > 1:
                    raise
                evidence = str(error)
            # Only here, where the error holds the tensors of the failed attempt no more.
            divide(self, len(batch), self.log, evidence)
            self.optimizer.zero_grad(set_to_none=True)
            self.volatile.restore()
            if self.device_type == "cuda":
                torch.cuda.empty_cache()

    def _descend(self, batch: Batch) -> float:
        """Forward and backward of one global batch; returns its mean loss."""
        whole, parts = self.loss.weigh(batch.targets), self._parts(len(batch))
        losses = []
        for position, (start, stop) in enumerate(parts):
            inputs, targets = batch.take(start, stop)
            with self._accumulating(is_last=position == len(parts) - 1):
                loss = self._forward(inputs, targets) * (self.loss.weigh(targets) / whole)
                self.scaler.scale(loss).backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum().item()

    def _parts(self, count: int) -> list[tuple[int, int]]:
        """From where to where this process's rows of each micro-batch lie in a batch of `count`."""
        return micro_batches(count, self.plan.accumulation)

    def _accumulating(self, *, is_last: bool) -> contextlib.AbstractContextManager[None]:
        """Around the micro-batches of one step; gradients are exchanged in the last alone."""
        return contextlib.nullcontext()

    def _forward(self, inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """The mean loss of these rows."""
        with self._autocast():
            outputs = self._answer(*(item.to(self.device) for item in inputs))
        return self.loss(outputs.float(), targets.to(self.device))

    def _answer(self, *inputs: Tensor) -> Tensor:
        return self.trained(*inputs)

    @property
    def precision(self) -> torch.dtype | None:
        """The type that steps are computed in, where that is not the weights' own."""
        return self.way.dtype

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        return torch.autocast(self.device_type, self.precision, enabled=self.precision is not None)

    def _clip_gradients(self) -> None:
        if longest := self.hyperparameters["max_grad_norm"]:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), longest)

    # Judging

    def evaluate(self, judge: Callable[[nn.Module], Any]) -> Any:
        """What `judge` says of the model as it would be kept now; the same on every process."""
        with torch.no_grad():
            return judge(self._judged().eval())

    def _judged(self) -> nn.Module:
        return self.average.model if self.average else self.model

    def keep_best(self) -> None:
        self.best = {name: value.detach().clone() for name, value in self._judged().state_dict().items()}

    # State

    @property
    def layout(self) -> dict[str, Any]:
        """What must be the same for a process to go on from its own part of a checkpoint."""
        return {"strategy": SINGLE, "world_size": 1}

    def export_state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """This process's part of the state of the training, as arrays and as plain values."""
        averaged = self.average.model if self.average else None
        arrays, plain = export_state(self.model, self.optimizer, averaged, self.best)
        way = self.way.as_dict() | {"accumulation": self.plan.accumulation, "is_settled": self.is_settled}
        return arrays, {"optimizer": plain, "scaler": self.scaler.state_dict(), "way": way}

    def import_state(self, arrays: dict[str, np.ndarray], plain: dict[str, Any]) -> None:
        """Put back what `export_state` gave."""
        averaged = self.average.model if self.average else None
        self.best = import_state(arrays, plain["optimizer"], self.model, self.optimizer, averaged)
        self.scaler.load_state_dict(plain["scaler"])
        way = dict(plain["way"])
        self.plan = replace(self.plan, accumulation=way.pop("accumulation"))
        self.is_settled = way.pop("is_settled")
        self.use(Way(**way))

    def finish(self) -> None:
        """Leave the best weights in the model that `prepare` was given."""
        self.original.load_state_dict(self.best)
        self.original.eval()


def _say_nothing(sentence: str, level: str = "info") -> None:
    """What the processes beside the first have to say."""


def micro_batches(count: int, pieces: int) -> list[tuple[int, int]]:
    """A batch of `count` rows cut into `pieces` whose sizes differ by at most one, larger ones first; none is empty."""
    return list(_bounds(count, min(count, pieces)))


def _bounds(count: int, pieces: int) -> Iterator[tuple[int, int]]:
    start = 0
    for part in np.array_split(np.arange(count), pieces):
        yield start, start + len(part)
        start += len(part)
