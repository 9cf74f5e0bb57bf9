"""Metrics, losses, schedules and optimisers against numbers worked out by hand."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch import nn

from workers.training import metrics
from workers.training.losses import balanced_class_weights, make_loss
from workers.training.optimization import MovingAverage, learning_rate_factor, make_optimizer

SETTINGS = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.5}
LOGITS = torch.tensor([[math.log(3.0), 0.0], [0.0, math.log(4.0)]])  # probabilities 3/4, 1/4 and 1/5, 4/5
TARGETS = torch.tensor([0, 0])


def test_metrics_agree_with_scikit_learn_on_random_predictions() -> None:
    random = np.random.default_rng(3)
    labels, answers = random.integers(0, 4, 200), random.dirichlet(np.ones(4), 200)
    predicted = answers.argmax(axis=1)
    ours = metrics.classification_metrics(labels, answers)
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert ours["macro_f1"] == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert ours["log_loss"] == pytest.approx(reference.log_loss(labels, answers))
    assert (metrics.confusion_matrix(labels, predicted, 4) == reference.confusion_matrix(labels, predicted)).all()
    assert ours["auc"] == pytest.approx(reference.roc_auc_score(labels, answers, multi_class="ovr", average="macro"))


def test_auc_counts_ties_half_and_has_no_value_for_one_class() -> None:
    labels, scores = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.5, 0.5, 0.9, 0.3])
    assert metrics.auc(labels, scores) == pytest.approx(4.5 / 6)
    assert metrics.auc(labels, scores) == pytest.approx(reference.roc_auc_score(labels, scores))
    assert math.isnan(metrics.auc(np.ones(3), scores[:3]))


def test_auc_of_many_classes_is_the_mean_over_those_that_occur() -> None:
    labels = np.array([0, 0, 1, 2])  # class 3 does not occur
    answers = np.array([[0.6, 0.2, 0.1, 0.1], [0.3, 0.5, 0.2, 0.0], [0.3, 0.4, 0.3, 0.0], [0.1, 0.3, 0.4, 0.2]])
    # Pairs in order: 0.6 and 0.3 above 0.3 and 0.1, one a tie; 0.4 above two of 0.2, 0.5, 0.3; 0.4 above all three.
    expected = (3.5 / 4 + 2 / 3 + 3 / 3) / 3
    assert metrics.macro_auc(labels, answers) == pytest.approx(expected)
    assert metrics.classification_metrics(labels, answers)["auc"] == pytest.approx(expected)
    assert "auc" not in metrics.classification_metrics(labels[:2], answers[:2])


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    answers = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    labels = np.array([0, 1, 1, 1])  # at 0.9 half are right: gap 0.4; at 0.6 all are right: gap 0.4
    assert metrics.expected_calibration_error(labels, answers) == pytest.approx(0.4)


def test_regression_metrics_by_hand() -> None:
    ours = metrics.regression_metrics(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 6.0]))
    assert ours == pytest.approx({"rmse": math.sqrt(3), "mae": 1.0, "r2": 1 - 9 / 2})
    assert "r2" not in metrics.regression_metrics(np.array([2.0, 2.0]), np.array([1.0, 2.0]))


def loss_of(name: str, weights: torch.Tensor | None = None, targets: torch.Tensor = TARGETS, **more: float) -> float:
    return float(make_loss({"loss": name, "label_smoothing": 0.0, **more}, weights)(LOGITS, targets))


def test_classification_losses_by_hand() -> None:
    assert loss_of("cross_entropy") == pytest.approx((-math.log(3 / 4) - math.log(1 / 5)) / 2)
    focal = (-((1 / 4) ** 2) * math.log(3 / 4) - (4 / 5) ** 2 * math.log(1 / 5)) / 2
    assert loss_of("focal") == pytest.approx(focal)
    assert loss_of("mse") == pytest.approx((2 * (1 / 4) ** 2 + 2 * (4 / 5) ** 2) / 2)
    smooth = (-0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4) - 0.9 * math.log(1 / 5) - 0.1 * math.log(4 / 5)) / 2
    assert loss_of("cross_entropy", label_smoothing=0.2) == pytest.approx(smooth)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "mse"])
def test_class_weights_are_shares_of_the_mean(name: str) -> None:
    weights, targets = torch.tensor([1.0, 3.0]), torch.tensor([0, 1])
    first = loss_of(name, torch.tensor([1.0, 0.0]), targets)
    second = loss_of(name, torch.tensor([0.0, 1.0]), targets)
    assert loss_of(name, weights, targets) == pytest.approx((first + 3 * second) / 4)


def test_balanced_weights_give_each_class_the_same_sum() -> None:
    weights = balanced_class_weights(torch.tensor([0, 0, 0, 1]), 3)
    assert weights.tolist() == pytest.approx([4 / 9, 4 / 3, 0.0])


def test_regression_losses_by_hand() -> None:
    outputs, targets = torch.tensor([[1.0], [4.0]]), torch.tensor([1.5, 1.0])
    values = {name: float(make_loss({"loss": name})(outputs, targets)) for name in ("mse", "mae", "huber")}
    assert values == pytest.approx({"mse": (0.25 + 9) / 2, "mae": 1.75, "huber": (0.125 + 2.5) / 2})


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("constant", [0.5, 1.0, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1.0, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("cosine", [0.5, 1.0, *(0.5 + 0.5 * math.cos(math.pi * part / 6) for part in range(6))]),
        ("step", [0.5, 1.0, 1, 1, 0.1, 0.1, 0.01, 0.01]),
    ],
)
def test_the_learning_rate_warms_up_and_then_follows_its_schedule(scheduler: str, expected: list[float]) -> None:
    assert [learning_rate_factor(scheduler, step, 8, 0.25) for step in range(8)] == pytest.approx(expected)


def weights_after_steps(optimizer: str, steps: int) -> tuple[float, float]:
    """Weight and bias, both from 1.0, after steps with gradient 2 each."""
    model = nn.Linear(1, 1)
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    chosen = make_optimizer(model, {**SETTINGS, "optimizer": optimizer})
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 2.0)
        chosen.step()
    return float(model.weight.detach()), float(model.bias.detach())


def test_sgd_steps_by_hand() -> None:
    # Nesterov: v1 = g, step g + 0.9 v1; v2 = 0.9 v1 + g, step g + 0.9 v2. Only the weight is decayed.
    gradient = 2 + 0.5 * 1.0
    first = 1 - 0.1 * (gradient + 0.9 * gradient)
    second_gradient = 2 + 0.5 * first
    velocity = 0.9 * gradient + second_gradient
    weight, bias = weights_after_steps("sgd", 2)
    assert weight == pytest.approx(first - 0.1 * (second_gradient + 0.9 * velocity))
    assert bias == pytest.approx(1 - 0.1 * 1.9 * 2 - 0.1 * (2 + 0.9 * 3.8))


@pytest.mark.parametrize(("optimizer", "decayed"), [("adam", 1.0), ("adamw", 1 - 0.1 * 0.5)])
def test_adam_steps_by_hand(optimizer: str, decayed: float) -> None:
    # The first step of Adam is the learning rate, whatever the gradient; AdamW shrinks the weight besides.
    weight, bias = weights_after_steps(optimizer, 1)
    assert weight == pytest.approx(decayed - 0.1)
    assert bias == pytest.approx(0.9)


def test_the_moving_average_forgets_the_start_and_then_moves_slowly() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = MovingAverage(deepcopy(model), decay=0.99)
    nn.init.ones_(model.weight)
    average.update(model, step=1)
    assert float(average.model.weight) == pytest.approx(0.9)
    average.update(model, step=10_000)
    assert float(average.model.weight) == pytest.approx(0.9 + 0.01 * 0.1)
