"""What an image training leaves behind besides the model: facts for the page, and the worst mistakes as pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from workers.contract import TrainSpec
from workers.images import RESIZE
from workers.pretrained.model_card import describe_start
from workers.training.image_data import ImageRow, ImageSource
from workers.training.results import library_versions, surest_mistakes

MISTAKES = 24
SHOWN_SIDE = 256


class Data(Protocol):
    """What is read here of workers.training.images.ImageData."""

    source: ImageSource
    rows: list[ImageRow]
    classes: list[str]
    labels: np.ndarray
    splits: dict[str, np.ndarray]
    store: np.ndarray


def describe_model(
    spec: TrainSpec, data: Data, built: tuple[str, dict[str, Any]], metrics: dict[str, Any]
) -> dict[str, Any]:
    """The body of meta.json: everything needed to use the model, and to load its weights again."""
    architecture, arguments = built
    return {
        "format": 1,
        "task": spec.task,
        "architecture": architecture,
        "architecture_args": arguments,
        "classes": data.classes,
        "input": {
            "kind": "image",
            "height": data.store.shape[1],
            "width": data.store.shape[2],
            "channels": data.store.shape[3],
            "resize": RESIZE,
        },
        **describe_start(spec),
        "runtime": "onnx",
        "sample": "sample.png",
        "metrics": metrics,
        "hyperparameters": spec.hyperparameters,
        "versions": library_versions(),
    }  # fmt: skip


def write_mistakes(data: Data, probabilities: dict[str, np.ndarray], output: Path) -> list[dict[str, Any]]:
    """Write the surest wrong answers as PNG files under ``mistakes/`` and list them, worst first."""
    (output / "mistakes").mkdir(parents=True, exist_ok=True)
    found = []
    for number, (place, said, probability) in enumerate(surest_mistakes(data, probabilities, MISTAKES)):
        row, name = data.rows[place], f"mistakes/{number:02d}.png"
        _picture(data, row, SHOWN_SIDE).save(output / name)
        found.append({"image": name, "true": row.label, "predicted": data.classes[said],
                      "probability": probability, "source": row.source})  # fmt: skip
    return found


def write_sample(data: Data, row: int, path: Path) -> None:
    """One image of the data set, which every replica must be able to classify before it is ready."""
    _picture(data, data.rows[row], SHOWN_SIDE).save(path)


def _picture(data: Data, row: ImageRow, side: int) -> Image.Image:
    """The image itself, encoded by us, at most `side` pixels wide and high."""
    share = min(1.0, side / max(row.width, row.height))
    height, width = (max(1, math.floor(length * share)) for length in (row.height, row.width))
    channels = data.store.shape[3]
    pixels = data.source.read(row, height, width, channels)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
