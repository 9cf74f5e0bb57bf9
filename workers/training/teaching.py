"""A student that learns from a teacher's answers beside the labels (Hinton et al. 2015, "Distilling the knowledge in a
neural network"), in the loop and with the strategies that train every other model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.training.losses import Loss, weighted_mean

HEAD = "head"  # the last layer of every network here; what it is given are the features


@dataclass(frozen=True)
class Teaching:
    """How much a student learns from whom: `hard_share` of its loss comes from the labels, the rest from the teacher's
    answers softened by `temperature`; `features` weighs how far its last features lie from the teacher's."""

    temperature: float = 4.0
    hard_share: float = 0.3
    features: float = 0.0


class _Unseen:
    """Holds a module that is not part of the one that holds this: not trained, not saved, not copied."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __deepcopy__(self, memo: dict[int, Any]) -> _Unseen:
        return self


class Taught(nn.Module):
    """A student which answers alone when it is judged, and together with its teacher while it is trained.

    In training the answer is [N, 2 K + 1]: its own K logits, the teacher's, and the mean squared distance of both's
    features (0 where these are of different sizes).
    """

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student = student
        self._teacher = _Unseen(teacher.eval().requires_grad_(False))

    def forward(self, *inputs: Tensor) -> Tensor:
        if not self.training:
            return self.student(*inputs)
        with torch.no_grad():
            wanted, target = _with_features(self._teacher.module, inputs)
        answer, features = _with_features(self.student, inputs)
        return torch.cat([answer.float(), wanted.float(), _distance(features, target, answer)], dim=1)


def _with_features(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
    """The logits, and what the head was given, where the model has one."""
    head = getattr(model, HEAD, None)
    if head is None:
        return model(*inputs), None
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    try:
        return model(*inputs), seen[0]
    finally:
        handle.remove()


def _distance(features: Tensor | None, target: Tensor | None, answer: Tensor) -> Tensor:
    """[N, 1]"""
    if features is None or target is None or features.shape != target.shape:
        return answer.new_zeros(len(answer), 1, dtype=torch.float32)
    return (features.float() - target.float()).square().flatten(1).mean(dim=1, keepdim=True)


def teaching_loss(teaching: Teaching, loss: Loss, weights: Tensor | None = None) -> Loss:
    """The loss of what `Taught` answers in training; `loss` is that of the labels, `weights` [K] its class weights.

    hard_share * loss(z, y) + (1 - hard_share) * T^2 * KL(softmax(t / T) || softmax(z / T)) + features * distance, where
    z are the student's logits and t the teacher's (Hinton et al. 2015, section 2).
    """
    heat, soft_share = teaching.temperature, 1 - teaching.hard_share

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        classes = outputs.shape[1] // 2
        logits, wanted, distance = outputs[:, :classes], outputs[:, classes:-1], outputs[:, -1]
        divergence = F.kl_div(
            F.log_softmax(logits / heat, dim=1), F.log_softmax(wanted / heat, dim=1), reduction="none", log_target=True
        ).sum(dim=1)
        rows = soft_share * heat**2 * divergence + teaching.features * distance
        return teaching.hard_share * loss(logits, targets) + weighted_mean(rows, targets, weights)

    return Loss(mean, loss.weigh)


# Makes of the loss of the labels, and their class weights, the loss to train with.
Guide = Callable[[Loss, Tensor | None], Loss]
