"""The image networks by name, and the size of images each is trained on. Pure: the site plans with it.

A residual network is a stem convolution, then for each of `widths` as many residual blocks as `blocks` says, then the
head. A vision transformer makes `width` numbers of each patch of the image, and has `depth` blocks of `heads` heads
(workers/training/image_models.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

VIT_TINY = "vit_tiny"
PRETRAINED = "pretrained"  # a classifier on the body of a checkpoint (workers/training/pretrained/images.py)
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "resnet_tiny": {"widths": (16, 32, 64), "blocks": 1},
    "resnet_small": {"widths": (32, 64, 128), "blocks": 2},
    VIT_TINY: {"width": 64, "depth": 4, "heads": 4},
}
EXPANSION = 2  # how much wider a transformer is between two attentions
AUTO_MODEL = "resnet_tiny"
LARGEST_SIDES = {"resnet_tiny": 64, "resnet_small": 96, VIT_TINY: 96}
SMALLEST_SIDE, SIDE_STEP = 16, 8
# From this side on the first convolution halves the image, or the first stage would take most of the time.
STRIDED_STEM_SIDE = 48
PATCHES = 8  # about so many along each side of an image


def choose_architecture(model: str) -> str:
    return AUTO_MODEL if model == "auto" else model


def stem_stride(side: int) -> int:
    return 2 if side >= STRIDED_STEM_SIDE else 1


def halvings(side: int) -> int:
    """How often an image is halved before it is looked at patch by patch: so that some `PATCHES` stand along a side."""
    return max(1, round(math.log2(side / PATCHES)))


def arguments_of(architecture: str, side: int) -> dict[str, Any]:
    """What of the arguments of `build_classifier` is fixed by the architecture and by the side of the images."""
    if architecture == VIT_TINY:
        return {**ARCHITECTURES[architecture], "side": side, "halvings": halvings(side)}
    return {**ARCHITECTURES[architecture], "stem_stride": stem_stride(side)}


def choose_side(smallest: float, median: float, largest: float, most: int) -> int:
    """The side of the squares to train on, from the sides of the images: their median, between 16 and `most` pixels.

    Images of nearly one size keep it to the pixel; else it is rounded to a multiple of 8.
    """
    if largest - smallest >= 1:
        median = round(median / SIDE_STEP) * SIDE_STEP
    return int(min(most, max(SMALLEST_SIDE, round(median))))


def sides_of(sizes: Sequence[tuple[int, int]]) -> tuple[float, float, float]:
    """Smallest, median and largest side of images of these widths and heights, as squares of the same area."""
    sides = sorted((width * height) ** 0.5 for width, height in sizes)
    middle = len(sides) // 2
    median = sides[middle] if len(sides) % 2 else (sides[middle - 1] + sides[middle]) / 2
    return sides[0], median, sides[-1]
