"""What ``make bench-serving`` asks with and about: pictures of 20 to 60 KB, and an exported model with drawn weights.

Speed does not depend on what a model has learned, so nothing is trained.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from workers.training.architectures import PRETRAINED, arguments_of
from workers.training.export import export_onnx
from workers.training.image_models import ImageProbabilities, build_classifier
from workers.training.tuning import save_classifier

CLASSES = 10
SMALLEST_BYTES, LARGEST_BYTES = 20_000, 60_000
QUALITY = 85
SAMPLE = "sample.png"  # as a training calls it
RESNET18 = {  # He et al. 2016, as transformers builds it
    "model_type": "resnet", "layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512],
    "embedding_size": 64, "num_channels": 3,
}  # fmt: skip


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


def draw_classifier(architecture: str, side: int) -> nn.Module:
    """One of Lepton's own networks, or "resnet18", with drawn weights."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    classifier = build_classifier(*_describe(architecture, side))
    for parameter in classifier.parameters():
        if parameter.ndim == 1:  # blocks begin as the identity, which a graph would be spared
            nn.init.uniform_(parameter, 0.1, 0.5)
    return classifier


def some_images(side: int, count: int = 4) -> torch.Tensor:
    """uint8 [N, H, W, C]."""
    return torch.randint(0, 255, (count, side, side, 3), dtype=torch.uint8)


def write_model(folder: Path, architecture: str, side: int, sample: Path) -> None:
    """A model folder as a training writes it; `architecture` as for `draw_classifier`."""
    classifier = draw_classifier(architecture, side)
    kind, arguments = _describe(architecture, side)
    meta = {
        "task": "image_classification",
        "runtime": "onnx",
        "architecture": kind,
        "architecture_args": arguments,
        "classes": [f"class {number}" for number in range(CLASSES)],
        "input": {"kind": "image", "height": side, "width": side, "channels": 3},
        "sample": SAMPLE,
        "metrics": {},
    }
    save_classifier(classifier, meta, folder)
    export_onnx(ImageProbabilities(classifier), {"image": some_images(side)}, "probabilities", folder / "model.onnx")
    Image.open(sample).save(folder / SAMPLE)


def _describe(architecture: str, side: int) -> tuple[str, dict[str, Any]]:
    """What `build_classifier` is told."""
    common = {"classes": CLASSES, "dropout": 0.0, "mean": (125.0,) * 3, "deviation": (64.0,) * 3}
    if architecture == "resnet18":
        return PRETRAINED, {"config": RESNET18, **common}
    return architecture, {"channels": 3, **arguments_of(architecture, side), **common}
