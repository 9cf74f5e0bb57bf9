"""What trainings of one network share, whatever it is that they classify: classes, splits, the loop, the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.contract import SPLITS, EventWriter, ProgramFailure, TrainSpec
from workers.parallel.strategies.base import Strategy
from workers.training.batches import Batches, Transform
from workers.training.fitting import fit_network
from workers.training.hyperparameters import choose_batch_size
from workers.training.loop import Evaluation, FitResult
from workers.training.losses import Loss, balanced_class_weights, make_loss
from workers.training.stopping import Stop
from workers.training.teaching import Guide

WEIGHTS_FILE = "model.safetensors"
VALIDATION_SHARE = 0.1


class Data(Protocol):
    """A data set version as a network sees it: `store` gives its inputs by row number, `labels` are class numbers [N],
    and `splits` row numbers."""

    classes: list[str]
    labels: np.ndarray
    splits: dict[str, np.ndarray]
    store: Any


def sort_classes(labels: Iterable[str]) -> list[str]:
    """The different labels in the order people expect: 2 before 10 where all are numbers."""
    names = set(labels)
    return sorted(names, key=int if all(name.isdecimal() for name in names) else str)


def carve_validation(rows: np.ndarray, labels: Sequence[Any] | np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A tenth of each class's `rows` for validation, of classes that have more than one, and what is left to train on:
    (train, val), ascending. `labels` are those of all rows."""
    shuffled, names = np.random.default_rng(seed).permutation(rows), np.asarray(labels)
    of_class = [shuffled[names[shuffled] == name] for name in np.unique(names)]
    taken = [part[: max(1, round(len(part) * VALIDATION_SHARE))] for part in of_class if len(part) > 1]
    validation = np.sort(np.concatenate([*taken, shuffled[:0]]))
    return np.setdiff1d(rows, validation), validation


def split_rows(
    names: Sequence[str] | np.ndarray, labels: Sequence[Any] | np.ndarray, seed: int, noun: str
) -> dict[str, np.ndarray]:
    """Row numbers by split; `names` has the split of each row. Without any for validation, a tenth of each class's
    training rows is taken. `noun` is what a row is, as in "image". Raises ProgramFailure no_training_images."""
    found = np.asarray(names)
    splits = {split: np.flatnonzero(found == split) for split in SPLITS}
    if not len(splits["train"]):
        message = f"No {noun} of the data set is for training."
        raise ProgramFailure(f"no_training_{noun}s", message, hint="Add a train split.")
    if not len(splits["val"]):
        splits["train"], splits["val"] = carve_validation(splits["train"], labels, seed)
    return splits


def fit_classifier(
    model: nn.Module,
    data: Data,
    evaluate: Callable[[nn.Module], Evaluation],
    spec: TrainSpec,
    events: EventWriter,
    stop: Stop,
    strategy: Strategy,
    guide: Guide,
    *,
    transform: Transform | None = None,
    groups: np.ndarray | None = None,
    loss: Loss | None = None,
) -> FitResult:
    """Train `model` on the training rows as `spec` says. `guide` changes what is learned from the labels alone;
    `transform` and `groups`, of those rows, are as in `Batches`; `loss` stands in for that of class numbers."""
    settings, rows = spec.hyperparameters, data.splits["train"]
    targets = torch.from_numpy(data.labels[rows])
    weights = None
    if loss is None and settings["class_weights"] == "balanced":
        weights = balanced_class_weights(targets, len(data.classes)).to(spec.device)
    size = choose_batch_size(settings["batch_size"], len(rows))
    return fit_network(
        model,
        Batches([data.store], targets, size, settings["seed"], transform, rows, groups),
        evaluate,
        guide(loss or make_loss(settings, weights), weights),
        spec,
        events,
        stop,
        strategy,
    )


def judged_probabilities(
    data: Data, predict: Callable[[str], Tensor], judging: Sequence[str] = ("val", "test")
) -> dict[str, np.ndarray]:
    """Probabilities [n, K] for the splits of `judging` that have rows; `predict` gives a split's logits."""
    return {split: predict(split).softmax(dim=1).numpy() for split in judging if len(data.splits[split])}


def save_weights(model: nn.Module, folder: Path) -> None:
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS_FILE)
