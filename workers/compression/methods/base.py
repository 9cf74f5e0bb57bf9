"""What every method gets and uses: data, the layers of a model by name, and sentences about what was left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

Inputs = tuple[Tensor, ...]

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # layers whose `weight` is [outputs, inputs, ...]


@dataclass(frozen=True)
class Data:
    """What a method may look at.

    `example` is a small real batch as the model takes it; `batches()` gives (inputs, targets) of a few hundred real
    items, each time alike. `steps` is how many training steps of fine-tuning follow, 0 where none do.
    """

    example: Inputs
    batches: Callable[[], Iterable[tuple[Inputs, Any]]]
    steps: int = 0


def weighted_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Linear layers and convolutions by name, but for those within a module that reads their weights itself."""
    inner = {id(child) for module in model.modules() if reads_weights(module) for child in module.modules()}
    for name, module in model.named_modules():
        if isinstance(module, WEIGHTED) and id(module) not in inner:
            yield name, module


def reads_weights(module: nn.Module) -> bool:
    return isinstance(module, (nn.MultiheadAttention, nn.RNNBase))


def tied_layers(model: nn.Module) -> set[str]:
    """Names of modules that share a parameter with another."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    return {name for names in owners.values() if len(names) > 1 for name in names}


def left_alone(model: nn.Module, what: str) -> list[str]:
    """A sentence for each layer that has many weights and is of a kind that no method of ours takes apart.

    `what` completes it, such as "keeps all its channels".
    """
    notes = []
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase):
            notes.append(f"{name} {what}: it is recurrent ({type(module).__name__}), and all its steps share it.")
        elif isinstance(module, nn.MultiheadAttention):
            notes.append(f"{name} {what}: it is an attention whose keys or values have a shape of their own.")
        elif isinstance(module, _ConvTransposeNd):
            notes.append(f"{name} {what}: it is a transposed convolution.")
    return notes


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where the one of this dotted name is. It takes over whether it trains."""
    parent, _, own = name.rpartition(".")
    holder = model.get_submodule(parent)
    setattr(holder, own, module.train(getattr(holder, own).training))


@torch.no_grad()
def answer(model: nn.Module, inputs: Inputs) -> Tensor:
    """What the model answers in eval mode; the modes of its modules stay as they are."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        return model.eval()(*inputs)
    finally:
        for module, mode in modes:
            module.training = mode
