"""Colour JPEGs of 100 to 200 pixels in ten classes, made from what ships with scikit-learn.

A handwritten digit, enlarged and tinted, lies over a piece of one of the sample photographs. They are written twice: as
files in one folder for each split and class, and as the archive and index that Lepton's preparation leaves.
"""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

SIDES = (100, 200)
NOISE = 12.0
QUALITY = 85


def write_images(folder: Path, train: int, val: int, seed: int = 0) -> Path:
    """`train` + `val` images under `folder`: ``files/<split>/<class>/*.jpg``, ``data.zip`` and ``index.jsonl``."""
    random = np.random.default_rng(seed)
    digits, photos = load_digits(), load_sample_images().images
    with zipfile.ZipFile(folder / "data.zip", "w") as archive, open(folder / "index.jsonl", "w") as index:
        for number in range(train + val):
            place = number % len(digits.target)
            split, label = "train" if number < train else "val", str(digits.target[place])
            pixels = _draw(digits.images[place], photos[number % len(photos)], random)
            body, member = _jpeg(pixels), f"{number:06d}.jpg"
            path = folder / "files" / split / label / member
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            archive.writestr(member, body)
            height, width = pixels.shape[:2]
            row = {"member": member, "label": label, "split": split, "width": width, "height": height,
                   "source": f"{split}/{label}/{member}"}  # fmt: skip
            index.write(json.dumps(row) + "\n")
    return folder


def _draw(digit: np.ndarray, photo: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """`digit` [8, 8] from 0 to 16 over a piece of `photo`, as uint8 [height, width, 3]."""
    height, width = random.integers(*SIDES, size=2, endpoint=True)
    top, left = random.integers(0, photo.shape[0] - height), random.integers(0, photo.shape[1] - width)
    background = photo[top : top + height, left : left + width].astype(np.float32) * 0.6
    ink = Image.fromarray((digit * 15.9375).astype(np.uint8)).resize(
        (int(width), int(height)), Image.Resampling.BICUBIC
    )
    share = np.asarray(ink, dtype=np.float32)[..., None] / 255
    pixels = background * (1 - share) + random.uniform(150, 255, 3) * share
    return np.clip(pixels + random.normal(0, NOISE, pixels.shape), 0, 255).astype(np.uint8)


def _jpeg(pixels: np.ndarray) -> bytes:
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "JPEG", quality=QUALITY)
    return body.getvalue()
