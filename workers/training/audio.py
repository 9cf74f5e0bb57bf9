"""Audio classification: from a data set version to a calibrated, exported and measured model.

A recording is heard as a log-mel spectrogram, and that is looked at by the networks that look at images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from workers.contract import OUTPUT_FOLDER, EventWriter, ProgramFailure, TrainSpec
from workers.inference.parity import record_answer
from workers.inference.predictor import load_predictor
from workers.parallel.processes import own_device
from workers.parallel.strategies.base import Strategy
from workers.training.architectures import ARCHITECTURES, choose_architecture
from workers.training.audio_changes import AUDIO_AUGMENTATIONS
from workers.training.audio_data import (
    AudioRow,
    AudioSource,
    build_store,
    choose_rate,
    choose_seconds,
    read_index,
)
from workers.training.audio_results import describe_model, write_examples, write_mistakes, write_sample
from workers.training.classifiers import fit_classifier, judged_probabilities, save_weights, sort_classes, split_rows
from workers.training.export import export_onnx
from workers.training.fitting import LOADING, TRAINING
from workers.training.image_data import channel_statistics
from workers.training.image_models import ImageProbabilities, build_classifier
from workers.training.images import calibrate, evaluate, predict
from workers.training.loop import FitResult, prepare_torch
from workers.training.results import describe_result, write_json
from workers.training.stopping import Stop
from workers.training.teaching import Guide

PARITY_SAMPLES = 64
STEM_STRIDE = 2  # neighbouring hundredths of a second say nearly the same


@dataclass(frozen=True)
class AudioData:
    """A data set version: `store` uint8 [N, frames, bands, 1], `labels` [N], and row numbers by split. The model hears
    `length` samples, `rate` of them a second."""

    source: AudioSource
    rows: list[AudioRow]
    classes: list[str]
    labels: np.ndarray
    splits: dict[str, np.ndarray]
    store: np.ndarray
    rate: int
    length: int


def train(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Train an audio classifier as `spec` says, write ``output/`` and return the summary of the result."""
    spec = replace(spec, device=own_device(spec.device))
    prepare_torch(spec.threads, spec.hyperparameters["seed"])
    architecture = choose_architecture(spec.hyperparameters["model"])
    data = load_data(spec, events, stop)
    arguments = model_arguments(spec, architecture, data)
    model = build_classifier(architecture, arguments)
    fitted = fit_model(model, data, spec, events, stop, Strategy())
    events.progress(TRAINING[1], "Measuring")
    fitted = replace(fitted, temperature=calibrate(model, data, spec.device))
    events.log(f"Logits divided by {fitted.temperature:.3g} to fit certainty to accuracy.")
    probabilities = judged_probabilities(data, lambda split: predict(model, data, split, spec.device))
    events.progress(0.96, "Exporting")
    return write_output(spec, data, model.cpu(), (architecture, arguments), fitted, probabilities)


def load_data(spec: TrainSpec, events: EventWriter, stop: Stop, rate: int = 0, length: int = 0) -> AudioData:
    """Hear the data set version once. `rate` and `length` are those of a model which is there already; 0 takes what the
    settings say, or what fits the data."""
    rows = read_index(Path(spec.index_path))
    classes = sort_classes([row.label for row in rows])
    if len(classes) < 2:
        message = f"All {len(rows)} recordings are of one class; there is nothing to tell apart."
        raise ProgramFailure("one_class", message, hint="Add recordings of at least one more class.")
    labels = np.array([classes.index(row.label) for row in rows], dtype=np.int64)
    settings = spec.hyperparameters
    rate = rate or (choose_rate(rows) if settings["sample_rate"] == "auto" else int(settings["sample_rate"]))
    length = length or round((settings["clip_seconds"] or choose_seconds(rows)) * rate)
    source = AudioSource(Path(spec.data_path), spec.threads)
    folder = Path(spec.cache_dir or Path(spec.work_dir, "cache"))
    store = build_store(folder, source, rows, rate, length, partial(_report_loading, events, stop))
    splits = split_rows([row.split for row in rows], labels, settings["seed"], "recording")
    events.log(
        f"{len(rows):,} recordings of {len(classes):,} classes, heard for {length / rate:g} seconds at {rate:,} "
        f"samples a second: spectrograms of {store.shape[1]:,} x {store.shape[2]}."
    )
    return AudioData(source, rows, classes, labels, splits, store, rate, length)


def _report_loading(events: EventWriter, stop: Stop, share: float) -> None:
    stop.check()
    events.progress(LOADING[0] + (LOADING[1] - LOADING[0]) * share, "Listening")


def model_arguments(spec: TrainSpec, architecture: str, data: AudioData) -> dict[str, Any]:
    """What `build_classifier` makes it from; it stands in meta.json, so that the weights can be loaded again."""
    mean, deviation = channel_statistics(data.store, data.splits["train"])
    return {
        **ARCHITECTURES[architecture],
        "stem_stride": STEM_STRIDE,
        "channels": 1,
        "classes": len(data.classes),
        "dropout": spec.hyperparameters["dropout"],
        "mean": mean,
        "deviation": deviation,
    }


def fit_model(
    model: nn.Module, data: AudioData, spec: TrainSpec, events: EventWriter, stop: Stop, strategy: Strategy,
    guide: Guide = lambda loss, weights: loss,
) -> FitResult:  # fmt: skip
    """`guide` changes what is learned from the labels alone."""
    transform = AUDIO_AUGMENTATIONS[spec.hyperparameters["augmentation"]]
    judge = partial(evaluate, data=data, device=spec.device)
    return fit_classifier(model, data, judge, spec, events, stop, strategy, guide, transform=transform)


def write_files(model: nn.Module, data: AudioData, folder: Path) -> None:
    """The weights, the graph (checked to answer alike) and a sample; `model` is on the CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model, folder)
    shown = data.splits["test"] if len(data.splits["test"]) else data.splits["val"]
    samples = torch.from_numpy(data.store[shown[:PARITY_SAMPLES]])
    export_onnx(ImageProbabilities(model), {"spectrogram": samples}, "probabilities", folder / "model.onnx")
    write_sample(data, int(shown[0]), folder / "sample.wav")


def write_output(
    spec: TrainSpec, data: AudioData, model: nn.Module, built: tuple[str, dict[str, Any]], fitted: FitResult,
    probabilities: dict[str, np.ndarray],
) -> dict[str, Any]:  # fmt: skip
    """Write the model's files, result.json, examples and mistakes; returns the summary."""
    output = Path(spec.work_dir) / OUTPUT_FOLDER
    folder = output / "model"
    write_files(model, data, folder)
    result = describe_result(data, model, fitted, probabilities, (folder / "model.onnx").stat().st_size)
    result |= {"architecture": built[0], "mistakes": write_mistakes(data, probabilities, output)}
    meta = describe_model(spec, data, built, result["metrics"])
    meta["input"]["examples"] = write_examples(data, folder)
    write_json(meta, folder / "meta.json")
    record_answer(load_predictor(folder, spec.threads), folder)
    write_json(result, output / "result.json")
    return {"metrics": result["metrics"], "seconds": result["seconds"], "parameters": result["parameters"]}
