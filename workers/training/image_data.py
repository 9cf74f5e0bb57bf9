"""Images of a data set version as arrays, decoded once, and random changes to batches of them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import torch
import torch.nn.functional as F
from torch import Tensor

from workers import images as decoder
from workers.contract import ProgramFailure
from workers.images import decode, is_grey
from workers.training.architectures import choose_side, sides_of
from workers.training.batches import Draws

CHUNK = 256
DECODER = Path(decoder.__file__)  # what another version of it has decoded is not used
# Random numbers that the changes to one image take at most.
DRAWS = 11


@dataclass(frozen=True)
class ImageRow:
    """One line of index.jsonl."""

    member: str
    label: str
    split: str
    width: int
    height: int
    source: str


def read_index(path: Path) -> list[ImageRow]:
    """The rows of an index, in its order. Raises ProgramFailure (unreadable_index)."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return [ImageRow(*(json.loads(line)[name] for name in ImageRow.__dataclass_fields__)) for line in lines if line]
    except (OSError, ValueError, KeyError) as error:
        message = f"The index of the data set cannot be read: {error!r}."
        raise ProgramFailure("unreadable_index", message, hint="Prepare the data set again.") from error


def image_origins(rows: Sequence[ImageRow]) -> np.ndarray:
    """Where each image comes from [N]: the path under which it was uploaded, up to the folder of its class."""
    return np.array([row.source.rpartition(f"{row.label}/")[0] for row in rows])


def choose_size(rows: Sequence[ImageRow], largest: int) -> int:
    """The side of the squares to train on (see `choose_side`), at most `largest` pixels."""
    return choose_side(*sides_of([(row.width, row.height) for row in rows]), largest)


class ImageSource:
    """The members of data.zip, decoded on demand with `threads` threads."""

    def __init__(self, path: Path, threads: int) -> None:
        try:
            self.archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise _unreadable_data(f"The archive of images cannot be read: {error}.") from error
        self.threads = max(1, threads)

    def read(self, row: ImageRow, height: int, width: int, channels: int) -> np.ndarray:
        return self._decode((row, self._body(row)), lambda body: decode(body, height, width, channels))

    def all_grey(self, rows: Sequence[ImageRow]) -> bool:
        """Whether no image has colour; stops at the first that has."""
        return all(self._decode((row, self._body(row)), is_grey) for row in rows)

    def read_all(self, rows: Sequence[ImageRow], side: int, channels: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (position, images [n, side, side, channels]) chunk by chunk."""
        with ThreadPoolExecutor(self.threads) as pool:
            for start in range(0, len(rows), CHUNK):
                bodies = [(row, self._body(row)) for row in rows[start : start + CHUNK]]
                images = pool.map(
                    lambda pair: self._decode(pair, lambda body: decode(body, side, side, channels)), bodies
                )
                yield start, np.stack(list(images))

    def _body(self, row: ImageRow) -> bytes:
        try:
            return self.archive.read(row.member)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise _unreadable_data(f"{row.member} ({row.source}) cannot be read from the archive of images.") from error

    @staticmethod
    def _decode(pair: tuple[ImageRow, bytes], function: Callable) -> np.ndarray:
        row, body = pair
        try:
            return function(body)
        except ProgramFailure as failure:
            message = f"{row.source}: {failure.message}"
            raise ProgramFailure(failure.code, message, hint="Prepare the data set again.") from failure


def _unreadable_data(message: str) -> ProgramFailure:
    return ProgramFailure("unreadable_data", message, hint="Prepare the data set again.")


def build_store(
    folder: Path, source: ImageSource, rows: Sequence[ImageRow], side: int, channels: int,
    progress: Callable[[float], None],
) -> np.ndarray:  # fmt: skip
    """All images as one memory-mapped uint8 array [N, side, side, channels]; made once, then found again.

    `folder` belongs to the data that `source` reads. Several processes may build at the same time: each has a file of
    its own, and the last one stays. `progress` is told the share that is done and may raise to stop.
    """
    facts = [[row.member for row in rows], side, channels, PIL.__version__]
    digest = hashlib.sha256(json.dumps(facts).encode() + DECODER.read_bytes()).hexdigest()
    path = folder / f"images-{digest[:16]}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            _write_store(temporary, source, rows, side, channels, progress)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def _write_store(
    path: Path, source: ImageSource, rows: Sequence[ImageRow], side: int, channels: int,
    progress: Callable[[float], None],
) -> None:  # fmt: skip
    store = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(rows), side, side, channels))
    for start, images in source.read_all(rows, side, channels):
        store[start : start + len(images)] = images
        progress((start + len(images)) / len(rows))
    store.flush()


def channel_statistics(store: np.ndarray, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over `rows` of the store, on the scale 0 to 255."""
    total, squares, count = 0.0, 0.0, 0
    for start in range(0, len(rows), CHUNK):
        pixels = store[rows[start : start + CHUNK]].reshape(-1, store.shape[-1]).astype(np.float64)
        total, squares, count = total + pixels.sum(axis=0), squares + (pixels**2).sum(axis=0), count + len(pixels)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1.0))
    return mean.tolist(), deviation.tolist()


