"""The statistics of batch normalisations, found anew for a model whose layers have changed."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from workers.compression.methods.base import Data


@torch.no_grad()
def renew_statistics(model: nn.Module, data: Data) -> None:
    """Set running means and variances to the mean of those of `data`'s batches; all else stays as it was.

    What a normalisation expects of a layer is wrong once the layer has lost some of what it took.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    modes = [(module, module.training) for module in model.modules()]
    kept = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    model.eval()  # dropout stays off
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    for inputs, _ in data.batches():
        if len(inputs[0]) > 1:
            model(*inputs)
    for norm, momentum, count in kept:
        norm.momentum = momentum
        norm.num_batches_tracked.copy_(count)
    for module, mode in modes:
        module.training = mode
