"""Local SGD with an outer step (DiLoCo, Douillard et al. 2023, algorithm 1), for machines that are badly connected.

Each process goes its own way through its own examples for `sync_every` steps. Then all go from where they started
together by one Nesterov step along the mean of their ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workers.contract import ProgramFailure
from workers.parallel.plan import BY_SOURCE, LOCAL_SGD
from workers.parallel.shares import deal_by_group, deal_stratified, even_shares
from workers.parallel.strategies.base import Strategy
from workers.parallel.strategies.data_parallel import SharedAnswers
from workers.parallel.words import average_buffers, weighted_sum
from workers.training.batches import Batch, Batches
from workers.training.losses import Loss

OUTER = "outer."


class LocalSgd(Strategy):
    """Every mean over processes weighs each by the number of its examples.

    Processes meet every `sync_every` steps and at the end of every epoch, and only then can they leave together.
    Buffers such as the statistics of batch normalisation are averaged; the moving average follows what was agreed on.
    """

    name = LOCAL_SGD
    has_own_parts = True

    def prepare(
        self, model: nn.Module, batches: Batches, loss: Loss, hyperparameters: Mapping[str, Any], device: str
    ) -> Batches:
        super().prepare(model, batches, loss, hyperparameters, device)
        self.losses: list[float] = []
        self.anchor = [nn.Parameter(parameter.detach().clone()) for parameter in self.model.parameters()]
        momentum = self.plan.outer_momentum
        self.outer = torch.optim.SGD(
            self.anchor, lr=self.plan.outer_learning_rate, momentum=momentum, nesterov=momentum > 0
        )
        own = self._deal(batches)
        self.share = len(own) / len(batches.targets)
        # Another seed for each, or all would change their examples alike.
        self.batches = batches.of(own, seed=batches.seed + 7919 * self.processes.rank)
        return self.batches

    def _deal(self, batches: Batches) -> np.ndarray:
        shares = self.plan.shares or even_shares(self.plan.world_size)
        if self.plan.sharding == BY_SOURCE and batches.groups is not None:
            dealt = deal_by_group(batches.groups, shares)
        else:
            dealt = deal_stratified(batches.targets.numpy(), shares, batches.seed)
        if min(map(len, dealt)) < len(batches):
            message = f"One of {len(shares)} processes would have only {min(map(len, dealt))} of the examples."
            hint = "Use fewer processes, or deal the examples out by class and not by source."
            raise ProgramFailure("too_few_examples", message, hint=hint, blame="settings")
        return dealt[self.processes.rank]

    @property
    def layout(self) -> dict[str, Any]:
        return {"strategy": self.name, "world_size": self.plan.world_size}

    # Steps

    def agree(self, *flags: bool) -> list[bool]:
        return [False] * len(flags) if self.losses else super().agree(*flags)

    def step(self, batch: Batch, number: int, learning_rate: float) -> list[float]:
        self.losses += super().step(batch, number, learning_rate)
        if len(self.losses) < self.plan.sync_every and number % len(self.batches):
            return []
        known, self.losses = self.processes.sum([self.share * loss for loss in self.losses]), []
        self._meet()
        if self.average:
            self.average.update(self.model, number, steps=len(known))
        return known

    def _follow(self, number: int) -> None:
        """Not before all have met."""

    @torch.no_grad()
    def _meet(self) -> None:
        """The outer step, and one mean of the buffers for all."""
        parameters = list(self.model.parameters())
        for anchor, mean in zip(self.anchor, weighted_sum(parameters, self.share), strict=True):
            anchor.grad = anchor - mean
        self.outer.step()
        torch._foreach_copy_(parameters, self.anchor)
        average_buffers(self.model, self.share)

    def _answering(self, model: nn.Module) -> nn.Module:
        return SharedAnswers(model, self.processes)

    # State

    def export_state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, plain = super().export_state()
        for name, anchor in self._named_anchors():
            if (momentum := self.outer.state[anchor].get("momentum_buffer")) is not None:
                arrays[OUTER + name] = momentum.cpu().numpy()
        return arrays, plain

    @torch.no_grad()
    def import_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        super().import_state(tensors, plain)
        torch._foreach_copy_(self.anchor, list(self.model.parameters()))
        for name, anchor in self._named_anchors():
            if OUTER + name in tensors:
                self.outer.state[anchor]["momentum_buffer"] = tensors[OUTER + name].to(anchor.device)

    def _named_anchors(self) -> list[tuple[str, Tensor]]:
        return [(name, anchor) for (name, _), anchor in zip(self.model.named_parameters(), self.anchor, strict=True)]
