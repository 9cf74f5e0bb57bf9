"""The temperature of a classifier (workers/training/calibration.py), put into its weights."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def divide_head(head: nn.Module, temperature: float) -> None:
    """All logits of a linear head, or of the factors that stand for one, are divided by `temperature` from now on."""
    last = head[-1] if isinstance(head, nn.Sequential) else head
    last.weight /= temperature
    last.bias /= temperature
