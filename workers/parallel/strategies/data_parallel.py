"""Every process takes its rows of every batch: what DDP and FSDP have in common."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from workers.parallel.processes import Processes
from workers.parallel.shares import divide, even_shares
from workers.parallel.strategies.base import Strategy
from workers.parallel.synchronized import Share
from workers.training.batches import Batch


class DataParallel(Strategy):
    """The processes' gradients add up to that of the mean over the global batch, however unevenly it is shared.

    Each weighs its rows by what they weigh in the whole batch, so that class weights and uneven shares change nothing.
    """

    def _share(self) -> Share:
        """Its own group, so that the layers' words and the gradients cannot be taken for each other."""
        self.gradient_factor = self.plan.world_size  # DDP and FSDP divide the sum of gradients by it
        self.shares = self.plan.shares or even_shares(self.plan.world_size)
        self.share = Share(dist.new_group())
        return self.share

    def _descend(self, batch: Batch) -> float:
        return self.processes.sum([super()._descend(batch)])[0]

    def _own_rows(self, start: int, stop: int) -> tuple[int, int]:
        self.share.cut(divide(stop - start, self.shares), self.processes.rank)
        return start + self.share.start, start + self.share.stop

    def _forward(self, inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        if len(targets):
            return super()._forward(inputs, targets)
        # A process without rows still has to take part in every exchange.
        with self._autocast():
            return self._answer(*(item.to(self.device) for item in inputs)).float().sum() * 0

    def _answering(self, model: nn.Module) -> nn.Module:
        return SharedAnswers(model, self.processes)


class SharedAnswers(nn.Module):
    """Each process answers for its rows of a batch, and all get all answers."""

    def __init__(self, model: nn.Module, processes: Processes) -> None:
        super().__init__()
        self.model, self.processes = model, processes

    def forward(self, *inputs: Tensor) -> Tensor:
        bounds = divide(len(inputs[0]), even_shares(self.processes.world_size))
        start, stop = bounds[self.processes.rank]
        own = self.model(*(item[start:stop] for item in inputs)).float()
        longest = max(end - begin for begin, end in bounds)
        padded = torch.cat([own, own.new_zeros(longest - len(own), *own.shape[1:])])
        answers = [torch.empty_like(padded) for _ in bounds]
        dist.all_gather(answers, padded)
        return torch.cat([part[: end - begin] for part, (begin, end) in zip(answers, bounds, strict=True)])
