"""Quantisation-aware training: the model learns while it computes with the rounding that int8 will bring.

Weights are rounded as ONNX Runtime's static quantisation will round them: symmetric, to -127 ... 127, one scale for
each output channel. A normalisation that will be folded into the weights multiplies a channel and its scale alike, so
that the rounding is the same before and after. Activations are rounded to 256 steps between their extremes, one range
for each tensor. Gradients pass as if nothing were rounded, where nothing is cut off (Jacob et al. 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from workers.compression.methods.base import Data, answer, left_alone, tied_layers, weighted_layers
from workers.contract import ProgramFailure

LARGEST_WEIGHT = 127
SMALLEST_SCALE = 1e-12
STEPS = 255
RATE = 0.1  # at which ranges follow the extremes of a batch: fine-tuning may be a few dozen steps long
INPUT, OUTPUT, TARGET = "input_range", "output_range", "weight"


def rounded(values: Tensor, scale: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """`values` at the nearest multiples of `scale` from `lowest` to `highest` times it, an even one between two.

    The gradient is 1 within that range and 0 outside.
    """
    inside = (values / scale).clamp(lowest, highest)
    return (inside + (inside.round() - inside).detach()) * scale


class RoundedWeight(nn.Module):
    """A weight [outputs, ...] as int8 will hold it. Where `kept` is given, weights outside of it stay zero."""

    def __init__(self, kept: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("kept", kept)

    def forward(self, weight: Tensor) -> Tensor:
        if self.kept is not None:
            weight = weight * self.kept
        largest = weight.detach().abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True)
        scales = (largest / LARGEST_WEIGHT).clamp(min=SMALLEST_SCALE)
        bound = torch.full_like(scales, LARGEST_WEIGHT)
        return rounded(weight, scales, -bound, bound)


class MovingRange(nn.Module):
    """Rounds a tensor to 256 steps between extremes that follow those of the batches it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.is_observing, self.share = False, None

    def forward(self, values: Tensor) -> Tensor:
        values = values.float()  # half precision has no room for 256 steps
        if self.is_observing:
            self._follow(values, 1.0)
            return values
        if self.training:
            self._follow(values, RATE)
        scale = ((self.high - self.low) / STEPS).clamp(min=SMALLEST_SCALE)
        lowest = (self.low / scale).round()
        return rounded(values, scale, lowest, lowest + STEPS)

    @torch.no_grad()
    def _follow(self, values: Tensor, rate: float) -> None:
        """Zero is always within the range, as int8 needs it to be."""
        extremes = torch.zeros(2, device=self.low.device)
        if values.numel():
            extremes = torch.stack([-values.amin(), values.amax()]).clamp(min=0)
        if self.share is not None:
            dist.all_reduce(extremes, op=dist.ReduceOp.MAX, group=self.share.group)
        low, high = -extremes[0], extremes[1]
        if self.is_observing:
            low, high = torch.minimum(low, self.low), torch.maximum(high, self.high)
        self.low.lerp_(low, rate)
        self.high.lerp_(high, rate)

    def synchronize(self, share: Any) -> None:
        """From now on the extremes are those of the rows of all processes."""
        self.share = share


def prepare(model: nn.Module, step: Mapping[str, Any], data: Data) -> list[str]:
    """Make all layers compute as if in int8. Raises ProgramFailure (nothing_to_compress) where there is none."""
    tied = tied_layers(model)
    layers = {name: layer for name, layer in weighted_layers(model) if name not in tied}
    if not layers:
        raise ProgramFailure(
            "nothing_to_compress",
            "No layer of this model has weights that int8 could round.",
            hint="Deploy it as it is, or use another method.",
            blame="settings",
        )
    ends = _open_ends(model, layers, data)
    for layer in layers.values():
        attach_input(layer)
    for module in ends:
        attach_output(module)
    _find_ranges(model, data)
    for layer in layers.values():
        attach_weight(layer, _zeros_to_keep(layer))
    notes = left_alone(model, "is tuned with 32-bit numbers")
    return notes + [f"{name} is tuned with 32-bit numbers: it shares its weights." for name in sorted(tied)]


def attach_input(layer: nn.Module) -> None:
    layer.add_module(INPUT, MovingRange())
    layer.register_forward_pre_hook(round_input)


def attach_output(module: nn.Module) -> None:
    module.add_module(OUTPUT, MovingRange())
    module.register_forward_hook(round_output)


def _zeros_to_keep(layer: nn.Module) -> Tensor | None:
    """Zeros among other weights were made on purpose: what learns is next to never exactly zero."""
    kept = layer.weight.detach() != 0
    return kept if bool(kept.any()) and not bool(kept.all()) else None


def attach_weight(layer: nn.Module, kept: Tensor | None) -> None:
    parametrize.register_parametrization(layer, TARGET, RoundedWeight(kept).train(layer.training), unsafe=True)


def round_input(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (getattr(layer, INPUT)(inputs[0]), *inputs[1:])


def round_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return getattr(module, OUTPUT)(output)


def convert(model: nn.Module, step: Mapping[str, Any]) -> list[str]:
    """Take all rounding away again: what int8 needs is in the weights now. Zeros that were kept had no gradient."""
    for module in list(model.modules()):
        for name, hooks, hook in (
            (INPUT, module._forward_pre_hooks, round_input),
            (OUTPUT, module._forward_hooks, round_output),
        ):
            if name in module._modules:
                del module._modules[name]
                for key in [key for key, value in hooks.items() if value is hook]:
                    del hooks[key]
        if rounding_of(module) is not None:
            parametrize.remove_parametrizations(module, TARGET, leave_parametrized=False)
    return []


def rounding_of(layer: nn.Module) -> RoundedWeight | None:
    """What rounds a layer's weight, where something does."""
    parts = layer.parametrizations[TARGET] if parametrize.is_parametrized(layer, TARGET) else ()
    return next((part for part in parts if isinstance(part, RoundedWeight)), None)


def _find_ranges(model: nn.Module, data: Data) -> None:
    """The extremes over all of `data`, of the model while nothing in it is rounded."""
    ranges = [module for module in model.modules() if isinstance(module, MovingRange)]
    for item in ranges:
        item.is_observing = True
    for inputs, _ in data.batches():
        answer(model, inputs)
    for item in ranges:
        item.is_observing = False


def _open_ends(model: nn.Module, layers: Mapping[str, nn.Module], data: Data) -> list[nn.Module]:
    """Layers and normalisations whose output no module takes as it is, such as what is added to a shortcut.

    What a module takes is rounded there, or after it; the answer itself is not rounded.
    """
    made: dict[int, tuple[nn.Module, Tensor]] = {}
    makers = [module for module in model.modules() if isinstance(module, _BatchNorm)] + list(layers.values())

    def take(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        for item in inputs:
            made.pop(id(item), None)

    def make(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        made[id(output)] = (module, output)  # which keeps the tensor, and so its id

    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [module.register_forward_pre_hook(take) for module in leaves]
    hooks += [module.register_forward_hook(make) for module in makers]
    try:
        said = answer(model, data.example)
    finally:
        for hook in hooks:
            hook.remove()
    made.pop(id(said), None)
    return [module for module, _ in made.values()]
