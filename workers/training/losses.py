"""What training makes small: losses by their usual names, and class weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_GAMMA = 2.0
HEAVIEST_LABEL = 30.0
SILENT = -1e4  # the logit of all characters but the blank in a frame behind a recording's end


@dataclass(frozen=True)
class Loss:
    """`mean` of (outputs, targets), and what that mean `weighs` beside those of other examples.

    The weight comes from the targets alone: their number, or the sum of their class weights. So the mean over a batch
    that is divided into parts is the sum of mean * weight / (weight of the whole batch) over its parts.
    """

    mean: Callable[[Tensor, Tensor], Tensor]
    weigh: Callable[[Tensor], float] = len

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.mean(outputs, targets)


def make_loss(hyperparameters: Mapping[str, Any], weights: Tensor | None = None) -> Loss:
    """The loss of (outputs, targets) named by ``hyperparameters["loss"]``.

    Classification: outputs are logits [N, K], targets class numbers [N], `weights` [K] one factor for each class.
    Regression (no ``label_smoothing`` among the hyper-parameters): outputs and targets are [N] or [N, 1].
    """
    name = hyperparameters["loss"]
    if "label_smoothing" not in hyperparameters:
        function = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}[name]
        return Loss(lambda outputs, targets: function(outputs.reshape(-1), targets.reshape(-1)))
    smoothing = hyperparameters["label_smoothing"]
    weigh = len if weights is None else _class_weights_of(weights)
    if name == "cross_entropy":
        return Loss(partial(F.cross_entropy, weight=weights, label_smoothing=smoothing), weigh)
    rows = {"focal": _focal, "mse": _squared}[name]

    def mean_of_rows(outputs: Tensor, targets: Tensor) -> Tensor:
        return weighted_mean(rows(outputs, smooth_labels(targets, outputs, smoothing)), targets, weights)

    return Loss(mean_of_rows, weigh)


def make_label_loss(hyperparameters: Mapping[str, Any], weights: Tensor | None = None) -> Loss:
    """Binary cross-entropy of logits z [N, K] with targets y [N, K] of 0 and 1: the mean over N and K of
    -w y ln s(z) - (1 - y) ln(1 - s(z)), s the logistic function and w [K] the weight of each label's positives.
    ``label_smoothing`` e replaces y by (1 - e) y + e / 2."""
    smoothing = hyperparameters["label_smoothing"]

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        smooth = targets.to(outputs.dtype) * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs, smooth, pos_weight=weights)

    return Loss(mean)


def balanced_label_weights(targets: Tensor) -> Tensor:
    """(N - n_k) / n_k for each label k of targets [N, K], from 1 to `HEAVIEST_LABEL`: what a label has counts as much
    as what lacks it."""
    counts = targets.sum(dim=0)
    return ((len(targets) - counts) / counts.clamp(min=1)).clamp(1, HEAVIEST_LABEL)


def _class_weights_of(weights: Tensor) -> Callable[[Tensor], float]:
    values = weights.double().cpu()
    return lambda targets: values[targets.cpu()].sum().item()


def smooth_labels(targets: Tensor, outputs: Tensor, smoothing: float) -> Tensor:
    """One-hot rows [N, K] with `smoothing` of their weight spread over all classes."""
    classes = outputs.shape[1]
    return F.one_hot(targets, classes).to(outputs.dtype) * (1 - smoothing) + smoothing / classes


def balanced_class_weights(targets: Tensor, classes: int) -> Tensor:
    """N / (K * n_k) for each class k, and 0 for a class without examples: every class has the same say."""
    counts = torch.bincount(targets, minlength=classes).float()
    return torch.where(counts > 0, len(targets) / (classes * counts.clamp(min=1)), torch.zeros_like(counts))


def _focal(outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each row, where a class with probability p counts by (1 - p) ** gamma."""
    logs = F.log_softmax(outputs, dim=1)
    return -(labels * (1 - logs.exp()) ** FOCAL_GAMMA * logs).sum(dim=1)


def _squared(outputs: Tensor, labels: Tensor) -> Tensor:
    """Squared distance of each row's probabilities from its label (the Brier score)."""
    return ((outputs.softmax(dim=1) - labels) ** 2).sum(dim=1)


def weighted_mean(rows: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of `rows` [N], each by the weight [K] of its class where there are weights."""
    if weights is None:
        return rows.mean()
    factors = weights[targets]
    return (rows * factors).sum() / factors.sum()


def ctc_loss() -> Loss:
    """Connectionist temporal classification (Graves et al. 2006): logits [N, T, V] of frames, targets [N, L] of
    characters, 0 being the blank and what stands behind them.

    -ln p(y | x) summed over the recordings and divided by the characters of all, where p(y | x) is the sum, over all
    paths that become y when repeated characters are made one and blanks dropped, of the product of what is said in each
    frame. Frames that say nothing but the blank (`SILENT`) lie behind a recording's end and do not count. A transcript
    of more characters than its recording has frames has no path; it counts as 0.
    """

    def mean(logits: Tensor, targets: Tensor) -> Tensor:
        counts = (targets != 0).sum(dim=1)
        frames = (logits[:, :, 1:].amax(dim=2) > SILENT).sum(dim=1)
        logs = logits.log_softmax(dim=2).transpose(0, 1)
        total = F.ctc_loss(logs, targets, frames.cpu(), counts.cpu(), reduction="sum", zero_infinity=True)
        return total / counts.sum()

    return Loss(mean, lambda targets: float((targets != 0).sum()))
