"""Calibration of a classifier by one number (Guo et al. 2017)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from workers.training.metrics import log_loss

TEMPERATURES = np.geomspace(0.3, 5.0, 241)
FEW_TEMPERATURES = TEMPERATURES[::12]


def best_temperature(logits: Tensor, labels: np.ndarray, among: np.ndarray = TEMPERATURES) -> float:
    """What logits [N, K] are to be divided by for the lowest log loss on `labels` [N]."""
    losses = [log_loss(labels, (logits / value).softmax(dim=1).numpy()) for value in among]
    return float(among[int(np.argmin(losses))])


@torch.no_grad()
def divide_head(head: nn.Module, temperature: float) -> None:
    """All logits of a linear head, or of the factors that stand for one, are divided by `temperature` from now on."""
    last = head[-1] if isinstance(head, nn.Sequential) else head
    last.weight /= temperature
    last.bias /= temperature