@dataclass(frozen=True)
class Augmentation:
    """How far images are changed at random. Angles in degrees, the rest as shares of side, size or brightness."""

    angle: float
    shift: float
    scale: float
    contrast: float
    brightness: float
    is_mirrored: bool
    erased: float

    def __call__(self, inputs: tuple[Tensor, ...], draws: Draws) -> tuple[Tensor, ...]:
        """Change (images uint8 [N, H, W, C],) into (images float32 of the same shape on the scale 0 to 255,).

        The numbers are drawn on the CPU, so that a seed makes the same changes on every device; the pixels are worked
        on where they lie.
        """
        images = inputs[0].permute(0, 3, 1, 2).float()
        drawn = iter(draws.uniform(DRAWS).T.to(images.device, non_blocking=True))
        images = self._shade(self._move(images, drawn), drawn)
        if self.erased:
            images = self._erase(images, drawn)
        # A copy in which a pixel's colours lie side by side, as in the store: convolutional networks take on the order
        # of what they are given, and are half as fast again in this one.
        return (images.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format),)

    def _move(self, images: Tensor, drawn: Iterator[Tensor]) -> Tensor:
        height, width = images.shape[2:]
        angle = _spread(next(drawn), math.radians(self.angle))
        scale = torch.exp(_spread(next(drawn), math.log1p(self.scale)))
        across, down = _spread(next(drawn), 2 * self.shift), _spread(next(drawn), 2 * self.shift)
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        mirror = 1 - 2 * (next(drawn) < 0.5).float() if self.is_mirrored else 1.0
        # The sampling points [N, 2, H, W] as sums of what a column and what a row adds: torch's affine_grid multiplies
        # matrices for every pixel, which takes longer than the sampling itself.
        by_column = torch.stack([cos * mirror, sin * mirror], dim=1)[:, :, None, None] * _centres(width, images.device)
        by_row = torch.stack([-sin, cos], dim=1)[:, :, None] * _centres(height, images.device)
        by_row += torch.stack([across, down], dim=1)[:, :, None]
        grid = (by_column + by_row[..., None]).permute(0, 2, 3, 1)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)

    def _shade(self, images: Tensor, drawn: Iterator[Tensor]) -> Tensor:
        """Changed in place: these are the pixels that `_move` made."""
        contrast = 1 + _spread(next(drawn), self.contrast).reshape(-1, 1, 1, 1)
        brightness = 255 * _spread(next(drawn), self.brightness).reshape(-1, 1, 1, 1)
        middle = images.mean(dim=(1, 2, 3), keepdim=True)
        return images.mul_(contrast).add_(middle * (1 - contrast) + brightness).clamp_(0, 255)

    def _erase(self, images: Tensor, drawn: Iterator[Tensor]) -> Tensor:
        """Cover a square of at most `erased` of the side with the image's mean colour, in half of the images."""
        height, width = images.shape[2:]
        half = next(drawn) * self.erased * (next(drawn) < 0.5)  # the whole side is 2 long
        down = _centres(height, images.device) - _spread(next(drawn), 1.0)[:, None]
        across = _centres(width, images.device) - _spread(next(drawn), 1.0)[:, None]
        covered = (down.abs() < half[:, None])[:, :, None] & (across.abs() < half[:, None])[:, None]
        return torch.where(covered[:, None], images.mean(dim=(2, 3), keepdim=True), images)


AUGMENTATIONS = {
    "none": None,
    "light": Augmentation(
        angle=10, shift=0.08, scale=0.1, contrast=0.2, brightness=0.1, is_mirrored=False, erased=0.0
    ),
    "strong": Augmentation(
        angle=15, shift=0.12, scale=0.2, contrast=0.4, brightness=0.15, is_mirrored=True, erased=0.4
    ),
}  # fmt: skip


def _spread(drawn: Tensor, reach: float) -> Tensor:
    """Numbers between 0 and 1 evenly spread between -reach and reach."""
    return (2 * drawn - 1) * reach


def _centres(length: int, device: torch.device) -> Tensor:
    """Where the middles of `length` pixels lie between -1 and 1."""
    return (2 * torch.arange(length, device=device) + 1) / length - 1
