"""Calibration of a classifier by one number (Guo et al. 2017)."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from workers.training.metrics import log_loss

TEMPERATURES = np.geomspace(0.3, 5.0, 241)


def best_temperature(logits: Tensor, labels: np.ndarray) -> float:
    """What logits [N, K] are to be divided by for the lowest log loss on `labels` [N]."""
    losses = [log_loss(labels, (logits / value).softmax(dim=1).numpy()) for value in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])
