"""Layers that look at a batch as a whole, for processes that hold only their rows of it.

torch.nn.SyncBatchNorm does the first on GPUs alone; these run wherever the model does.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


class Share:
    """This process's rows, `start` to `stop`, of the micro-batch of `count` that is under way.

    Copies of a model look at the same one.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group, self.count, self.start, self.stop = group, 0, 0, 0

    def cut(self, count: int, start: int, stop: int) -> None:
        self.count, self.start, self.stop = count, start, stop

    def __deepcopy__(self, memo: dict[int, Any]) -> Share:
        return self


def synchronize(model: nn.Module, share: Share) -> nn.Module:
    """Make every batch normalisation and dropout in `model` treat the rows of all processes as one batch, in place.

    Modules that have a method `synchronize` are given `share` by it. The names in its state dict stay as they are.
    """
    for name, child in list(model.named_children()):
        synchronize(child, share)
        if isinstance(child, _BatchNorm):
            setattr(model, name, SynchronizedBatchNorm(child, share))
        elif isinstance(child, _DropoutNd):
            setattr(model, name, SharedDropout(child, share))
        elif hasattr(child, "synchronize"):
            child.synchronize(share)
    return model


class SharedDropout(nn.Module):
    """Draws for all rows of the batch, as one process would, and takes this process's.

    All processes must have seeded torch alike, and so stay alike.
    """

    def __init__(self, dropout: _DropoutNd, share: Share) -> None:
        super().__init__()
        self.dropout, self.share = dropout, share

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or not self.dropout.p:
            return values
        kept = self.dropout(values.new_ones(self.share.count, *values.shape[1:]))
        return values * kept[self.share.start : self.share.stop]


class SynchronizedBatchNorm(_BatchNorm):
    """Batch normalisation with the mean and variance over the rows of all processes.

    It has the parameters and buffers of the layer it stands for, and leaves in them what one process would have. What
    was hung on that layer hangs on this one.
    """

    def __init__(self, norm: _BatchNorm, share: Share) -> None:
        nn.Module.__init__(self)
        for name in ("num_features", "eps", "momentum", "affine", "track_running_stats"):
            setattr(self, name, getattr(norm, name))
        for name in ("weight", "bias"):
            self.register_parameter(name, getattr(norm, name))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        for name, module in norm.named_children():
            self.add_module(name, module)
        self._forward_hooks.update(norm._forward_hooks)
        self.share = share

    def _check_input_dim(self, input: Tensor) -> None:
        """Any [N, C, ...] will do."""

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return super().forward(values)
        normal, mean, variance, count = _Normalize.apply(values, self.weight, self.bias, self.eps, self.share.group)
        if self.track_running_stats:
            self._follow(mean, variance * (count / (count - 1).clamp(min=1)))
        return normal

    @torch.no_grad()
    def _follow(self, mean: Tensor, unbiased: Tensor) -> None:
        self.num_batches_tracked += 1
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(unbiased, rate)


class _Normalize(torch.autograd.Function):
    """[N, C, ...] to (values - mean) / sqrt(variance + eps) * weight + bias over the rows of all processes.

    Means and squared deviations of the processes are put together as by Chan, Golub and LeVeque (1979). The gradient is
    that of batch normalisation (Ioffe and Szegedy 2015, section 3), whose two sums go over all processes; those of
    weight and bias are left to be summed with all other gradients. torch's own kernels go over the values, which is
    twice as fast as to spell it out.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        group: dist.ProcessGroup | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count, own_mean, spread = _moments(values)
        gathered = _gather(torch.cat([count, own_mean, spread]), group)
        counts, means, spreads = gathered.split([1, len(own_mean), len(own_mean)], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(dim=0) / total
        variance = (spreads + counts * (means - mean) ** 2).sum(dim=0) / total
        ctx.save_for_backward(values, mean, torch.rsqrt(variance + eps), weight, total)
        ctx.group, ctx.eps = group, eps
        ctx.mark_non_differentiable(mean, variance, total)
        return F.batch_norm(values, mean, variance, weight, bias, training=False, eps=eps), mean, variance, total

    @staticmethod
    def backward(ctx: Any, slope: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        values, mean, scale, weight, total = ctx.saved_tensors
        own = _sums(slope, values, mean, scale, ctx.eps)
        sums = own.clone()
        dist.all_reduce(sums, group=ctx.group)
        factor = scale if weight is None else scale * weight.float()
        # factor * (slope - (sums[0] + (values - mean) * scale * sums[1]) / total)
        along, steepness = _along(values), scale * sums[1] / total
        gradient = (values - mean.view(along)).mul_(steepness.view(along)).add_((sums[0] / total).view(along))
        gradient = torch.sub(slope, gradient, out=gradient).mul_(factor.view(along))
        gradient = gradient.to(values.dtype)
        if weight is None:
            return gradient, None, None, None, None
        return gradient, own[1].to(weight.dtype), own[0].to(weight.dtype), None, None


def _moments(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How many values each channel of [N, C, ...] has [1], their means [C], and their summed squared deviations [C]."""
    channels = values.shape[1]
    count = values.numel() // channels
    held = torch.tensor([count], dtype=torch.float32, device=values.device)
    if not count:
        nothing = torch.zeros(channels, device=values.device)
        return held, nothing, nothing
    others = [dimension for dimension in range(values.ndim) if dimension != 1]
    # torch.var_mean takes ten times as long on a CPU.
    mean = values.sum(others, dtype=torch.float32) / count
    centred = values - mean.view(_along(values))
    return held, mean, centred.square_().sum(others)


def _along(values: Tensor) -> tuple[int, ...]:
    """The shape of a number for each channel of [N, C, ...]."""
    return (1, -1) + (1,) * (values.ndim - 2)


def _sums(slope: Tensor, values: Tensor, mean: Tensor, scale: Tensor, eps: float) -> Tensor:
    """For each channel the sum of the slopes, and that of slope times normalised value [2, C]."""
    if not slope.numel():
        return torch.zeros(2, len(mean), device=slope.device)
    _, products, slopes = torch.ops.aten.native_batch_norm_backward(
        slope.contiguous(), values.contiguous(), None, None, None, mean, scale, True, eps, [False, True, True]
    )
    return torch.stack([slopes.float(), products.float()])


def _gather(values: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """[F] of every process as [processes, F]."""
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, values, group=group)
    return torch.stack(gathered)


def copy_structure(model: nn.Module) -> nn.Module:
    """A copy of `model` whose modules can be changed apart from it, with the same tensors in the same memory."""
    tensors = [*model.parameters(), *model.buffers()]
    return deepcopy(model, {id(tensor): tensor for tensor in tensors})
