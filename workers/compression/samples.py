"""The items of a frozen data set version as a served model is asked about them: image files, rows, or texts."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.contract import TABULAR_REGRESSION, CompressSpec, ProgramFailure
from workers.domains import TASKS
from workers.tables.cells import is_missing


@dataclass(frozen=True)
class Samples:
    """`inputs[i]` is an image file's bytes, a row or a text; `targets` are class numbers int64 [N] or values float64
    [N]."""

    inputs: Sequence[Any]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, positions: Sequence[int] | np.ndarray) -> Samples:
        return Samples([self.inputs[int(position)] for position in positions], self.targets[positions])


class Members(Sequence):
    """Members of data.zip, read when they are asked for."""

    def __init__(self, archive: zipfile.ZipFile, names: list[str]) -> None:
        self._archive, self._names = archive, names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, position: int) -> bytes:
        return self._archive.read(self._names[position])


def load_samples(spec: CompressSpec, meta: dict[str, Any]) -> dict[str, Samples]:
    """Samples by split, of those splits that have any. Items of a class that the model does not know are left out.

    Raises ProgramFailure (unreadable_data, nothing_to_measure).
    """
    try:
        found = TASKS[spec.task].load("samples")(spec, meta)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        message = f"The data set cannot be read: {error!r}."
        raise ProgramFailure("unreadable_data", message, hint="Prepare the data set again.") from error
    if "train" not in found or not {"val", "test"} & set(found):
        message = "The data set has no items left to calibrate with and to measure on."
        raise ProgramFailure("nothing_to_measure", message, hint="Use the data set that the model was trained on.")
    return found


def load_images(spec: CompressSpec, meta: dict[str, Any]) -> dict[str, Samples]:
    classes = {name: number for number, name in enumerate(meta["classes"])}
    archive = zipfile.ZipFile(spec.data_path)
    lines = Path(spec.index_path).read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines if line]
    found = {}
    for split in ("train", "val", "test"):
        known = [item for item in items if item["split"] == split and item["label"] in classes]
        if known:
            targets = np.array([classes[item["label"]] for item in known], dtype=np.int64)
            found[split] = Samples(Members(archive, [item["member"] for item in known]), targets)
    return found


def load_rows(spec: CompressSpec, meta: dict[str, Any]) -> dict[str, Samples]:
    target = spec.target or meta["target"]
    classes = {name: number for number, name in enumerate(meta.get("classes", []))}
    splits = json.loads(Path(spec.index_path).read_text())["split"]
    with open(spec.data_path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found: dict[str, tuple[list[dict], list[float]]] = {}
    for row, split in zip(rows, splits, strict=True):
        label = row[target].strip()
        if is_missing(label) or (spec.task != TABULAR_REGRESSION and label not in classes):
            continue
        inputs, targets = found.setdefault(split, ([], []))
        inputs.append({name: value for name, value in row.items() if name != target})
        targets.append(float(label) if spec.task == TABULAR_REGRESSION else classes[label])
    dtype = np.float64 if spec.task == TABULAR_REGRESSION else np.int64
    return {split: Samples(inputs, np.array(targets, dtype=dtype)) for split, (inputs, targets) in found.items()}


def load_texts(spec: CompressSpec, meta: dict[str, Any]) -> dict[str, Samples]:
    """Rows, of which the model sees one column; those without a text are left out, as in training."""
    column = meta["input"]["column"]
    found = {}
    for split, rows in load_rows(spec, meta).items():
        kept = [number for number, row in enumerate(rows.inputs) if not is_missing(row[column])]
        if kept:
            found[split] = Samples([rows.inputs[number][column] for number in kept], rows.targets[kept])
    return found
