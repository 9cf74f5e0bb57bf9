"""Layers that look at a batch as a whole, for processes that hold only their rows of it.

torch.nn.SyncBatchNorm does the first on GPUs alone; these run wherever the model does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from workers.parallel.shares import Bounds
from workers.parallel.words import exchange


class Share:
    """This process's rows, `start` to `stop`, of the micro-batch of `count` that is under way.

    `parts` [processes, 1] are how much of it each process has. Copies of a model look at the same one.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group, self.count, self.start, self.stop = group, 0, 0, 0

    def cut(self, bounds: Sequence[Bounds], own: int) -> None:
        """From now on process r has the rows of `bounds[r]`, and this one is process `own`."""
        self.count, (self.start, self.stop) = bounds[-1][1], bounds[own]
        self.parts = torch.tensor([[(stop - start) / self.count] for start, stop in bounds])

    def __deepcopy__(self, memo: dict[int, Any]) -> Share:
        return self


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


class _Norm(_BatchNorm):
    """Has the parameters and buffers of the batch normalisation that it stands for, and what was hung on that."""

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


class OwnBatchNorm(_Norm):
    """Batch normalisation with the mean and variance over this process's rows, as DistributedDataParallel by itself
    has it. Where there are too few of them for a variance, the running statistics stand in."""

    def forward(self, values: Tensor) -> Tensor:
        if self.training and values.numel() <= self.num_features:
            running = self.running_mean, self.running_var
            return F.batch_norm(values, *running, self.weight, self.bias, training=False, eps=self.eps)
        return super().forward(values)


class SynchronizedBatchNorm(_Norm):
    """Batch normalisation with the mean and variance over the rows of all processes; it leaves in its buffers what one
    process would have."""

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return super().forward(values)
        normal, mean, variance = _Normalize.apply(values, self.weight, self.bias, self.eps, self.share)
        if self.track_running_stats:
            count = self.share.count * math.prod(values.shape[2:])
            self._follow(mean, variance * (count / max(1, count - 1)))
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
    weight and bias are left to be summed with all other gradients. torch's own kernels go over the values, hardly more
    often than without the exchange: twice forward and three times backward.
    """

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, share: Share
    ) -> tuple[Tensor, Tensor, Tensor]:
        told, parts = exchange(_moments(values), share.group), share.parts.to(values.device)
        channels = values.shape[1]
        mean, variance = (parts * told).sum(dim=0).view(2, channels)
        variance = variance + (parts * (told[:, :channels] - mean).square_()).sum(dim=0)
        ctx.save_for_backward(values, mean, variance, weight)
        ctx.share, ctx.eps = share, eps
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(values, mean, variance, weight, bias, training=False, eps=eps), mean, variance

    @staticmethod
    def backward(ctx: Any, slope: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        values, mean, variance, weight = ctx.saved_tensors
        scale = torch.rsqrt(variance + ctx.eps)
        slope = _laid_out_like(values, slope)
        own = _sums(slope, values, mean, scale, ctx.eps)
        sums = exchange(own, ctx.share.group).sum(dim=0)
        # factor * (slope - (sums[0] + normalised * sums[1]) / total), of which all but the slope is a normalisation too
        factor = scale if weight is None else scale * weight.float()
        shift, steepness = sums * (factor / -(ctx.share.count * math.prod(values.shape[2:])))
        gradient = F.batch_norm(values, mean, variance, steepness, shift, training=False, eps=ctx.eps)
        gradient.addcmul_(slope, factor.to(values.dtype).view((1, -1) + (1,) * (values.ndim - 2)))
        if weight is None:
            return gradient, None, None, None, None
        return gradient, own[1].to(weight.dtype), own[0].to(weight.dtype), None, None


def _moments(values: Tensor) -> Tensor:
    """The mean of each channel of [N, C, ...], and then the variance of each [2 C]; zeros where there is no row."""
    channels = values.shape[1]
    nothing = torch.zeros(2 * channels, device=values.device)
    if not values.numel():
        return nothing
    # Running statistics in 32 bits, though nobody reads them, have the kernel sum up in 32 bits whatever the values.
    return torch.cat(torch.batch_norm_update_stats(values, nothing[:channels], nothing[channels:], 0.0))


def _laid_out_like(values: Tensor, slope: Tensor) -> Tensor:
    """`slope` with its numbers in the order of `values`, where kernels go over both at once fastest."""
    for order in (torch.contiguous_format, torch.channels_last, torch.channels_last_3d):
        if values.is_contiguous(memory_format=order):
            return slope.contiguous(memory_format=order)
    return slope.contiguous()


def _sums(slope: Tensor, values: Tensor, mean: Tensor, scale: Tensor, eps: float) -> Tensor:
    """For each channel the sum of the slopes, and that of slope times normalised value [2, C]."""
    if not slope.numel():
        return torch.zeros(2, len(mean), device=slope.device)
    _, products, slopes = torch.ops.aten.native_batch_norm_backward(
        slope, values, None, None, None, mean, scale, True, eps, [False, True, True]
    )
    return torch.stack([slopes.float(), products.float()])


def synchronize(model: nn.Module, share: Share, norm: type[_Norm] = SynchronizedBatchNorm) -> nn.Module:
    """Make every batch normalisation and dropout in `model` treat the rows of all processes as one batch, in place;
    `norm` is what stands in for batch normalisations.

    Modules that have a method `synchronize` are given `share` by it. The names in its state dict stay as they are.
    """
    for name, child in list(model.named_children()):
        synchronize(child, share, norm)
        if isinstance(child, _BatchNorm):
            setattr(model, name, norm(child, share))
        elif isinstance(child, _DropoutNd):
            setattr(model, name, SharedDropout(child, share))
        elif hasattr(child, "synchronize"):
            child.synchronize(share)
    return model


def copy_structure(model: nn.Module) -> nn.Module:
    """A copy of `model` whose modules can be changed apart from it, with the same tensors in the same memory."""
    tensors = [*model.parameters(), *model.buffers()]
    return deepcopy(model, {id(tensor): tensor for tensor in tensors})
