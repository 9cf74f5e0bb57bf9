"""A model of tables that predicts: a graph, trees, or both, blended by their shares.

A blend may hold several groups of trees, "trees.0", "trees.1", ...: each gives its own answer, and its arrays stand
under "0.", "1.", ... in model.safetensors. What a classifier answers is brought to the model's `temperature`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers import trees
from workers.contract import TABULAR_CLASSIFICATION
from workers.inference.files import TREES, TREES_FILE, load_trees, open_session, read_rows, shares_of
from workers.inference.outcomes import class_outcome, tempered
from workers.tables.encoder import Encoded, Row, TableEncoder

Scorer = Callable[[Encoded], np.ndarray]


class TablePredictor:
    """Class probabilities or a value for rows of a table."""

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        self.classes: list[str] = meta.get("classes", [])
        self.sample: Row = json.loads((model_dir / meta["sample"]).read_text())
        self.encoder = TableEncoder.from_meta(meta["encoder"])
        self.temperature: float = meta.get("temperature", 1.0)
        self._scorers = _scorers(model_dir, meta, threads)

    def encode(self, rows: Sequence[Row]) -> Encoded:
        """Raises ProgramFailure."""
        return self.encoder.encode(rows)

    def feed(self, rows: Sequence[Row]) -> dict[str, np.ndarray]:
        encoded = self.encode(rows)
        return {"numeric": encoded.numeric, "categorical": encoded.categorical}

    def mixed(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, classes] before the temperature, or [N] for a regression."""
        return sum(share * score(encoded) for score, share in self._scorers)

    def run(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, classes], or [N] for a regression."""
        return tempered(self.mixed(encoded), self.temperature)

    def predict(self, rows: Sequence[Row]) -> np.ndarray:
        """float64 [N, classes], or [N] for a regression. Raises ProgramFailure missing_column, wrong_type, ..."""
        return self.run(self.encode(rows))

    def items_in(self, path: Path) -> list[Row]:
        """The rows of a CSV file with a header."""
        return read_rows(path)

    def outcome(self, output: Any, top_k: int | None = None) -> dict[str, Any]:
        return class_outcome(self.classes, output, top_k) if self.classes else {"value": float(output)}


def _scorers(model_dir: Path, meta: dict[str, Any], threads: int) -> list[tuple[Scorer, float]]:
    """What runs, and the share that each has in the answer."""
    return [(_scorer(model_dir, meta, threads, part), share) for part, share in shares_of(meta).items()]


def _scorer(model_dir: Path, meta: dict[str, Any], threads: int, part: str) -> Scorer:
    runtime, _, group = part.partition(".")
    if runtime == TREES:
        return _tree_scorer(model_dir, meta, group)
    if runtime == "onnx":
        return _graph_scorer(model_dir, threads)
    raise ValueError(f"unknown runtime {runtime!r}")


def _graph_scorer(model_dir: Path, threads: int) -> Scorer:
    session = open_session(model_dir, threads)
    names = {item.name for item in session.get_inputs()}

    def score(encoded: Encoded) -> np.ndarray:
        arrays = {"numeric": encoded.numeric, "categorical": encoded.categorical}
        outputs = session.run(None, {name: value for name, value in arrays.items() if name in names})
        return outputs[0].astype(np.float64)

    return score


def _tree_scorer(model_dir: Path, meta: dict[str, Any], group: str) -> Scorer:
    ensemble = trees.Ensemble.from_arrays(load_trees(model_dir / TREES_FILE, group))
    if meta["task"] == TABULAR_CLASSIFICATION:
        return lambda encoded: trees.to_probabilities(ensemble.predict(encoded.matrix()))
    return lambda encoded: ensemble.predict(encoded.matrix())[:, 0]
