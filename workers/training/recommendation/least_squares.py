"""Alternating least squares: the best vectors of one side while those of the other stand still."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from workers.training.recommendation.sparse import Part

Weights = Callable[[Part], tuple[Tensor, Tensor]]


def solve_parts(
    parts: Iterable[Part], fixed: Tensor, count: int, weigh: Weights, pull: Callable[[Tensor], Tensor],
    shared: Tensor | float = 0.0,
) -> Tensor:  # fmt: skip
    """float32 [count, f]: for each row the x that minimises the sum over its entries of w (t - x·fixed_c)², plus
    xᵀ(shared + diag(pull)) x; 0 for rows without entries.

    `weigh` gives w and t [b, L] of a part, `pull` the regularisation [b, f] for rows of these lengths [b], and `shared`
    [f, f] what all rows have in common.
    """
    found = torch.zeros(count, fixed.shape[1], device=fixed.device)
    for part in parts:
        taken = fixed[part.columns]
        weights, targets = weigh(part)
        weighted = taken * weights[..., None]
        left = weighted.transpose(1, 2) @ taken + shared
        left = left + torch.diag_embed(pull(part.is_there.sum(dim=1)))
        right = (weighted * targets[..., None]).sum(dim=1)
        found[part.rows] = torch.linalg.solve(left, right[..., None])[..., 0]
    return found
