"""What every training of one network says of its result."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from workers.training.calibration import calibration_of
from workers.training.loop import FitResult
from workers.training.metrics import classification_metrics, confusion_matrix
from workers.training.operating import operating_points


class Classified(Protocol):
    """What is read here of a data set version: class names, class numbers [N], and row numbers by split."""

    classes: list[str]
    labels: np.ndarray
    splits: dict[str, np.ndarray]


def describe_result(
    data: Classified, model: nn.Module, fitted: FitResult, probabilities: dict[str, np.ndarray], model_bytes: int
) -> dict[str, Any]:
    """The body of result.json, without the mistakes. `probabilities` by split, calibrated."""
    split = judged_split(probabilities)
    labels, predicted = data.labels[data.splits[split]], probabilities[split].argmax(axis=1)
    return {
        "metrics": {name: classification_metrics(data.labels[data.splits[name]], probabilities[name])
                    for name in probabilities},
        "confusion": {"split": split, "labels": data.classes,
                      "matrix": confusion_matrix(labels, predicted, len(data.classes)).tolist()},
        "calibration": calibration_of(labels, probabilities[split], fitted.temperature),
        "operating": operating_points(data.classes, labels, probabilities[split]),
        **describe_training(model, fitted),
        "model_bytes": model_bytes,
    }  # fmt: skip


def spread_over(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of `rows`, from all over them."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def describe_training(model: nn.Module, fitted: FitResult) -> dict[str, Any]:
    """What result.json says of every training, whatever it was for."""
    return {
        "history": fitted.history,
        "epochs": fitted.epochs,
        "best_epoch": fitted.best_epoch,
        "stopped_early": fitted.stopped_early,
        "steps": fitted.steps,
        "seconds": round(fitted.seconds, 3),
        "samples_per_second": round(fitted.samples_per_second, 1),
        "acceleration": fitted.acceleration,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def surest_mistakes(data: Classified, probabilities: dict[str, np.ndarray], most: int) -> list[tuple[int, int, float]]:
    """(row, class that was said, its probability) of the surest wrong answers, worst first."""
    split = judged_split(probabilities)
    rows, answers = data.splits[split], probabilities[split]
    predicted, confidence = answers.argmax(axis=1), answers.max(axis=1)
    wrong = np.flatnonzero(predicted != data.labels[rows])
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    return [(int(rows[place]), int(predicted[place]), float(confidence[place])) for place in worst]


def library_versions() -> dict[str, str]:
    """What a network was trained and exported with."""
    versions = {module.__name__: module.__version__ for module in (torch, onnx, onnxruntime)}
    return {"python": platform.python_version(), **versions}


def judged_split(probabilities: dict[str, np.ndarray]) -> str:
    return "test" if "test" in probabilities else "val"


def write_json(value: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False))
