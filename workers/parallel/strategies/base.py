"""What every strategy of training does, and what it does when there is one process.

The model knows nothing of distribution: `_apply` makes of it what is trained, and `finish` leaves one complete model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from workers.parallel.plan import SINGLE, ParallelPlan
from workers.parallel.processes import Processes
from workers.parallel.shares import micro_batches
from workers.parallel.strategies.settling import Volatile, divide, kept_bytes, make_room, settle
from workers.training.acceleration import FP16, Log, Way, first_way
from workers.training.batches import Batch, Batches
from workers.training.losses import Loss
from workers.training.memory import is_out_of_memory
from workers.training.optimization import MovingAverage, make_optimizer, set_learning_rate
from workers.training.state import WHOLE, Pieces, export_state, import_state, learned


class Strategy:
    """One process that trains the whole model on the whole batch, `plan.accumulation` micro-batches after another.

    What the other strategies do otherwise they override. Every process calls the same methods in the same order.
    `best` holds this process's part of the best weights so far.
    """

    name: ClassVar[str] = SINGLE
    # Whether every process writes a part of its own to a checkpoint; else the first writes all, and tells the others.
    has_own_parts: ClassVar[bool] = False
    pieces: ClassVar[Pieces] = WHOLE

    def __init__(self, plan: ParallelPlan | None = None, processes: Processes | None = None) -> None:
        self.plan, self.processes = plan or ParallelPlan(), processes or Processes()
        self.best: dict[str, Tensor] = {}
        self.gradient_factor = 1
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
        self.optimizer = make_optimizer(self.model, hyperparameters, is_fused=self.pieces is WHOLE)
        decay = hyperparameters["ema_decay"]
        self.average = MovingAverage(self._copy(), decay, self.pieces) if decay else None
        return batches

    def _apply(self, model: nn.Module) -> nn.Module:
        """What is trained in place of `model`; the names of its parameters are the same."""
        return model.to(self.device)

    def _copy(self) -> nn.Module:
        return deepcopy(self.model)

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

    def agree(self, *flags: bool) -> list[bool]:
        """Which of the flags any process raises; none at a place where the processes cannot save or leave together."""
        return [count > 0 for count in self.processes.sum(flags)]

    def step(self, batch: Batch, number: int, learning_rate: float) -> list[float]:
        """Step `number` (from 1): returns the mean losses over the global batches that are now known, oldest first."""
        self.model.train()
        set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._descend_within_memory(batch)
        self._clip_gradients()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._follow(number)
        return [loss]

    def _follow(self, number: int) -> None:
        """Take the weights after step `number` into their average."""
        if self.average:
            self.average.update(self.model, number)

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
        whole, parts = self.loss.weigh(batch.targets), micro_batches(len(batch), self.plan.accumulation)
        losses = []
        for position, (start, stop) in enumerate(parts):
            inputs, targets = batch.take(*self._own_rows(start, stop))
            with self._accumulating(is_last=position == len(parts) - 1):
                loss = self._forward(inputs, targets) * (self.loss.weigh(targets) / whole)
                self.scaler.scale(loss * self.gradient_factor).backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum().item()

    def _own_rows(self, start: int, stop: int) -> tuple[int, int]:
        """From where to where this process's rows of a micro-batch lie, which goes from `start` to `stop`."""
        return start, stop

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
            return judge(self._answering(self._judged()).eval())

    def _answering(self, model: nn.Module) -> nn.Module:
        """`model` as something that answers all processes alike."""
        return model

    def _judged(self) -> nn.Module:
        return self.average.model if self.average else self.model

    def keep_best(self) -> None:
        kept = learned(self.model, self._judged())
        self.best = {name: value.detach().clone() for name, value in kept.items()}

    # State

    @property
    def layout(self) -> dict[str, Any]:
        """What must be the same for a process to go on from its own part of a checkpoint."""
        return {"strategy": SINGLE, "world_size": 1}

    def export_state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """This process's part of the state of the training, as arrays and as plain values."""
        averaged = self.average.model if self.average else None
        tensors, plain = export_state(self.model, self.optimizer, averaged, self.best)
        arrays = {name: self.pieces.own(value.detach()).cpu().numpy() for name, value in tensors.items()}
        way = self.way.as_dict() | {"accumulation": self.plan.accumulation, "is_settled": self.is_settled}
        return arrays, {"optimizer": plain, "scaler": self.scaler.state_dict(), "way": way}

    def import_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Put back what `export_state` gave to this process."""
        averaged = self.average.model if self.average else None
        self.best = import_state(tensors, plain["optimizer"], self.model, self.optimizer, averaged, self.pieces)
        self.scaler.load_state_dict(plain["scaler"])
        way = dict(plain["way"])
        self.plan = replace(self.plan, accumulation=way.pop("accumulation"))
        self.is_settled = way.pop("is_settled")
        if self.processes.world_size > 1:
            way["is_compiled"] = False
        self.use(Way(**way))

    def part_of(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """This process's part of a whole state, whoever wrote that."""
        return tensors

    def finish(self) -> None:
        """Leave the best weights in the model that `prepare` was given."""
        self.original.load_state_dict(self.original.state_dict() | self.best)
        self.original.eval()


def _say_nothing(sentence: str, level: str = "info") -> None:
    """What the processes beside the first have to say."""
