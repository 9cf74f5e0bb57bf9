"""Optimisers, the course of the learning rate, and the moving average of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from workers.training.state import WHOLE, Pieces

STEP_FACTOR = 0.1
STEP_PARTS = 3
SLOWNESS = "rate_factor"  # of a parameter, and of a group of them in an optimiser


def make_optimizer(model: nn.Module, hyperparameters: Mapping[str, Any], *, is_fused: bool = True) -> Optimizer:
    """The optimiser by its usual name; biases and normalisation weights are not decayed.

    `is_fused` makes one pass over all weights in place of one kernel for each operation; the arithmetic is the same.
    torch has no such pass over slices of weights.
    """
    groups = _groups(model, hyperparameters["weight_decay"])
    rate = hyperparameters["learning_rate"]
    if hyperparameters["optimizer"] == "sgd":
        momentum = hyperparameters["momentum"]
        return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0, fused=is_fused)
    family = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[hyperparameters["optimizer"]]
    return family(groups, lr=rate, fused=is_fused)


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters that learn, those together that are decayed alike and learn alike fast."""
    found: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            found.setdefault((parameter.ndim > 1, getattr(parameter, SLOWNESS, 1.0)), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if is_decayed else 0.0, SLOWNESS: factor}
        for (is_decayed, factor), parameters in found.items()
    ]


def learn_slower(parameter: nn.Parameter, factor: float) -> None:
    """From now on optimisers move `parameter` by `factor` times the learning rate of the others."""
    setattr(parameter, SLOWNESS, factor)


def learning_rate_factor(scheduler: str, step: int, steps: int, warmup_ratio: float) -> float:
    """What the learning rate is multiplied by in step `step` (from 0) of `steps`: it rises to 1 and then falls.

    `step` divides the rest into three parts, each with a tenth of the rate before it.
    """
    warmup = round(warmup_ratio * steps)
    if step < warmup:
        return (step + 1) / warmup
    passed = (step - warmup) / max(1, steps - warmup)
    if scheduler == "cosine":
        return 0.5 * (1 + math.cos(math.pi * passed))
    if scheduler == "linear":
        return 1 - passed
    return STEP_FACTOR ** math.floor(passed * STEP_PARTS) if scheduler == "step" else 1.0


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(SLOWNESS, 1.0)


class MovingAverage:
    """An exponential moving average of a model's weights and buffers, often better than the last weights.

    `model` is a copy of the one that is trained, divided alike, and holds the average from now on. The decay grows from
    0.1 to `decay` over the first steps, so that the random start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float, pieces: Pieces = WHOLE) -> None:
        self.decay, self.pieces = decay, pieces
        self.model = model.eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int, steps: int = 1) -> None:
        """Take in the weights that `model` has after `step` steps (from 1), `steps` after the last time."""
        share = 1 - min(self.decay, step / (step + 9)) ** steps
        floats: list[tuple[Tensor, Tensor]] = []
        for pair in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            kept, new = (self.pieces.own(value) for value in pair)
            if kept.is_floating_point():
                floats.append((kept, new))
            else:
                kept.copy_(new)
        torch._foreach_lerp_([kept for kept, _ in floats], [new for _, new in floats], share)
