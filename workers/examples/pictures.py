"""Pictures: the digits that scikit-learn carries along, and control panels and spots of skin that are drawn here."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from workers.examples.files import csv_bytes, encode_png, write_zip

BRIGHTEST = 16  # load_digits counts dark pixels in blocks of 4 x 4
SIDE = 48  # of what is drawn, in pixels
PANELS = 600
SPOTS = {"harmless": 400, "suspicious": 280}

Blank = Callable[[np.random.Generator], np.ndarray]
Mark = Callable[[np.ndarray, np.random.Generator], None]


def write_digits(path: Path) -> None:
    """1,797 handwritten digits of 8 x 8 pixels, one folder of PNG files per class."""
    write_zip(digit_images(), path)


def digit_images() -> Iterator[tuple[str, bytes]]:
    """(path in the archive, PNG) of each digit: "digits/7/0007.png"."""
    digits = load_digits()
    pixels = np.round(digits.images * (255 / BRIGHTEST)).astype(np.uint8)
    for number, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
        yield f"digits/{label}/{number:04d}.png", encode_png(image)


# Pictures with any of several marks


def draw_marked(
    count: int, blank: Blank, marks: Mapping[str, Mark], shares: tuple[float, ...], seed: int = 0
) -> list[tuple[bytes, list[str]]]:
    """(PNG, its labels) of each: what `blank` makes, with marks that come independently, each on its share of all.

    `blank` makes pixels, (side, side) or (side, side, 3) from 0 to 255; a mark is painted into them.
    """
    random = np.random.default_rng(seed)
    found = []
    for has in random.random((count, len(marks))) < shares:
        pixels = blank(random)
        labels = [name for name, is_there in zip(marks, has, strict=True) if is_there]
        for name in labels:
            marks[name](pixels, random)
        found.append((encode_png(as_bytes(pixels)), labels))
    return found


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def write_panels(path: Path) -> None:
    """Control panels with any of six lamps lit, and a table that says which."""
    panels = [(f"panels/{number:03d}.png", *panel) for number, panel in enumerate(draw_panels(PANELS))]
    table = csv_bytes(["file", "labels"], ((name, "|".join(labels)) for name, _picture, labels in panels))
    write_zip([("metadata.csv", table), *((name, picture) for name, picture, _labels in panels)], path)


def draw_panels(count: int, seed: int = 0) -> list[tuple[bytes, list[str]]]:
    """(PNG, the lamps that are lit) of each."""
    return draw_marked(count, _panel, {name: partial(_light, lamp) for name, lamp in LAMPS.items()}, LIT, seed)


@dataclass(frozen=True)
class Lamp:
    """Where it sits, in pixels, and its colour when it is lit."""

    row: int
    column: int
    colour: tuple[int, int, int]


LAMPS = {
    "power": Lamp(15, 10, (70, 230, 90)),
    "pump on": Lamp(15, 24, (80, 170, 255)),
    "door open": Lamp(15, 38, (255, 200, 50)),
    "low pressure": Lamp(33, 10, (255, 200, 50)),
    "overheated": Lamp(33, 24, (255, 60, 50)),
    "service due": Lamp(33, 38, (250, 250, 250)),
}
LIT = (0.75, 0.5, 0.3, 0.3, 0.25, 0.25)


def _panel(random: np.random.Generator) -> np.ndarray:
    """Six dark lamps on grey metal in an uneven light with a reflection, seen by a camera that is never quite still."""
    rows, columns = _places(SIDE)
    pixels = np.full((SIDE, SIDE, 3), random.uniform(105, 135)) + random.normal(0, 4, 3)
    for lamp in LAMPS.values():
        reach = 5.6 - np.hypot(rows - lamp.row - random.normal(0, 0.4), columns - lamp.column - random.normal(0, 0.4))
        _paint(pixels, np.clip(reach, 0, 1), np.array((45, 45, 48)))
        _paint(pixels, np.clip(reach - 1.4, 0, 1), 0.2 * np.array(lamp.colour) + 20)
    light = random.normal(0, 0.35, 2) @ np.stack([rows - SIDE / 2, columns - SIDE / 2]).reshape(2, -1) / SIDE
    pixels *= 1 + np.clip(light, -0.4, 0.4).reshape(SIDE, SIDE, 1)
    along = np.cos(angle := random.uniform(0, np.pi)) * rows + np.sin(angle) * columns - random.uniform(0, SIDE)
    _paint(pixels, random.uniform(0, 0.12) * np.exp(-((along / random.uniform(3, 8)) ** 2)), np.full(3, 235.0))
    return pixels + random.normal(0, 4, pixels.shape)


def _light(lamp: Lamp, pixels: np.ndarray, random: np.random.Generator) -> None:
    """Its glass in its colour, with a halo around it."""
    rows, columns = _places(SIDE)
    distance = np.hypot(rows - lamp.row - random.normal(0, 0.4), columns - lamp.column - random.normal(0, 0.4))
    _paint(pixels, random.uniform(0.25, 0.45) * np.exp(-((distance / 9) ** 2)), np.array(lamp.colour))
    _paint(pixels, random.uniform(0.85, 1.0) * np.clip(5.2 - distance, 0, 1), np.array(lamp.colour))


def _places(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each pixel, (side, side) both."""
    rows, columns = np.mgrid[:side, :side].astype(float)
    return rows, columns


