"""How much the loss would change without a channel or a head, to first order.

A gate of 1 on a channel has the derivative sum(w * dL/dw) over the weights that take the channel. Its square, summed
over batches, is the channel's importance (Molchanov et al. 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from workers.compression.methods.base import Data
from workers.compression.methods.graph import Group
from workers.compression.methods.heads import Heads


def channel_importance(model: nn.Module, groups: Sequence[Group], data: Data) -> list[Tensor]:
    """For each group float [count]."""
    scores = [torch.zeros(group.count) for group in groups]
    for _ in _descents(model, data):
        for group, score in zip(groups, scores, strict=True):
            gates = torch.zeros(group.count)
            for consumer in group.consumers:
                gates.index_add_(0, consumer.channels, consumer.column_sums(_slopes(consumer.layer)).cpu())
            score += gates**2
    return scores


def head_importance(model: nn.Module, attentions: Sequence[Heads], data: Data) -> list[Tensor]:
    """For each attention float [heads]."""
    scores = [torch.zeros(attention.count) for attention in attentions]
    if not attentions:
        return scores
    for _ in _descents(model, data):
        for attention, score in zip(attentions, scores, strict=True):
            columns = _slopes(attention.taker).sum(dim=0).cpu()
            score += columns.unflatten(0, (attention.count, -1)).sum(dim=1) ** 2
    return scores


def _slopes(layer: nn.Module) -> Tensor:
    if layer.weight.grad is None:
        return torch.zeros_like(layer.weight)
    return layer.weight.detach() * layer.weight.grad


def _descents(model: nn.Module, data: Data) -> Iterator[None]:
    """One backward pass for each batch; the gradients are there until the next. The model is as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for inputs, targets in data.batches():
            model.zero_grad(set_to_none=True)
            data.loss(model(*inputs), targets).backward()
            yield
    finally:
        model.zero_grad(set_to_none=True)
        for module, mode in modes:
            module.training = mode
