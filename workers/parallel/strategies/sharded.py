"""What FSDP and pipelines have in common: no process holds the whole model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from workers.contract import ProgramFailure
from workers.parallel.strategies.base import Strategy
from workers.training.batches import Batches
from workers.training.losses import Loss


class Sharded(Strategy):
    """While it is trained, the model that `prepare` was given keeps its form and no weights; at the end the first
    process puts them together in it."""

    has_own_parts = True

    def prepare(
        self, model: nn.Module, batches: Batches, loss: Loss, hyperparameters: Mapping[str, Any], device: str
    ) -> Batches:
        if hyperparameters["mixed_precision"] == "fp16":
            message = f"mixed_precision is fp16, which does not go together with {self.name}."
            hint = "Set mixed_precision to bf16."
            raise ProgramFailure("unsupported_precision", message, hint=hint, blame="settings", field="mixed_precision")
        batches = super().prepare(model, batches, loss, hyperparameters, device)
        model.to("meta")
        return batches

    @property
    def layout(self) -> dict[str, Any]:
        return {"strategy": self.name, "world_size": self.plan.world_size}

    def _clip_gradients(self) -> None:
        """Cut the gradient of the whole model to `max_grad_norm`, as torch.nn.utils.clip_grad_norm_ does."""
        longest = self.hyperparameters["max_grad_norm"]
        if not longest:
            return
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        gradients = [self.pieces.own(parameter.grad) for parameter in parameters]
        square = torch.stack([gradient.float().square().sum() for gradient in gradients]).sum().to(self.device)
        dist.all_reduce(square)
        factor = (longest / (square.sqrt() + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, factor.to(gradients[0].device))

    def _fused_best(self) -> dict[str, Tensor]:
        """The best weights of the whole model on the CPU of the first process; what the others get is not used."""
        raise NotImplementedError

    def finish(self) -> None:
        fused = self._fused_best()
        if self.processes.is_first:
            self.original.load_state_dict(fused, assign=True)
            self.original.to(self.device).eval()
