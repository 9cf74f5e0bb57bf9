"""The files of a model folder, as serving reads them. numpy and ONNX Runtime only."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from workers.arrays import read_arrays
from workers.contract import ProgramFailure
from workers.inference.packing import unpack

META_FILE = "meta.json"
ONNX_FILE = "model.onnx"
PACKED_FILE = "model.onnx.packed"
TREES_FILE = "model.safetensors"
TREES = "trees"
NETWORK_PREFIX = "network."


def read_meta(model_dir: Path) -> dict[str, Any]:
    """The model's meta.json. Raises ProgramFailure damaged_model."""
    try:
        meta = json.loads((model_dir / META_FILE).read_text())
    except (OSError, ValueError) as error:
        raise damaged(f"{META_FILE}: {error}") from error
    if not isinstance(meta, dict):
        raise damaged(f"{META_FILE} is not an object")
    return meta


def shares_of(meta: dict[str, Any]) -> dict[str, float]:
    """What a model answers with, and the share of each in the answer: "onnx", "trees", or "trees.<group>"."""
    return meta["blend"] if meta["runtime"] == "blend" else {meta["runtime"]: 1.0}


def tree_groups(meta: dict[str, Any]) -> list[str]:
    """The groups of trees of a model; "" is one without a name."""
    return [part.partition(".")[2] for part in shares_of(meta) if part.startswith(TREES)]


def load_trees(path: Path, group: str = "") -> dict[str, np.ndarray]:
    """The arrays of a group of trees in a model file, without the networks' weights, which serving reads from the
    graph. Raises OSError, ValueError."""
    prefix = f"{group}." if group else ""
    arrays = read_arrays(path, lambda name: name.startswith(prefix) and not name.startswith(NETWORK_PREFIX))
    return {name.removeprefix(prefix): array for name, array in arrays.items()}


def graph_path(model_dir: Path) -> Path:
    """Where the model's graph lies, packed or not."""
    packed = model_dir / PACKED_FILE
    return packed if packed.exists() else model_dir / ONNX_FILE


def open_session(model_dir: Path, threads: int, name: str = "") -> onnxruntime.InferenceSession:
    """The model's graph, or the one called `name`, ready to answer. Raises ProgramFailure damaged_model, also where
    there is none."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A thread that spins while it waits takes the core from everybody else on a shared machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = model_dir / name if name else graph_path(model_dir)
    try:
        graph = unpack(path.read_bytes()) if path.name == PACKED_FILE else str(path)
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own classes, which derive from Exception only
        raise damaged(f"{path.name}: {str(error)[:300]}") from error


def damaged(what: str) -> ProgramFailure:
    message = f"The model's files are damaged or not complete ({what})."
    return ProgramFailure("damaged_model", message, hint="Train or compress the model again.", blame="machine")


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header. Raises OSError, UnicodeDecodeError, csv.Error."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def read_column(path: Path, column: str) -> list[str]:
    """The lines of a text file that are not empty, or a column of a CSV file. Raises as `read_rows`, and ProgramFailure
    (missing_column)."""
    if path.suffix.lower() != ".csv":
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    rows = read_rows(path)
    if rows and column not in rows[0]:
        hint = "Add it, or write one text on each line of a .txt file."
        raise ProgramFailure("missing_column", f"{path.name} lacks the column {column!r}.", hint=hint)
    return [row[column] for row in rows]
