"""What ``make bench-serving`` asks with and about: pictures of 20 to 60 KB, and an exported model with drawn weights.

Speed does not depend on what a model has learned, so nothing is trained.
"""

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from workers.training.architectures import arguments_of
from workers.training.export import export_onnx
from workers.training.image_models import ImageProbabilities, build_classifier

CLASSES = 10
SMALLEST_BYTES, LARGEST_BYTES = 20_000, 60_000
QUALITY = 85


def write_pictures(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Parts of two photographs as JPEGs."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    paths: list[Path] = []
    while len(paths) < count:
        photograph = photographs[len(paths) % len(photographs)]
        width = int(draw.integers(300, 600))
        height = min(photograph.height, int(width * draw.uniform(0.65, 0.9)))
        left, top = (int(draw.integers(0, most + 1)) for most in (photograph.width - width, photograph.height - height))
        file = io.BytesIO()
        photograph.crop((left, top, left + width, top + height)).save(file, "JPEG", quality=QUALITY)
        if SMALLEST_BYTES <= len(file.getvalue()) <= LARGEST_BYTES:
            paths.append(folder / f"{len(paths)}.jpg")
            paths[-1].write_bytes(file.getvalue())
    return paths


def write_model(folder: Path, architecture: str, side: int, sample: Path) -> None:
    """A model folder as a training writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    statistics = {"mean": (125.0,) * 3, "deviation": (64.0,) * 3}
    fixed = {"channels": 3, "classes": CLASSES, "dropout": 0.0, **statistics}
    classifier = build_classifier(architecture, arguments_of(architecture, side) | fixed)
    for parameter in classifier.parameters():
        if parameter.ndim == 1:  # blocks begin as the identity, which a graph would be spared
            nn.init.uniform_(parameter, 0.1, 0.5)
    images = torch.randint(0, 255, (4, side, side, 3), dtype=torch.uint8)
    export_onnx(ImageProbabilities(classifier), {"image": images}, "probabilities", folder / "model.onnx")
    (folder / "sample.jpg").write_bytes(sample.read_bytes())
    meta = {
        "task": "image_classification",
        "runtime": "onnx",
        "classes": [f"class {number}" for number in range(CLASSES)],
        "input": {"kind": "image", "height": side, "width": side, "channels": 3},
        "sample": "sample.jpg",
        "metrics": {},
    }
    (folder / "meta.json").write_text(json.dumps(meta))
