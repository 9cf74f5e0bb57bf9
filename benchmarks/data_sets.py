"""Data sets that a ``sets.json`` lists, taken through the programs that the site runs.

An entry has "name", "train", "test", "task", "metric", and where they apply "val", "target", "source" (the column
of what is translated, or of questions), "ignore" (columns that are no input) and "baseline"; files are relative to the
folder.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workers.contract import KIND_AUDIO, KIND_IMAGES, KIND_TABLE, SPLITS, DataFile, PrepareSpec

FILES = {
    KIND_IMAGES: ("data.zip", "index.jsonl"),
    KIND_AUDIO: ("data.zip", "index.jsonl"),
    KIND_TABLE: ("data.csv", "index.json"),
}


@dataclass(frozen=True)
class DataSet:
    """One entry: `files` by split, as absolute paths."""

    name: str
    task: str
    metric: str
    files: dict[str, Path]
    target: str | None = None
    source: str | None = None
    ignore: tuple[str, ...] = ()
    baseline: float | None = None

    def without_ignored(self, folder: Path) -> DataSet:
        """The same with copies in `folder` that lack the columns to ignore."""
        if not self.ignore:
            return self
        return replace(self, files={split: _copy(path, folder, self.ignore) for split, path in self.files.items()})

    def spec(self, work_dir: Path) -> PrepareSpec:
        files = tuple(DataFile(f"{split}{path.suffix}", str(path), split) for split, path in self.files.items())
        return PrepareSpec(str(work_dir), files, target=self.target)


def read_sets(folder: Path, names: Sequence[str] = ()) -> list[DataSet]:
    """Those of `names`, or all. Raises OSError, ValueError, KeyError for a name that is not listed."""
    listed = {entry["name"]: _read(entry, folder) for entry in json.loads((folder / "sets.json").read_text())}
    return [listed[name] for name in names] if names else list(listed.values())


def _read(entry: dict[str, Any], folder: Path) -> DataSet:
    files = {split: folder / entry[split] for split in SPLITS if entry.get(split)}
    facts = {name: entry.get(name) for name in ("target", "source", "baseline")}
    return DataSet(entry["name"], entry["task"], entry["metric"], files, ignore=tuple(entry.get("ignore", ())), **facts)


def prepared_paths(work_dir: Path) -> dict[str, str]:
    """`data_path` and `index_path` of what a preparation left in `work_dir`."""
    output = work_dir / "output"
    data, index = FILES[json.loads((output / "report.json").read_text())["kind"]]
    return {"data_path": str(output / data), "index_path": str(output / index)}


def _copy(path: Path, folder: Path, ignored: Sequence[str]) -> Path:
    rows = read_table(path)
    return write_table(folder / path.name, [{name: row[name] for name in row if name not in ignored} for row in rows])


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
