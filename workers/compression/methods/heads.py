"""Attentions of any class whose heads can be told apart: linear layers, and an attribute that says how many heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from workers.compression.methods.base import Inputs, answer
from workers.compression.methods.trying import attempt, zeroed

ATTRIBUTES = ("heads", "num_heads", "n_heads", "n_head", "num_attention_heads")


@dataclass(frozen=True)
class Heads:
    """An attention `module` of `count` heads, as its attribute `attribute` says; `size` numbers come of each.

    `makers` are the layers that make queries, keys and values, one of all or three; `taker` takes what the heads give.
    """

    name: str
    module: nn.Module
    attribute: str
    makers: tuple[nn.Linear, ...]
    taker: nn.Linear

    @property
    def count(self) -> int:
        return getattr(self.module, self.attribute)

    @property
    def size(self) -> int:
        return self.taker.in_features // self.count


def find_heads(model: nn.Module) -> list[Heads]:
    """Every attention of more than one head that is made of linear layers."""
    return [found for name, module in model.named_modules() if (found := _read(name, module)) is not None]


def head_attribute(module: nn.Module) -> str:
    """The name of the attribute that holds the number of heads; empty where there is none."""
    return next((name for name in ATTRIBUTES if type(getattr(module, name, None)) is int), "")


def _read(name: str, module: nn.Module) -> Heads | None:
    attribute = head_attribute(module)
    if not attribute or isinstance(module, nn.MultiheadAttention) or getattr(module, attribute) < 2:
        return None
    layers = [child for child in module.children() if isinstance(child, nn.Linear)]
    for taker in reversed(layers):
        inner = taker.in_features
        others = [layer for layer in layers if layer is not taker]
        joint = [layer for layer in others if layer.out_features == 3 * inner]
        makers = joint[:1] or [layer for layer in others if layer.out_features == inner][:3]
        if inner % getattr(module, attribute) == 0 and len(makers) in (1, 3) and (joint or len(makers) == 3):
            return Heads(name, module, attribute, tuple(makers), taker)
    return None


def remove_heads(model: nn.Module, attention: Heads, gone: Tensor, example: Inputs) -> bool:
    """Remove the heads of these numbers; False, and nothing changed, where no known order of the weights is this one's.

    The order is right when the model answers as it did with nothing coming from the heads that go.
    """
    columns = torch.isin(torch.arange(attention.count), gone).repeat_interleave(attention.size).nonzero().flatten()
    with zeroed([(attention.taker.weight, columns)]):
        wanted = answer(model, example)
    return any(
        attempt(model, example, partial(_remove, attention, gone, rows), wanted, wanted.shape)
        for rows in _orders(attention, gone)
    )


def _orders(attention: Heads, gone: Tensor) -> Iterator[Tensor]:
    """The rows of a maker that stay, for each order in which queries, keys and values can stand in it."""
    count, size = attention.count, attention.size
    stays = ~torch.isin(torch.arange(count), gone)
    by_head = stays.repeat_interleave(size)
    if len(attention.makers) == 3:
        yield by_head
        return
    yield by_head.repeat(3)  # [3, heads, size]
    yield stays.repeat_interleave(3 * size)  # [heads, 3, size]


@torch.no_grad()
def _remove(attention: Heads, gone: Tensor, rows: Tensor) -> None:
    stays = ~torch.isin(torch.arange(attention.count), gone)
    columns, left = stays.repeat_interleave(attention.size), int(stays.sum())
    for layer in attention.makers:
        layer.weight = nn.Parameter(layer.weight[rows.to(layer.weight.device)])
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias[rows.to(layer.weight.device)])
        layer.out_features = layer.weight.shape[0]
    attention.taker.weight = nn.Parameter(attention.taker.weight[:, columns.to(attention.taker.weight.device)])
    attention.taker.in_features = attention.taker.weight.shape[1]
    setattr(attention.module, attention.attribute, left)