def _paint(pixels: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
    """`alpha` (side, side), from 0 (nothing) to 1 (this colour alone)."""
    pixels += alpha[..., None] * (colour - pixels)


# Spots of skin


def write_spots(path: Path) -> None:
    """Drawn spots of drawn skin, harmless and suspicious ones, a folder each."""
    write_zip(spots(SPOTS), path)


def spots(counts: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """(path in the archive, PNG) of so many pictures of each class."""
    random = np.random.default_rng(0)
    for label, count in counts.items():
        for number in range(count):
            yield f"drawn-spots/{label}/drawn-{number:03d}.png", encode_png(draw_spot(label == "suspicious", random))


def draw_spot(is_suspicious: bool, random: np.random.Generator) -> np.ndarray:
    """uint8 (48, 48, 3). A suspicious one tends to what the ABCD rule looks for (Nachbar and others, The ABCD rule of
    dermatoscopy, Journal of the American Academy of Dermatology 30, 1994): it is lopsided and large, has a
    ragged border and patches of other colours."""
    oddness = random.uniform(0.6, 1) if is_suspicious else random.uniform(0, 0.25)
    pixels = _skin(random)
    rows, columns = _places(SIDE)
    row, column = random.uniform(22, 26, 2)
    angles, distances = np.arctan2(rows - row, columns - column), np.hypot(rows - row, columns - column)
    edge = (random.uniform(6, 8) + 7 * oddness) * (1 + sum(
        oddness * random.normal(0, 0.35 / wave) * np.cos(wave * angles + random.uniform(0, 6)) for wave in range(1, 8)
    ))  # fmt: skip
    inside = np.clip((edge - distances) / random.uniform(1.0, 2.5), 0, 1)
    _paint(pixels, 0.9 * inside, np.array((115, 70, 48)) + random.normal(0, 8) + random.normal(0, 4, 3))
    for colour in PATCHES:
        if random.random() < oddness**2:
            spread = np.hypot(rows - row - random.normal(0, 4), columns - column - random.normal(0, 4))
            _paint(pixels, 0.8 * inside * np.exp(-((spread / random.uniform(3.5, 6)) ** 4)), np.array(colour))
    return as_bytes(pixels + random.normal(0, 3, pixels.shape[:2] + (1,)))


def _skin(random: np.random.Generator) -> np.ndarray:
    """One of four tones, lit from the middle, with a few hairs."""
    tone = np.array(SKINS[random.integers(len(SKINS))]) + random.normal(0, 3, 3)
    rows, columns = _places(SIDE)
    light = 1 - 0.12 * np.hypot(rows - 24, columns - 24) / 24
    pixels = tone * light[..., None]
    for _ in range(random.integers(0, 3)):
        bend, start, slope = random.normal(0, 0.01), random.uniform(0, 48), random.normal(0, 0.4)
        hair = np.abs(rows - start - slope * columns - bend * (columns - 24) ** 2)
        _paint(pixels, 0.5 * np.clip(1 - hair, 0, 1), np.array((60, 40, 30)))
    return pixels


SKINS = ((238, 205, 182), (224, 182, 150), (210, 165, 130), (195, 148, 115))
PATCHES = ((45, 30, 28), (95, 100, 120), (160, 60, 50))
