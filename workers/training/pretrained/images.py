"""A classifier of images on the body of a pretrained encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.contract import EventWriter, TrainSpec
from workers.pretrained.families import CONFIG_FILE, PREPROCESSOR_FILE
from workers.pretrained.model_card import damaged_checkpoint, read_facts
from workers.training.images import Seen
from workers.training.pretrained.adapting import prepare, settle
from workers.training.pretrained.bodies import build_body, config_of, load_body
from workers.training.temperature import divide_head

__all__ = ["PretrainedImage", "seen_by", "settle", "start"]

COLOURS = 3
USUAL_SIDE = 224
OF_ONE_SIDE = ("beit", "deit", "vit")  # their positions are learned, one for each patch
WITH_CLASS_TOKEN = ("beit", "deit", "dinov2", "vit")  # which stands first


class PretrainedImage(nn.Module):
    """Images [N, H, W, 3] on the scale 0 to 255 (uint8 or float) to logits [N, classes].

    What the checkpoint was trained to see (`mean` and `deviation` of each channel, on that scale) is part of the model.
    The class token of the body's last layer, or the mean of all places where there is none, is normalised, so that one
    learning rate suits all checkpoints, and a linear head stands on it.
    """

    def __init__(
        self, *, config: Mapping[str, Any], mean: Sequence[float], deviation: Sequence[float], classes: int,
        dropout: float, body: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("scale", 1 / torch.tensor(deviation, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.body = body or build_body(config)
        known = self.body.config
        self.has_class_token = known.model_type in WITH_CLASS_TOKEN
        self.width = getattr(known, "hidden_size", None) or known.hidden_sizes[-1]
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.width, classes)

    def features(self, images: Tensor) -> Tensor:
        """[N, width]"""
        pixels = (images.permute(0, 3, 1, 2).float() - self.mean) * self.scale
        states = self.body(pixel_values=pixels).last_hidden_state
        if states.ndim == 4:
            found = states.mean(dim=(2, 3))
        else:
            found = states[:, 0] if self.has_class_token else states.mean(dim=1)
        return F.layer_norm(found, (self.width,))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(images)))

    def divide_logits(self, temperature: float) -> None:
        """All logits are divided by `temperature` from now on."""
        divide_head(self.head, temperature)


def seen_by(spec: TrainSpec) -> Seen:
    """The squares that the checkpoint in `spec.start_dir` is shown. Raises ProgramFailure damaged_checkpoint."""
    config, asked = _read(spec, CONFIG_FILE), spec.hyperparameters["image_size"]
    if config.get("num_channels", COLOURS) != COLOURS:
        raise damaged_checkpoint("it sees other than three colours")
    own = config.get("image_size")
    if config["model_type"] in OF_ONE_SIDE and isinstance(own, int):
        return Seen(own, COLOURS)
    return Seen(asked or _side_of(_read(spec, PREPROCESSOR_FILE)) or USUAL_SIDE, COLOURS)


def _side_of(preprocessor: Mapping[str, Any]) -> int:
    """What is cut out of an image, or else what it is scaled to; 0 where neither is said."""
    for name in ("crop_size", "size"):
        size = preprocessor.get(name)
        sides = size.values() if isinstance(size, Mapping) else [size]
        found = [side for side in sides if isinstance(side, int) and side > 0]
        if found:
            return min(found)
    return 0


def scale_of(preprocessor: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, on the scale 0 to 255, from image_mean, image_std and rescale_factor."""
    factor = preprocessor.get("rescale_factor", 1 / 255) if preprocessor.get("do_rescale", True) else 1.0
    is_normalised = preprocessor.get("do_normalize", True)
    mean = preprocessor.get("image_mean", [0.5] * COLOURS) if is_normalised else [0.0] * COLOURS
    deviation = preprocessor.get("image_std", [0.5] * COLOURS) if is_normalised else [1.0] * COLOURS
    return [value / factor for value in mean], [value / factor for value in deviation]


def start(spec: TrainSpec, classes: int, events: EventWriter) -> tuple[nn.Module, dict[str, Any]]:
    """The classifier on the checkpoint in `spec.start_dir`, ready to learn, and the arguments that make it again.
    Raises ProgramFailure."""
    folder, settings = Path(spec.start_dir), spec.hyperparameters
    facts = read_facts(folder, spec.task)
    body = load_body(folder)
    mean, deviation = scale_of(_read(spec, PREPROCESSOR_FILE))
    arguments = {
        "config": config_of(body),
        "mean": mean,
        "deviation": deviation,
        "classes": classes,
        "dropout": settings["dropout"],
    }
    model = PretrainedImage(**arguments, body=body)
    events.log(f"Starting from {settings['start_from']} ({facts['label']}). {prepare(model, settings)}")
    return model, arguments


def _read(spec: TrainSpec, name: str) -> dict[str, Any]:
    try:
        found = json.loads((Path(spec.start_dir) / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged_checkpoint(f"{name}: {error}") from error
    if not isinstance(found, dict):
        raise damaged_checkpoint(f"{name} is no object")
    return found
