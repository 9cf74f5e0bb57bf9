"""Images: occlusion sensitivity.

A patch in the mean colour of the image is laid over each place of a grid, and the probability of the class is asked
again: what it loses there, that place had given it (Zeiler and Fergus, "Visualizing and Understanding Convolutional
Networks", ECCV 2014, section 4.2). The weight of a cell is the mean over all patches P that cover it of

    p(class | image) - p(class | image with P covered).

Gradients (saliency, SmoothGrad) would be smoother, but they need the torch model: replicas have none, and compressed
models, fusions and quantised graphs have no gradients at all. Occlusion asks what is really served.
"""

from __future__ import annotations

import base64
import math
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from workers.images import decode
from workers.inference.explaining import Asking

if TYPE_CHECKING:
    from workers.inference.image_predictor import ImagePredictor

CELLS, PATCH = 12, 3  # a patch covers PATCH x PATCH of CELLS x CELLS cells: 100 places
SIDE = 360  # of the picture that is drawn, in pixels
STRONGEST = 0.75  # how much the colour hides of the picture
FOR, AGAINST = (220, 38, 38), (37, 99, 235)


def explain(predictor: ImagePredictor, item: bytes, asking: Asking) -> dict[str, Any]:
    """{"method", "grid", "overlay"}: `grid` is the weight of each cell, rows from the top; `overlay` the picture with
    what speaks for the class in red and what speaks against it in blue, a PNG in base64."""
    image = predictor.decode(item)
    weights = occlusion(image, replace(asking, predict=lambda images: predictor.run(np.stack(images))))
    overlay = base64.b64encode(draw(item, weights)).decode()
    return {"method": "occlusion", "grid": np.round(weights, 6).tolist(), "overlay": overlay}


def occlusion(image: np.ndarray, asking: Asking) -> np.ndarray:
    """float64 [rows, columns] for a uint8 [H, W, C] image; `asking` is asked about such images."""
    rows, columns = (edges(size) for size in image.shape[:2])
    places = [(top, left) for top in range(windows(rows)) for left in range(windows(columns))]
    fill = image.reshape(-1, image.shape[2]).mean(axis=0).round().astype(np.uint8)
    covered = [image, *(_cover(image, rows, columns, place, fill) for place in places)]
    scores = asking.scores(covered)
    lost, times = (np.zeros((len(rows) - 1, len(columns) - 1)) for _ in range(2))
    for (top, left), score in zip(places, scores[1:], strict=True):
        lost[top : top + PATCH, left : left + PATCH] += scores[0] - score
        times[top : top + PATCH, left : left + PATCH] += 1
    return lost / times


def edges(size: int) -> np.ndarray:
    """Where the cells along a side of so many pixels begin, and the end."""
    return np.linspace(0, size, min(CELLS, size) + 1).round().astype(int)


def windows(cells: np.ndarray) -> int:
    """How many places a patch has along that side."""
    return max(1, len(cells) - PATCH)


def _cover(
    image: np.ndarray, rows: np.ndarray, columns: np.ndarray, place: tuple[int, int], fill: np.ndarray
) -> np.ndarray:
    top, left = place
    bottom, right = min(top + PATCH, len(rows) - 1), min(left + PATCH, len(columns) - 1)
    covered = image.copy()
    covered[rows[top] : rows[bottom], columns[left] : columns[right]] = fill
    return covered


def draw(body: bytes, weights: np.ndarray) -> bytes:
    """The picture as PNG, with the weights laid over it."""
    picture = decode(body, SIDE, SIDE, 3).astype(np.float64)
    largest = np.abs(weights).max()
    scaled = (weights / largest if largest > 0 else weights).astype(np.float32)
    heat = np.asarray(Image.fromarray(scaled).resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64)
    heat = np.clip(heat, -1, 1)[..., None]
    colour = np.where(heat > 0, np.array(FOR), np.array(AGAINST))
    hidden = STRONGEST * np.abs(heat)
    mixed = picture * (1 - hidden) + colour * hidden
    file = BytesIO()
    Image.fromarray(mixed.round().astype(np.uint8)).resize(shown_size(body)).save(file, "PNG")
    return file.getvalue()


def shown_size(body: bytes) -> tuple[int, int]:
    """Width and height of the picture as it is drawn: upright, in its own shape."""
    with Image.open(BytesIO(body)) as image:
        width, height = image.size
        if image.getexif().get(0x0112, 1) >= 5:  # orientations that lie on their side
            width, height = height, width
    scale = SIDE / max(width, height)
    return max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale))
