"""Image classification: from a data set version to a calibrated, exported and measured model."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workers.contract import OUTPUT_FOLDER, EventWriter, ProgramFailure, TrainSpec
from workers.inference.parity import record_answer
from workers.inference.predictor import load_predictor
from workers.parallel.processes import Processes, joined, own_device
from workers.parallel.strategies import make_strategy, read_plan
from workers.parallel.strategies.base import Strategy
from workers.training.architectures import LARGEST_SIDES, PRETRAINED, arguments_of, choose_architecture
from workers.training.calibration import best_temperature
from workers.training.classifiers import fit_classifier, judged_probabilities, save_weights, sort_classes, split_rows
from workers.training.export import export_onnx
from workers.training.fitting import LOADING, TRAINING
from workers.training.image_data import (
    AUGMENTATIONS,
    ImageRow,
    ImageSource,
    build_store,
    channel_statistics,
    choose_size,
    image_origins,
    read_index,
)
from workers.training.image_models import ImageProbabilities, LayeredClassifier, build_classifier
from workers.training.image_results import describe_model, write_mistakes, write_sample
from workers.training.loop import Evaluation, FitResult, prepare_torch
from workers.training.metrics import accuracy, log_loss
from workers.training.results import describe_result, write_json
from workers.training.stopping import Stop
from workers.training.teaching import Guide

EVALUATION_PIXELS = 2**20
PARITY_SAMPLES = 64


@dataclass(frozen=True)
class Seen:
    """How a model sees images: squares of `side` pixels, in so many channels."""

    side: int
    channels: int


@dataclass(frozen=True)
class ImageData:
    """A data set version: `store` uint8 [N, side, side, channels], `labels` [N], and row numbers by split."""

    source: ImageSource
    rows: list[ImageRow]
    classes: list[str]
    labels: np.ndarray
    splits: dict[str, np.ndarray]
    store: np.ndarray


def train(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Train an image classifier as `spec` says, write ``output/`` and return the summary of the result.

    Of several processes the first alone does what comes after training; the others return an empty summary.
    """
    spec = replace(spec, device=own_device(spec.device))
    prepare_torch(spec.threads, spec.hyperparameters["seed"])
    architecture = PRETRAINED if spec.start_dir else choose_architecture(spec.hyperparameters["model"])
    with joined(spec.device) as processes:
        strategy = make_strategy(read_plan(spec.plan), processes)
        seen = of_checkpoints().seen_by(spec) if spec.start_dir else None
        data = load_data(spec, architecture, events, stop, processes, seen)
        model, arguments = make_model(spec, architecture, data, events)
        fitted = fit_model(model, data, spec, events, stop, strategy)
    if not processes.is_first:
        return {}
    if spec.start_dir:
        of_checkpoints().settle(model)
    events.progress(TRAINING[1], "Measuring")
    fitted = replace(fitted, temperature=calibrate(model, data, spec.device))
    events.log(f"Logits divided by {fitted.temperature:.3g} to fit certainty to accuracy.")
    probabilities = judged_probabilities(data, lambda split: predict(model, data, split, spec.device))
    events.progress(0.96, "Exporting")
    return write_output(spec, data, model.cpu(), (architecture, arguments), fitted, probabilities)


def load_data(
    spec: TrainSpec, architecture: str, events: EventWriter, stop: Stop, processes: Processes, seen: Seen | None = None
) -> ImageData:
    """Decode the data set version once on every machine, at the size to train on; `seen` is how a model that is there
    already sees images, None chooses that by the data."""
    rows = read_index(Path(spec.index_path))
    classes = sort_classes([row.label for row in rows])
    if len(classes) < 2:
        message = f"All {len(rows)} images are of one class; there is nothing to tell apart."
        raise ProgramFailure("one_class", message, hint="Add images of at least one more class.")
    labels = np.array([classes.index(row.label) for row in rows], dtype=np.int64)
    source, store = decode_images(spec, architecture, rows, events, stop, processes, seen)
    splits = split_rows([row.split for row in rows], labels, spec.hyperparameters["seed"], "image")
    _tell_images(events, rows, classes, store)
    return ImageData(source, rows, classes, labels, splits, store)


def decode_images(
    spec: TrainSpec,
    architecture: str,
    rows: list[ImageRow],
    events: EventWriter,
    stop: Stop,
    processes: Processes,
    seen: Seen | None = None,
) -> tuple[ImageSource, np.ndarray]:
    """Where the images are read from, and all of them [N, side, side, channels]; `seen` as for `load_data`."""
    source = ImageSource(Path(spec.data_path), spec.threads)
    side = seen.side if seen else spec.hyperparameters["image_size"] or choose_size(rows, LARGEST_SIDES[architecture])
    folder, progress = Path(spec.cache_dir or Path(spec.work_dir, "cache")), partial(_report_loading, events, stop)
    build = partial(build_store, folder, source, rows, side, progress=progress)

    def decode_all() -> int:
        channels = seen.channels if seen else 1 if source.all_grey(rows) else 3
        build(channels)
        return channels

    channels = processes.once_per_node("images", decode_all)
    return source, build(channels)


