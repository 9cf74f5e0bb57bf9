"""Files as examples are written: the same bytes every time."""

import csv
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

DATE = (2020, 1, 1, 0, 0, 0)


def write_csv(path: Path, header: list[str], rows: Iterable[Iterable[object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        write_rows(file, header, rows)


def csv_bytes(header: list[str], rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    write_rows(text, header, rows)
    return text.getvalue().encode()


def write_rows(file: io.TextIOBase, header: list[str], rows: Iterable[Iterable[object]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


def write_zip(members: Iterable[tuple[str, bytes]], path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, DATE), content)


def encode_png(pixels: np.ndarray) -> bytes:
    """`pixels`: uint8, (height, width) or (height, width, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def encode_sound(samples: np.ndarray, rate: int, kind: str = "WAV") -> bytes:
    """`samples`: float [samples] or [samples, channels] between -1 and 1, `rate` of them a second."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind)
    return buffer.getvalue()
