"""How much a channel or a head does, by the size of the weights that make it, scale it and take it.

On a small residual network this lost less accuracy, once its normalisations had been renewed, than the first-order
change of the loss without the channel (Molchanov et al. 2019), whatever the amount; see docs/compression-methods.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workers.compression.methods.graph import Group
from workers.compression.methods.heads import Heads


@torch.no_grad()
def channel_importance(group: Group) -> Tensor:
    """float [count]: of each channel of `group`, the squares of its weights, each layer's on the scale of its mean."""
    total = torch.zeros(group.count)
    for sums, channels in [*group.scales(), *group.takers()]:
        total.index_add_(0, channels, (sums / sums.mean().clamp(min=1e-12)).float().cpu())
    return total


@torch.no_grad()
def head_importance(attention: Heads) -> Tensor:
    """float [heads]: the squares of the weights that take what each head gives."""
    columns = (attention.taker.weight**2).sum(dim=0)
    return columns.unflatten(0, (attention.count, -1)).sum(dim=1).cpu()
