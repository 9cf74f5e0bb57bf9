"""What processes tell each other in the middle of a step, where all of them wait for the answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from workers.parallel.costs import MOST_DIRECT


def exchange(values: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """[F] of every process of `group` as [processes, F], by rank.

    A few processes on CPUs send theirs straight to each other: for a hundred numbers gloo's collectives take three to
    eight times as long, as they hand each of several rounds to a thread of their own. Raises RuntimeError where another
    process is gone.
    """
    world_size, own = dist.get_world_size(group), dist.get_rank(group)
    given = values.new_empty(world_size, *values.shape)
    if values.device.type != "cpu" or world_size > MOST_DIRECT:
        dist.all_gather(list(given.unbind()), values, group=group)
        return given
    others = [rank for rank in range(world_size) if rank != own]
    on_their_way = [dist.isend(values, group=group, group_dst=rank) for rank in others]
    on_their_way += [dist.irecv(given[rank], group=group, group_src=rank) for rank in others]
    given[own] = values
    for message in on_their_way:
        message.wait()
    return given


def weighted_sum(tensors: Sequence[Tensor], weight: float) -> list[Tensor]:
    """Each of `tensors` times this process's `weight`, summed over all processes, in one exchange."""
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors]) * weight
    dist.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


@torch.no_grad()
def average_buffers(model: nn.Module, weight: float) -> None:
    """Running statistics and the like become the mean of those of all processes, of which this one's has `weight`."""
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if buffers:
        torch._foreach_copy_(buffers, weighted_sum(buffers, weight))
