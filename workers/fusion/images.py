"""Image classifiers as one: their weights averaged, or all of them in one graph that answers with the mean of their
probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from workers.compression.samples import Samples
from workers.contract import ENSEMBLE, FREE_ARGUMENTS, GREEDY, WEIGHTED
from workers.fusion.mixing import (
    average_states,
    choose_greedily,
    equal_weights,
    vote_weights,
    weights_of,
)
from workers.fusion.work import Answers, Fused, Work, refuse, require_alike
from workers.inference.image_predictor import ImagePredictor
from workers.inference.predictor import load_predictor
from workers.training.classifiers import split_rows
from workers.training.image_data import ImageSource, build_store, read_index
from workers.training.image_models import ImageEnsemble, build_classifier
from workers.training.images import ImageData, calibrate, evaluation_parts, predict, write_files
from workers.training.loop import prepare_torch
from workers.training.metrics import accuracy
from workers.training.subjects import load_classifier, load_state

# Batch normalisation asks for two numbers a channel: so many images tell them to a percent.
STATISTICS_IMAGES = 4096
SPEED_IMAGES = 64


@dataclass(frozen=True)
class Averaging:
    """Models of one architecture, as the arrays of their weights."""

    work: Work
    data: ImageData
    states: list[dict[str, np.ndarray]]

    def average(self, weights: np.ndarray) -> nn.Module:
        """The model whose weights are the mean of all models' weights, ready to be asked."""
        meta, device = self.work.metas[0], self.work.spec.device
        model = build_classifier(meta["architecture"], meta["architecture_args"])
        mixed = average_states(self.states, weights)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in mixed.items()})
        if np.count_nonzero(weights) > 1:
            restore_statistics(model.to(device), training_batches(self.data), device)
        return model.to(device).eval()


def restore_statistics(model: nn.Module, batches: Iterator[Tensor], device: str) -> None:
    """Measure the means and variances of batch normalisation anew, on training images.

    The averages of what two networks measured of their own activations are not those of the network that has the
    averaged weights (Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization",
    section 3.2).
    """
    update_bn(batches, model, device)


def training_batches(data: ImageData) -> Iterator[Tensor]:
    """uint8 images [n, H, W, C] of batches that differ in size by at most one, as each counts alike."""
    for part in evaluation_parts(data, "train"):
        yield torch.from_numpy(data.store[part])


def fuse(work: Work) -> Fused:
    """Write the fused classifier's files and ask all models. Raises Stopped and ProgramFailure."""
    prepare_torch(work.spec.threads, seed=0)
    data = load_images(work)
    work.report(0.3, "Asking the models")
    answers = {split: [ask(predictor, data, split) for predictor in work.predictors] for split in judged_splits(data)}
    is_ensemble = work.spec.method == ENSEMBLE
    made = make_ensemble(work) if is_ensemble else average_weights(work, data, answers["val"])
    model, weights, temperature = made
    work.report(0.6, "Exporting")
    write_files(model.cpu(), data, work.folder)
    meta = work.metas[0] | (describe_ensemble(work.metas) if is_ensemble else {})
    work.write_meta(meta)
    fused = load_predictor(work.folder, work.spec.threads)
    answers = {
        split: Answers(data.labels[data.splits[split]], [*found, ask(fused, data, split)])
        for split, found in answers.items()
    }
    return Fused(meta, weights, answers, speed_samples(data), temperature)


# The models


def make_ensemble(work: Work) -> tuple[nn.Module, np.ndarray, float]:
    """The mean of what all answer, each at its own temperature; the weights, and 1."""
    members = [load_classifier(*pair) for pair in zip(work.folders, work.metas, strict=True)]
    return ImageEnsemble(members).eval(), equal_weights(len(members)), 1.0


