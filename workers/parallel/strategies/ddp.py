"""Distributed data parallel: every process holds the whole model and takes its rows of every batch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from workers.parallel.plan import DDP
from workers.parallel.strategies.data_parallel import DataParallel
from workers.parallel.synchronized import OwnBatchNorm, SynchronizedBatchNorm, copy_structure, synchronize
from workers.parallel.words import average_buffers
from workers.training.batches import Batches
from workers.training.losses import Loss


class Ddp(DataParallel):
    """Replicas stay equal, so that the first process's state is everybody's."""

    name = DDP

    def prepare(
        self, model: nn.Module, batches: Batches, loss: Loss, hyperparameters: Mapping[str, Any], device: str
    ) -> Batches:
        batches = super().prepare(model, batches, loss, hyperparameters, device)
        # A layout has several names where a side is 1, and it says so of every convolution of grey images.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        self.replica = DistributedDataParallel(self.model, forward_sync_buffers=False)
        return batches

    def _apply(self, model: nn.Module) -> nn.Module:
        norm = OwnBatchNorm if self.plan.own_statistics else SynchronizedBatchNorm
        return synchronize(copy_structure(model.to(self.device)), self._share(), norm)

    def _follow(self, number: int) -> None:
        if self.plan.own_statistics:
            average_buffers(self.model, self.shares[self.processes.rank])
        super()._follow(number)

    def _accumulating(self, *, is_last: bool) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if is_last else self.replica.no_sync()

    def _answer(self, *inputs: Tensor) -> Tensor:
        return self.replica(*inputs)
