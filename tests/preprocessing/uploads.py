"""Uploads as people make them, good and hostile, and one call that prepares them in a folder of the test."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from workers.contract import EVENTS_FILE, DataFile, EventWriter, PrepareSpec, ProgramFailure
from workers.preprocessing.__main__ import prepare
from workers.preprocessing.limits import DEFAULT_LIMITS, Limits

Entries = Mapping[str, bytes] | Iterable[tuple[str | zipfile.ZipInfo, bytes]]


def picture(seed: int, size: tuple[int, int] = (8, 6), kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    """An encoded image of noise; equal seeds give equal bytes."""
    channels = len(Image.new(mode, (1, 1)).tobytes())
    noise = random.Random(seed).randbytes(size[0] * size[1] * channels)
    out = io.BytesIO()
    Image.frombytes(mode, size, noise).save(out, kind, **options)
    return out.getvalue()


def folders(prefix: str = "", classes: Iterable[str] = ("cats", "dogs"), count: int = 10, first: int = 0):
    """Entries of `count` different images in each class folder."""
    return {
        f"{prefix}{label}/{number}.png": picture(first + 1000 * place + number)
        for place, label in enumerate(classes)
        for number in range(count)
    }


def zip_bytes(entries: Entries, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in entries.items() if isinstance(entries, Mapping) else entries:
            archive.writestr(name, data)
    return out.getvalue()


def csv_text(rows: Iterable[Iterable[object]], delimiter: str = ",") -> str:
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows)


def people(count: int = 60, offset: int = 0) -> list[list[object]]:
    """Header and rows of a small table whose last column has two classes."""
    rows = [
        [20 + n % 45, f"{n + offset}.5", "red" if n % 3 else "blue", "yes" if n % 2 else "no"] for n in range(count)
    ]
    return [["age", "income", "colour", "bought"], *rows]


@dataclass
class Prepared:
    """What a preparation left in its folder."""

    output: Path
    report: dict[str, Any]

    @property
    def images(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.output / "index.jsonl").read_text().splitlines()]

    @property
    def index(self) -> dict[str, Any]:
        return json.loads((self.output / "index.json").read_text())

    @property
    def bad(self) -> dict[str, str]:
        return {bad["path"]: bad["code"] for bad in self.report["bad"]}

    @property
    def classes(self) -> dict[str, int]:
        return {row["name"]: row["count"] for row in self.report["classes"]}

    @property
    def warnings(self) -> set[str]:
        return {warning["code"] for warning in self.report["findings"]}


class Workplace:
    """Writes uploads below one folder and prepares them there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs = 0

    def spec(self, uploads: Mapping[str, bytes | str], splits: Mapping[str, str] | None = None, **options: Any):
        self._runs += 1
        work_dir = self.folder / f"run{self._runs}"
        work_dir.mkdir()
        files = []
        for number, (name, data) in enumerate(uploads.items()):
            path = work_dir / f"upload{number}"
            path.write_bytes(data.encode() if isinstance(data, str) else data)
            files.append(DataFile(name, str(path), (splits or {}).get(name)))
        return PrepareSpec(str(work_dir), tuple(files), **options)

    def prepare(
        self, uploads: Mapping[str, bytes | str], *, limits: Limits = DEFAULT_LIMITS, **options: Any
    ) -> Prepared:
        spec = self.spec(uploads, **options)
        work_dir = Path(spec.work_dir)
        report = prepare(spec, EventWriter(work_dir / EVENTS_FILE), limits)
        assert json.loads((work_dir / "output" / "report.json").read_text()) == report
        return Prepared(work_dir / "output", report)

    def refusal(self, uploads: Mapping[str, bytes | str], **options: Any) -> ProgramFailure:
        """The failure that these uploads end in; nothing may be left of them."""
        with pytest.raises(ProgramFailure) as caught:
            self.prepare(uploads, **options)
        left = {
            path.name for path in (self.folder / f"run{self._runs}").iterdir() if not path.name.startswith("upload")
        }
        assert left <= {EVENTS_FILE}
        assert caught.value.message.endswith(".")
        return caught.value
