"""Pictures with any of four marks, each in a corner of its own, and uploads of them with a table."""

import io
import zipfile
from collections.abc import Sequence
from functools import partial

import numpy as np

from workers.examples.pictures import draw_marked

NAMES = ("bar", "dot", "ring", "cross stitch")
SIDE = 16
MARKS = {
    "bar": (slice(1, 3), slice(1, 7)),
    "dot": (slice(2, 5), slice(11, 14)),
    "ring": (slice(9, 15), slice(1, 7)),
    "cross stitch": (slice(12, 13), slice(9, 15)),
}
SHARES = (0.6, 0.4, 0.4, 0.12)


def draw(count: int, seed: int = 0) -> list[tuple[bytes, list[str]]]:
    """(PNG, its labels) of each: grey noise with marks, which come independently, the last one rarely."""
    marks = {name: partial(_fill, area) for name, area in MARKS.items()}
    return draw_marked(count, lambda random: random.integers(0, 90, (SIDE, SIDE)), marks, SHARES, seed)


def _fill(area: tuple[slice, slice], pixels: np.ndarray, random: np.random.Generator) -> None:
    pixels[area] = random.integers(150, 255)


def table_of(pictures: Sequence[tuple[bytes, list[str]]], separator: str = "|") -> str:
    rows = [f"img/{number}.png,{separator.join(labels)}" for number, (_, labels) in enumerate(pictures)]
    return "\n".join(["file,labels", *rows])


def flags_of(pictures: Sequence[tuple[bytes, list[str]]]) -> str:
    """The same as a column of 0 and 1 for each label."""
    rows = [",".join([f"img/{number}.png", *(str(int(name in labels)) for name in NAMES)])
            for number, (_, labels) in enumerate(pictures)]  # fmt: skip
    return "\n".join([",".join(["file", *NAMES]), *rows])


def zip_of(pictures: Sequence[tuple[bytes, list[str]]], table: str, name: str = "metadata.csv") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, table)
        for number, (body, _) in enumerate(pictures):
            archive.writestr(f"img/{number}.png", body)
    return buffer.getvalue()
