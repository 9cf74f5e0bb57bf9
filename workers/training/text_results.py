"""What a text training leaves behind besides the model: facts for the page, and the worst mistakes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from workers.contract import TrainSpec
from workers.pretrained.model_card import describe_start
from workers.texts import Encoder
from workers.training.results import library_versions, surest_mistakes

MISTAKES = 24
SHOWN_CHARACTERS = 600
EXAMPLES, EXAMPLE_CHARACTERS = 6, 160


class Data(Protocol):
    """What is read here of workers.training.texts.TextData."""

    column: str
    target: str
    texts: list[str]
    classes: list[str]
    labels: np.ndarray
    splits: dict[str, np.ndarray]
    architecture: str
    encoder: Encoder


def describe_model(spec: TrainSpec, data: Data, arguments: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """The body of meta.json: everything needed to use the model, and to load its weights again."""
    return {
        "format": 1,
        "task": spec.task,
        "architecture": data.architecture,
        "architecture_args": arguments,
        "classes": data.classes,
        "target": data.target,
        "input": {"kind": "text", "column": data.column, "examples": sample_texts(data)},
        "encoder": data.encoder.to_meta(),
        **describe_start(spec),
        "runtime": "onnx",
        "sample": "sample.json",
        "metrics": metrics,
        "hyperparameters": spec.hyperparameters,
        "versions": library_versions(),
    }  # fmt: skip


def list_mistakes(data: Data, probabilities: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """The surest wrong answers with their texts, worst first."""
    return [
        {"text": shorten(data.texts[row], SHOWN_CHARACTERS), "true": data.classes[data.labels[row]],
         "predicted": data.classes[said], "probability": probability}
        for row, said, probability in surest_mistakes(data, probabilities, MISTAKES)
    ]  # fmt: skip


def sample_texts(data: Data) -> list[str]:
    """Short held-out texts of different classes to try the model with."""
    shown = data.splits["test"] if len(data.splits["test"]) else data.splits["val"]
    by_class: dict[int, str] = {}
    for row in sorted(shown, key=lambda row: (len(data.texts[row]) > EXAMPLE_CHARACTERS, row)):
        by_class.setdefault(int(data.labels[row]), shorten(data.texts[row], EXAMPLE_CHARACTERS))
    classes = sorted(by_class)
    taken = [classes[place] for place in np.linspace(0, len(classes) - 1, min(EXAMPLES, len(classes))).astype(int)]
    return [by_class[number] for number in taken]


def shorten(text: str, longest: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