def describe_ensemble(metas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    members = [{name: meta[name] for name in ("architecture", "architecture_args")} for meta in metas]
    return {"architecture": ENSEMBLE, "architecture_args": {"members": members}}


def average_weights(work: Work, data: ImageData, answers: list[np.ndarray]) -> tuple[nn.Module, np.ndarray, float]:
    """The calibrated average by the method asked for, the weights, and the temperature; `answers` are the models' to
    validation."""
    require_alike(work, "architecture", [shape_of(meta) for meta in work.metas])
    averaging = Averaging(work, data, [load_state(folder) for folder in work.folders])
    weights = choose_weights(averaging, answers)
    model = averaging.average(weights)
    temperature = calibrate(model, data, work.spec.device) if np.count_nonzero(weights) > 1 else 1.0
    return model, weights, temperature


def shape_of(meta: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What must be equal for weights to fit together."""
    arguments = meta["architecture_args"]
    return meta["architecture"], {name: arguments[name] for name in arguments if name not in FREE_ARGUMENTS}


def choose_weights(averaging: Averaging, answers: list[np.ndarray]) -> np.ndarray:
    work, data = averaging.work, averaging.data
    labels = data.labels[data.splits["val"]]
    accuracies = [accuracy(labels, predicted.argmax(axis=1)) for predicted in answers]
    if work.spec.method == WEIGHTED:
        return vote_weights(accuracies, len(labels), len(data.classes))
    if work.spec.method != GREEDY:
        return equal_weights(len(answers))

    def score_together(chosen: list[int]) -> float:
        work.report(0.4 + 0.2 * len(chosen) / len(answers), "Trying which models go together")
        model = averaging.average(weights_of(chosen, len(answers)))
        score = accuracy(labels, predict(model, data, "val", work.spec.device).argmax(dim=1).numpy())
        names = " + ".join(work.spec.models[number].name for number in chosen)
        work.events.log(f"{names}: {score * 100:.2f} % of validation")
        return score

    return weights_of(choose_greedily(accuracies, score_together), len(answers))


# The data


def load_images(work: Work) -> ImageData:
    """The images that judge, and as many training images as batch normalisation needs, at the models' input size."""
    meta, spec = work.metas[0], work.spec
    size, classes = meta["input"], meta["classes"]
    rows = [row for row in read_index(Path(spec.index_path)) if row.label in classes]
    require_validation(work, {row.split for row in rows})
    labels = np.array([classes.index(row.label) for row in rows], dtype=np.int64)
    splits = split_rows([row.split for row in rows], labels, seed_of(meta), "image")
    train = splits["train"]
    wanted = 0 if spec.method == ENSEMBLE else min(STATISTICS_IMAGES, len(train))
    splits = splits | {"train": train[np.linspace(0, len(train) - 1, wanted).astype(int)]}
    kept = np.sort(np.concatenate(list(splits.values())))
    source = ImageSource(Path(spec.data_path), spec.threads)
    chosen = [rows[number] for number in kept]
    progress = partial(_report_reading, work)
    store = build_store(Path(spec.work_dir) / "cache", source, chosen, size["height"], size["channels"], progress)
    places = {split: np.searchsorted(kept, numbers) for split, numbers in splits.items()}
    return ImageData(source, chosen, classes, labels[kept], places, store)


def _report_reading(work: Work, share: float) -> None:
    work.report(0.02 + 0.28 * share, "Reading images")


def require_validation(work: Work, splits: set[str]) -> None:
    """Where the data set has no validation split each training took its own from the training images, by its seed.

    Raises ProgramFailure no_validation_data where images that would judge one model have trained another.
    """
    if "val" in splits:
        return
    is_shared = all(model.is_same_data for model in work.spec.models)
    if not is_shared or len({seed_of(meta) for meta in work.metas}) > 1:
        raise refuse(
            "no_validation_data",
            "The data set has no validation split, and these models took different images for it from the training "
            "images: what would judge one of them has trained another.",
            hint="Train them with the same seed on the same data, or upload the data with a validation split.",
        )


def seed_of(meta: dict[str, Any]) -> int:
    return meta.get("hyperparameters", {}).get("seed", 0)


def judged_splits(data: ImageData) -> list[str]:
    return [split for split in ("val", "test") if len(data.splits[split])]


def ask(predictor: ImagePredictor, data: ImageData, split: str) -> np.ndarray:
    """Probabilities float64 [N, K] for the images of `split`, as serving would answer."""
    answers = [predictor.run(np.asarray(data.store[part])) for part in evaluation_parts(data, split)]
    return np.concatenate(answers).astype(np.float64)


def speed_samples(data: ImageData) -> Samples:
    shown = data.splits["test"] if len(data.splits["test"]) else data.splits["val"]
    shown = shown[:SPEED_IMAGES]
    return Samples([data.source.archive.read(data.rows[row].member) for row in shown], data.labels[shown])
