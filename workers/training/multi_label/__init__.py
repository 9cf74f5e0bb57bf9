"""Images with any number of labels: from a data set version to an exported and measured model, whose labels have a
probability and a threshold each. What it has in common with sorting images into classes stands in
workers.training.images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workers.contract import LABEL_SEPARATOR, OUTPUT_FOLDER, EventWriter, ProgramFailure, TrainSpec
from workers.inference.parity import record_answer
from workers.inference.predictor import load_predictor
from workers.parallel.processes import Processes, joined, own_device
from workers.parallel.strategies import make_strategy, read_plan
from workers.training.architectures import choose_architecture
from workers.training.calibration import TEMPERATURES
from workers.training.classifiers import fit_classifier, sort_classes, split_rows
from workers.training.fitting import TRAINING
from workers.training.image_data import AUGMENTATIONS, ImageRow, read_index
from workers.training.image_models import LabelProbabilities, LayeredClassifier, build_classifier
from workers.training.image_results import describe_model
from workers.training.images import ImageData, decode_images, model_arguments, predict, write_files
from workers.training.loop import Evaluation, FitResult, prepare_torch
from workers.training.losses import balanced_label_weights, make_label_loss
from workers.training.multi_label.figures import best_thresholds, binary_loss, measure, measure_labels
from workers.training.results import describe_training, judged_split, write_json
from workers.training.stopping import Stop
from workers.training.temperature import divide_head


def train(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Train as `spec` says, write ``output/`` and return the summary of the result."""
    spec = replace(spec, device=own_device(spec.device))
    prepare_torch(spec.threads, spec.hyperparameters["seed"])
    architecture = choose_architecture(spec.hyperparameters["model"])
    with joined(spec.device) as processes:
        data = load_data(spec, architecture, events, stop, processes)
        arguments = model_arguments(spec, architecture, data)
        model = build_classifier(architecture, arguments)
        weights = label_weights(spec, data)
        loss = make_label_loss(spec.hyperparameters, None if weights is None else weights.to(spec.device))
        fitted = fit_classifier(
            model, data, partial(evaluate, data=data, device=spec.device, weights=weights), spec, events, stop,
            make_strategy(read_plan(spec.plan), processes), lambda given, _weights: given,
            transform=AUGMENTATIONS[spec.hyperparameters["augmentation"]], loss=loss,
        )  # fmt: skip
    events.progress(TRAINING[1], "Measuring")
    fitted = replace(fitted, temperature=calibrate(model, data, spec.device, weights))
    judging = [split for split in ("val", "test") if len(data.splits[split])]
    scores = {split: predict(model, data, split, spec.device).sigmoid().numpy() for split in judging}
    events.progress(0.96, "Exporting")
    return write_output(spec, data, model.cpu(), (architecture, arguments), fitted, scores)


def labels_of(row: ImageRow) -> list[str]:
    return row.label.split(LABEL_SEPARATOR) if row.label else []


def load_data(
    spec: TrainSpec, architecture: str, events: EventWriter, stop: Stop, processes: Processes
) -> ImageData:  # fmt: skip
    """As of workers.training.images, with `labels` float32 [N, K] of 0 and 1. Raises ProgramFailure no_labels."""
    rows = read_index(Path(spec.index_path))
    names = sort_classes(label for row in rows for label in labels_of(row))
    if not names:
        raise ProgramFailure("no_labels", "Not one image has a label.", hint="Prepare the data set again.")
    places = {name: place for place, name in enumerate(names)}
    labels = np.zeros((len(rows), len(names)), dtype=np.float32)
    for number, row in enumerate(rows):
        labels[number, [places[label] for label in labels_of(row)]] = 1
    source, store = decode_images(spec, architecture, rows, events, stop, processes)
    splits = split_rows([row.split for row in rows], [row.label for row in rows], spec.hyperparameters["seed"], "image")
    events.log(f"{len(rows):,} images with {labels.sum() / len(rows):.2f} of {len(names)} labels each.")
    return ImageData(source, rows, names, labels, splits, store)


def label_weights(spec: TrainSpec, data: ImageData) -> Tensor | None:
    """How much each label's positives count, [K]; None where all count alike."""
    if spec.hyperparameters["class_weights"] != "balanced":
        return None
    return balanced_label_weights(torch.from_numpy(data.labels[data.splits["train"]]))


def unweighted(logits: Tensor, weights: Tensor | None) -> Tensor:
    """What logits learned with weights say of labels as frequent as they are: ln w of each label is taken off."""
    return logits if weights is None else logits - weights.log()


def evaluate(model: nn.Module, data: ImageData, device: str, weights: Tensor | None) -> Evaluation:
    """Loss and mean average precision on the validation images; the epoch with the lowest loss is kept."""
    scores = unweighted(predict(model, data, "val", device), weights).sigmoid().numpy()
    truths = data.labels[data.splits["val"]] > 0
    figures = measure(truths, scores, np.full(truths.shape[1], 0.5))
    shown = {name: figures[name] for name in ("loss", "mean_average_precision")}
    return Evaluation(-figures["loss"], shown)


@torch.no_grad()
def calibrate(model: LayeredClassifier, data: ImageData, device: str, weights: Tensor | None) -> float:
    """Take the weights off the logits and divide them by the temperature that fits the validation images best."""
    last = model.head[-1] if isinstance(model.head, nn.Sequential) else model.head
    if weights is not None:
        last.bias -= weights.log().to(last.bias.device)
    logits, truths = predict(model, data, "val", device), data.labels[data.splits["val"]] > 0
    losses = [binary_loss(truths, (logits / value).sigmoid().numpy()) for value in TEMPERATURES]
    temperature = float(TEMPERATURES[int(np.argmin(losses))])
    divide_head(model.head, temperature)
    return temperature


def write_output(
    spec: TrainSpec, data: ImageData, model: LayeredClassifier, built: tuple[str, dict[str, Any]], fitted: FitResult,
    scores: dict[str, np.ndarray],
) -> dict[str, Any]:  # fmt: skip
    """Write the model's files and result.json; returns the summary. Thresholds are chosen on the validation images."""
    folder = Path(spec.work_dir) / OUTPUT_FOLDER / "model"
    write_files(model, data, folder, LabelProbabilities)
    truths = {split: data.labels[data.splits[split]] > 0 for split in scores}
    thresholds = best_thresholds(truths["val"], scores["val"])
    metrics = {split: measure(truths[split], scores[split], thresholds) for split in scores}
    by_chance = {split: {"mean_average_precision": by_luck(truths[split])} for split in scores}
    judged = judged_split(scores)
    table = measure_labels(data.classes, truths[judged], scores[judged], thresholds)
    meta = describe_model(spec, data, built, metrics) | {"thresholds": thresholds.tolist(), "labels": table}
    write_json(meta | {"baseline": by_chance}, folder / "meta.json")
    record_answer(load_predictor(folder, spec.threads), folder)
    result = describe_training(model, fitted) | {
        "metrics": metrics,
        "baseline": by_chance,
        "labels": table,
        "model_bytes": (folder / "model.onnx").stat().st_size,
    }
    write_json(result, folder.parent / "result.json")
    return {"metrics": metrics, "seconds": result["seconds"], "parameters": result["parameters"]}


def by_luck(truths: np.ndarray) -> float:
    """The mean average precision of scores that say nothing: how frequent the labels that occur are."""
    shares = truths.mean(axis=0)
    return float(shares[shares > 0].mean()) if (shares > 0).any() else 0.0