def _tell_images(events: EventWriter, rows: list[ImageRow], classes: list[str], store: np.ndarray) -> None:
    side, colour = store.shape[1], "grey" if store.shape[3] == 1 else "colour"
    events.log(f"{len(rows)} images of {len(classes)} classes at {side} x {side} pixels, {colour}.")


def _report_loading(events: EventWriter, stop: Stop, share: float) -> None:
    stop.check()
    events.progress(LOADING[0] + (LOADING[1] - LOADING[0]) * share, "Reading images")


def of_checkpoints() -> Any:
    """What goes on from checkpoints. It loads transformers, which takes seconds: only who starts from one loads it."""
    return importlib.import_module("workers.training.pretrained.images")


def make_model(
    spec: TrainSpec, architecture: str, data: ImageData, events: EventWriter
) -> tuple[nn.Module, dict[str, Any]]:
    """The network before training, and what it is made from."""
    if spec.start_dir:
        return of_checkpoints().start(spec, len(data.classes), events)
    arguments = model_arguments(spec, architecture, data)
    return build_classifier(architecture, arguments), arguments


def model_arguments(spec: TrainSpec, architecture: str, data: ImageData) -> dict[str, Any]:
    """What `build_classifier` makes it from; it stands in meta.json, so that the weights can be loaded again."""
    mean, deviation = channel_statistics(data.store, data.splits["train"])
    return {
        **arguments_of(architecture, data.store.shape[1]),
        "channels": data.store.shape[3],
        "classes": len(data.classes),
        "dropout": spec.hyperparameters["dropout"],
        "mean": mean,
        "deviation": deviation,
    }


def fit_model(
    model: nn.Module, data: ImageData, spec: TrainSpec, events: EventWriter, stop: Stop, strategy: Strategy,
    guide: Guide = lambda loss, weights: loss,
) -> FitResult:  # fmt: skip
    """`guide` changes what is learned from the labels alone."""
    return fit_classifier(
        model,
        data,
        partial(evaluate, data=data, device=spec.device),
        spec,
        events,
        stop,
        strategy,
        guide,
        transform=AUGMENTATIONS[spec.hyperparameters["augmentation"]],
        groups=image_origins(data.rows)[data.splits["train"]],
    )


def evaluate(model: nn.Module, data: ImageData, device: str) -> Evaluation:
    """Loss and accuracy on the validation images; the epoch with the lowest loss is kept."""
    probabilities = predict(model, data, "val", device).softmax(dim=1).numpy()
    labels = data.labels[data.splits["val"]]
    loss = log_loss(labels, probabilities)
    return Evaluation(-loss, {"loss": loss, "accuracy": accuracy(labels, probabilities.argmax(axis=1))})


@torch.no_grad()
def predict(model: nn.Module, data: ImageData, split: str, device: str) -> Tensor:
    """Logits [n, classes] for the images of `split`, on the CPU."""
    model.eval()
    parts = []
    for rows in evaluation_parts(data, split):
        parts.append(model(torch.from_numpy(data.store[rows]).to(device)).float().cpu())
    return torch.cat(parts)


def evaluation_parts(data: ImageData, split: str) -> list[np.ndarray]:
    """The rows of `split` in parts of so many images as are computed at once, whose sizes differ by at most one."""
    rows, pixels = data.splits[split], data.store.shape[1] * data.store.shape[2]
    return np.array_split(rows, max(1, math.ceil(len(rows) * pixels / EVALUATION_PIXELS)))


def calibrate(model: LayeredClassifier, data: ImageData, device: str) -> float:
    """Divide the logits by the temperature that fits the validation images best, and return it."""
    temperature = best_temperature(predict(model, data, "val", device).numpy(), data.labels[data.splits["val"]])
    model.divide_logits(temperature)
    return temperature


def write_files(
    model: nn.Module, data: ImageData, folder: Path, served: Callable[[nn.Module], nn.Module] = ImageProbabilities
) -> None:
    """The weights, the graph (checked to answer alike) and a sample; `model` is on the CPU, and `served` makes of it
    what answers."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model, folder)
    shown = data.splits["test"] if len(data.splits["test"]) else data.splits["val"]
    samples = torch.from_numpy(data.store[shown[:PARITY_SAMPLES]])
    export_onnx(served(model), {"image": samples}, "probabilities", folder / "model.onnx")
    write_sample(data, int(shown[0]), folder / "sample.png")


def write_output(
    spec: TrainSpec, data: ImageData, model: LayeredClassifier, built: tuple[str, dict[str, Any]], fitted: FitResult,
    probabilities: dict[str, np.ndarray],
) -> dict[str, Any]:  # fmt: skip
    """Write the model's files, result.json and the mistakes; returns the summary."""
    output = Path(spec.work_dir) / OUTPUT_FOLDER
    folder = output / "model"
    write_files(model, data, folder)
    result = describe_result(data, model, fitted, probabilities, (folder / "model.onnx").stat().st_size)
    result["mistakes"] = write_mistakes(data, probabilities, output)
    write_json(describe_model(spec, data, built, result["metrics"]), folder / "meta.json")
    record_answer(load_predictor(folder, spec.threads), folder)
    write_json(result, output / "result.json")
    return {"metrics": result["metrics"], "seconds": result["seconds"], "parameters": result["parameters"]}
