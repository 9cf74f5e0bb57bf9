"""What of a training decides how long a step takes: the network and the size of what goes through it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from workers.training.architectures import LARGEST_SIDES, choose_architecture, choose_side

COLOUR = 3  # whether all images are grey is only known once they are decoded; it changes the first layer alone


@dataclass(frozen=True)
class Shape:
    """Images of `side` x `side` pixels; `precision` is what mixed_precision says."""

    architecture: str
    side: int
    classes: int
    channels: int = COLOUR
    precision: str = "no"

    @property
    def key(self) -> str:
        """Equal for shapes whose layers take the same time. The number of classes is in the head alone and is left out,
        so that what was measured for one data set serves the next."""
        values = {name: value for name, value in asdict(self).items() if name != "classes"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class ProfileSpec:
    """Measure `shape` on this machine's `device` and leave the answer in ``work_dir/profile.json``."""

    work_dir: str
    shape: dict[str, Any]
    device: str = "cpu"
    threads: int = 1


def shape_of(hyperparameters: Mapping[str, Any], report: Mapping[str, Any]) -> Shape:
    """The shape of a training on images: complete hyper-parameters, and the report of the data set version."""
    architecture = choose_architecture(hyperparameters["model"])
    most = LARGEST_SIDES[architecture]
    side = hyperparameters["image_size"]
    if not side:
        sides = report.get("sides")
        side = choose_side(*sides, most) if sides else most
    classes = max(2, len(report.get("classes", [])))
    return Shape(architecture, side, classes, precision=hyperparameters["mixed_precision"])
