"""Layers as products of thinner ones.

A linear layer, and a convolution of one pixel, becomes two by singular value decomposition. A larger convolution
becomes up to three by Tucker-2 decomposition (Kim et al. 2016, "Compression of Deep Convolutional Neural Networks for
Fast and Low Power Mobile Applications"), whose bases are the leading singular vectors of the kernel unfolded by outputs
and by inputs (HOSVD).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workers.compression.methods.base import Data, left_alone, replace, tied_layers, weighted_layers
from workers.compression.methods.statistics import renew_statistics
from workers.contract import ProgramFailure


@dataclass(frozen=True)
class Ranks:
    """How many numbers a layer passes on inside: after its `inputs`, and before its `outputs`.

    None is all of them, without a layer of their own. Only a convolution of several pixels can have both.
    """

    inputs: int | None
    outputs: int | None


class LowRank(nn.Sequential):
    """Stands for the layer `plain`, whose `ranks` are bounded. The weights are for who makes it to fill in."""

    def __init__(self, plain: nn.Module, ranks: Ranks) -> None:
        super().__init__(*_parts(plain, ranks))
        self.ranks = ranks


def prepare(model: nn.Module, step: Mapping[str, Any], data: Data) -> list[str]:
    """Replace every layer that has fewer multiplications at `step["energy"]` of its squared singular values.

    Raises ProgramFailure (nothing_to_compress) where that is none.
    """
    notes, tied, replaced = left_alone(model, "stays as it is"), tied_layers(model), 0
    for name, layer in list(weighted_layers(model)):
        reason = _reason_to_keep(layer, name in tied) if name else "it is the whole model"
        factors = None if reason else factorise(layer, step["energy"])
        if factors is not None:
            replace(model, name, factors)
            replaced += 1
        else:
            reason = reason or f"at {step['energy']:.2%} energy its parts would need as many multiplications"
            notes.append(f"{name} stays as it is: {reason}.")
    if not replaced:
        raise ProgramFailure(
            "nothing_to_compress",
            f"No layer of this model needs fewer multiplications at {step['energy']:.2%} energy.",
            hint="Keep less energy, or use another method.",
            blame="settings",
            field="energy",
        )
    renew_statistics(model, data)
    return notes


def convert(model: nn.Module, step: Mapping[str, Any]) -> list[str]:
    """The model is an ordinary one already."""
    return []


def _reason_to_keep(layer: nn.Module, is_tied: bool) -> str:
    if is_tied:
        return "it shares its weights with another layer"
    if getattr(layer, "groups", 1) > 1:
        return "it looks at each group of channels apart, and has little to share"
    return ""


@torch.no_grad()
def factorise(layer: nn.Module, energy: float) -> LowRank | None:
    """The product of thin layers nearest to `layer` that keeps `energy`; None where it would not be cheaper."""
    weight = layer.weight.double()
    outputs, sizes = torch.linalg.svd(weight.flatten(1), full_matrices=False)[:2]
    rank_out = rank_of(sizes, energy)
    if weight[0, 0].numel() == 1:
        candidates = [Ranks(None, rank_out)]
    else:
        unfolded = weight.transpose(0, 1).flatten(1)
        inputs, input_sizes = torch.linalg.svd(unfolded, full_matrices=False)[:2]
        rank_in = rank_of(input_sizes, energy)
        candidates = [Ranks(rank_in, rank_out), Ranks(rank_in, None), Ranks(None, rank_out)]
    best = min(candidates, key=lambda ranks: multiplications(layer, ranks))
    if multiplications(layer, best) >= multiplications(layer, Ranks(None, None)):
        return None
    factors = LowRank(layer, best).to(layer.weight)
    core, parts = weight, list(factors)
    if best.inputs is not None:
        basis = inputs[:, : best.inputs]  # [in, rank]
        core = torch.einsum("oi...,ir->or...", core, basis)
        parts.pop(0).weight.copy_(_like_kernel(basis.T, layer))
    if best.outputs is not None:
        basis = outputs[:, : best.outputs]  # [out, rank]
        core = torch.einsum("oi...,or->ri...", core, basis)
        parts.pop().weight.copy_(_like_kernel(basis, layer))
    parts[0].weight.copy_(core)
    if layer.bias is not None:
        factors[-1].bias.copy_(layer.bias)
    return factors


def rank_of(sizes: Tensor, energy: float) -> int:
    """How many of the singular values `sizes`, largest first, hold the share `energy` of their squares; at least 1."""
    shares = (sizes**2).cumsum(0) / (sizes**2).sum().clamp(min=torch.finfo(sizes.dtype).tiny)
    return min(len(sizes), int((shares < energy).sum()) + 1)


def multiplications(layer: nn.Module, ranks: Ranks) -> float:
    """For one place of the output; a first layer of one pixel works on all places of the input, before any stride."""
    outputs, inputs, *kernel = layer.weight.shape
    rank_in, rank_out = ranks.inputs or inputs, ranks.outputs or outputs
    total = rank_in * rank_out * math.prod(kernel)
    if ranks.inputs is not None:
        total += inputs * rank_in * math.prod(getattr(layer, "stride", (1,)))
    return total + (rank_out * outputs if ranks.outputs is not None else 0)


def _like_kernel(matrix: Tensor, layer: nn.Module) -> Tensor:
    return matrix.reshape(*matrix.shape, *[1] * (layer.weight.ndim - 2))


def _parts(plain: nn.Module, ranks: Ranks) -> list[nn.Module]:
    outputs, inputs = plain.weight.shape[:2]
    has_bias = plain.bias is not None
    if isinstance(plain, nn.Linear):
        return [nn.Linear(inputs, ranks.outputs, bias=False), nn.Linear(ranks.outputs, outputs, bias=has_bias)]
    kind = next(kind for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d) if isinstance(plain, kind))
    rank_in, rank_out = ranks.inputs or inputs, ranks.outputs or outputs
    core = kind(
        rank_in, rank_out, plain.kernel_size, plain.stride, plain.padding, plain.dilation,
        bias=has_bias and ranks.outputs is None, padding_mode=plain.padding_mode,
    )  # fmt: skip
    before = [] if ranks.inputs is None else [kind(inputs, rank_in, 1, bias=False)]
    after = [] if ranks.outputs is None else [kind(rank_out, outputs, 1, bias=has_bias)]
    return [*before, core, *after]
