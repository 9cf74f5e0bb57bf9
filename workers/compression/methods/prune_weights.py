"""Unstructured pruning: single weights become zero, smallest first, more and more while the model is tuned.

Zhu and Gupta 2017, "To prune, or not to prune": after step t of T the share amount * (1 - (1 - t / T)^3) is zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from workers.compression.methods.base import Data, left_alone, tied_layers, weighted_layers
from workers.compression.methods.statistics import renew_statistics
from workers.compression.recipes import TWO_OF_FOUR
from workers.contract import ProgramFailure

RAMP = 0.75  # of the fine-tuning steps; in the rest the model learns to live with what is gone
NEIGHBOURS = 4
TARGET = "weight"


class Mask(nn.Module):
    """What a weight is multiplied by: 0 where it is small, else 1.

    Each forward pass in training mode is one step of the schedule, of which `ramp` reach the whole `amount`. In eval
    mode the whole amount is gone from the start, so that what is judged between is what will be kept.
    """

    def __init__(self, amount: float, pattern: str, ramp: int) -> None:
        super().__init__()
        self.amount, self.pattern, self.ramp = amount, pattern, ramp
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, weight: Tensor) -> Tensor:
        if self.training:
            self.step += 1
        return weight * self.kept(weight.detach())

    def kept(self, weight: Tensor) -> Tensor:
        """bool like `weight`, of this step."""
        share = self.share_now()
        return keep_two_of_four(weight, share) if self.pattern == TWO_OF_FOUR else keep_largest(weight, share)

    def share_now(self) -> float:
        """The share of the weights that is zero now."""
        left = max(0.0, 1 - int(self.step) / self.ramp) if self.training and self.ramp else 0.0
        return self.amount * (1 - left**3)


def keep_largest(weight: Tensor, share: float) -> Tensor:
    """bool like `weight`: all but the share with the smallest magnitudes."""
    count = weight.numel() - round(share * weight.numel())
    kept = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
    kept[weight.abs().flatten().topk(count, sorted=False).indices] = True
    return kept.reshape(weight.shape)


def keep_two_of_four(weight: Tensor, share: float) -> Tensor:
    """bool like `weight` [outputs, inputs, ...]: of every 4 neighbouring inputs round(4 * share) go, the smallest."""
    groups = weight.abs().movedim(1, -1).unflatten(-1, (-1, NEIGHBOURS))
    # Of neighbours of the same size the earlier goes first.
    place = groups.argsort(dim=-1, stable=True).argsort(dim=-1)
    return (place >= round(NEIGHBOURS * share)).flatten(-2).movedim(-1, 1)


def prepare(model: nn.Module, step: Mapping[str, Any], data: Data) -> list[str]:
    """Put masks on the weights of all layers. With `data.steps` 0 their share goes at once.

    Raises ProgramFailure (nothing_to_compress) where no layer can take the pattern.
    """
    pattern, ramp = step["pattern"], math.ceil(RAMP * data.steps)
    notes, tied = left_alone(model, "keeps all its weights"), tied_layers(model)
    masked = {}
    for name, layer in weighted_layers(model):
        if reason := _reason_to_keep(layer, pattern, name in tied):
            notes.append(f"{name} keeps all its weights: {reason}.")
        else:
            masked[name] = layer
    if not masked:
        raise ProgramFailure(
            "nothing_to_compress",
            f"No layer of this model has weights that could be removed ({pattern}).",
            hint="Use another method, or the pattern any.",
            blame="settings",
            field="pattern",
        )
    if pattern == TWO_OF_FOUR:
        amounts = [0.5] * len(masked)
    else:
        amounts = share_by_layer([layer.weight for layer in masked.values()], step["amount"])
    for layer, amount in zip(masked.values(), amounts, strict=True):
        attach(layer, amount, pattern, ramp)
    if not ramp:
        renew_statistics(model, data)
    return notes


def attach(layer: nn.Module, amount: float, pattern: str, ramp: int) -> None:
    parametrize.register_parametrization(layer, TARGET, Mask(amount, pattern, ramp).train(layer.training), unsafe=True)


def mask_of(layer: nn.Module) -> Mask | None:
    """The mask on a layer's weight, where there is one."""
    parts = layer.parametrizations[TARGET] if parametrize.is_parametrized(layer, TARGET) else ()
    return next((part for part in parts if isinstance(part, Mask)), None)


def convert(model: nn.Module, step: Mapping[str, Any]) -> list[str]:
    """Make the zeros permanent."""
    for layer in list(model.modules()):
        if (mask := mask_of(layer)) is not None:
            mask.eval()
            parametrize.remove_parametrizations(layer, TARGET, leave_parametrized=True)
    return []


def share_by_layer(weights: Sequence[Tensor], amount: float) -> list[float]:
    """What share of each layer goes where `amount` of all weights go, those with the smallest scores first.

    A weight's score is its square over the sum of all squares in its layer that are not smaller (LAMP: Lee et al. 2021,
    "Layer-adaptive Sparsity for the Magnitude-based Pruning"), so that no layer loses its largest weight.
    """
    scores = [_scores(weight.detach().flatten().double()) for weight in weights]
    ranked = torch.cat(scores).sort().values
    threshold = ranked[min(len(ranked) - 1, round(amount * len(ranked)))]
    return [float((score < threshold).double().mean()) for score in scores]


def _scores(weights: Tensor) -> Tensor:
    """In ascending order."""
    squares = (weights**2).sort().values
    not_smaller = squares.flip(0).cumsum(0).flip(0)
    return squares / not_smaller.clamp(min=torch.finfo(squares.dtype).tiny)


def _reason_to_keep(layer: nn.Module, pattern: str, is_tied: bool) -> str:
    if is_tied:
        return "it shares them with another layer"
    if pattern == TWO_OF_FOUR and layer.weight.shape[1] % NEIGHBOURS:
        return f"its {layer.weight.shape[1]} inputs are not a multiple of four"
    return ""
