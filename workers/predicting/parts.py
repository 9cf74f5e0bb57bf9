"""What has been answered so far, in parts on disk. A checkpoint is all parts up to a row, so nothing is asked twice.

Parts are JSON Lines. A checkpoint is a folder with links to all parts until then and a manifest; it is written beside
its place and then moved there, so one that is there is whole. Stored files are kept once by their content, so a part
that stands in several checkpoints takes its room once.
"""

from __future__ import annotations

import json
import os
import shutil
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from workers import fence
from workers.contract import CHECKPOINT_FOLDER

MANIFEST = "manifest.json"
PREFIX = "rows-"
KEPT = 2

Record = dict[str, Any]


class Parts:
    """`done` rows are answered. With `resume` those of the newest checkpoint are taken over, else all is dropped."""

    def __init__(self, work_dir: Path, *, resume: bool) -> None:
        self.work_dir, self.folder = work_dir, work_dir / CHECKPOINT_FOLDER
        self.parts = work_dir / "parts"
        shutil.rmtree(self.parts, ignore_errors=True)
        self.parts.mkdir(parents=True)
        self.done, self._open = 0, None
        if resume:
            self._take_over()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _take_over(self) -> None:
        for folder in sorted(self.folder.glob(f"{PREFIX}*"), reverse=True):
            try:
                manifest = json.loads((folder / MANIFEST).read_text())
                for name in manifest["parts"]:
                    shutil.copyfile(folder / name, self.parts / name)
                self.done = manifest["done"]
                return
            except (OSError, ValueError, KeyError):
                continue

    def add(self, records: Iterable[Record]) -> None:
        """Append answered rows."""
        if self._open is None:
            path = self.parts / f"part-{self.done:012d}.jsonl"
            self._open = open(path, "w", encoding="utf-8")  # noqa: SIM115 (open until the next checkpoint)
        for record in records:
            self._open.write(json.dumps(record, ensure_ascii=False) + "\n")
            self.done += 1

    def checkpoint(self) -> Path:
        """Keep what is answered so far; returns the checkpoint relative to the work folder. Raises Fenced, OSError."""
        self.close()
        final = self.folder / f"{PREFIX}{self.done:012d}"
        temporary = self.folder / f".{final.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for path in self._paths():
            os.link(path, temporary / path.name)
        manifest = {"format": 1, "done": self.done, "parts": [path.name for path in self._paths()]}
        (temporary / MANIFEST).write_text(json.dumps(manifest))
        fence.check()
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        for old in sorted(self.folder.glob(f"{PREFIX}*"))[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return final.relative_to(self.work_dir)

    def close(self) -> None:
        """Put what was added onto the disk."""
        if self._open is not None:
            self._open.flush()
            os.fsync(self._open.fileno())
            self._open.close()
            self._open = None

    def records(self) -> Iterator[Record]:
        """Every answered row, in order."""
        self.close()
        for path in self._paths():
            with open(path, encoding="utf-8") as file:
                yield from map(json.loads, file)

    def at(self, numbers: Iterable[int]) -> Iterator[Record]:
        """The answered rows of these numbers, from 0 on, in this order; of each row 8 bytes are held in memory."""
        self.close()
        starts, offsets, files = [], array("q"), []
        try:
            for path in self._paths():
                starts.append(len(offsets))
                files.append(open(path, "rb"))  # noqa: SIM115 (open until all are read)
                offset = 0
                for line in files[-1]:
                    offsets.append(offset)
                    offset += len(line)
            for number in numbers:
                file = files[bisect_right(starts, number) - 1]
                file.seek(offsets[number])
                yield json.loads(file.readline())
        finally:
            for file in files:
                file.close()

    def _paths(self) -> list[Path]:
        return sorted(self.parts.glob("part-*.jsonl"))
