"""A model folder as something that predicts. numpy, Pillow and ONNX Runtime only, so that it is ready in a second.

Images: ``predict_image(body)`` is decode and run. Texts: ``predict_texts(texts)`` is encode and run. Tables:
``predict_rows(rows)`` is encode and run; what runs is a graph in model.onnx, trees in model.safetensors, or both,
blended by their shares. A blend may hold several groups of trees, "trees.0", "trees.1", ...: each gives its own answer,
and its arrays stand under "0.", "1.", ... in the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from safetensors import SafetensorError, safe_open

from workers import trees
from workers.contract import IMAGE_CLASSIFICATION, TABULAR_CLASSIFICATION, TEXT_CLASSIFICATION, ProgramFailure
from workers.images import decode
from workers.tabular import Encoded, Row, TableEncoder
from workers.texts import TextEncoder

META_FILE = "meta.json"
ONNX_FILE = "model.onnx"
TREES_FILE = "model.safetensors"
TREES = "trees"
NETWORK_PREFIX = "network."
TEXTS_AT_ONCE = 32

Scorer = Callable[[Encoded], np.ndarray]


class ImagePredictor:
    """Class probabilities of a picture."""

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        self.classes: list[str] = meta["classes"]
        self.sample = (model_dir / meta["sample"]).read_bytes()
        size = meta["input"]
        self.shape = (size["height"], size["width"], size["channels"])
        self._session = open_session(model_dir / ONNX_FILE, threads)
        self._input = self._session.get_inputs()[0].name

    def decode(self, body: bytes) -> np.ndarray:
        """uint8 [H, W, C]. Raises ProgramFailure."""
        return decode(body, *self.shape)

    def encode(self, bodies: Sequence[bytes]) -> np.ndarray:
        """uint8 [N, H, W, C]. Raises ProgramFailure."""
        return np.stack([self.decode(body) for body in bodies])

    def run(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, classes] for uint8 [N, H, W, C]."""
        return self._session.run(None, {self._input: images})[0]

    def predict_image(self, body: bytes) -> np.ndarray:
        """float32 [classes]. Raises ProgramFailure for what is no usable picture."""
        return self.run(self.decode(body)[None])[0]


class TablePredictor:
    """Class probabilities or a value for rows of a table."""

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        self.classes: list[str] = meta.get("classes", [])
        self.sample: Row = json.loads((model_dir / meta["sample"]).read_text())
        self.encoder = TableEncoder.from_meta(meta["encoder"])
        self._scorers = _scorers(model_dir, meta, threads)

    def encode(self, rows: Sequence[Row]) -> Encoded:
        """Raises ProgramFailure."""
        return self.encoder.encode(rows)

    def run(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, classes], or [N] for a regression."""
        return sum(share * score(encoded) for score, share in self._scorers)

    def predict_rows(self, rows: Sequence[Row]) -> np.ndarray:
        """float64 [N, classes], or [N] for a regression. Raises ProgramFailure missing_column, wrong_type, ..."""
        return self.run(self.encode(rows))


class TextPredictor:
    """Class probabilities of texts in any language."""

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        self.classes: list[str] = meta["classes"]
        self.sample: str = json.loads((model_dir / meta["sample"]).read_text(encoding="utf-8"))["text"]
        self.encoder = TextEncoder.from_meta(meta["encoder"])
        self._session = open_session(model_dir / ONNX_FILE, threads)
        self._input = self._session.get_inputs()[0].name

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """int32 [N, L]"""
        return self.encoder.encode(texts)

    def run(self, ids: np.ndarray) -> np.ndarray:
        """float32 [N, classes] for int32 [N, L]."""
        return self._session.run(None, {self._input: ids})[0]

    def predict_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [N, classes], in parts, so that a long text among many short ones costs no more than it must."""
        parts = [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]
        return np.concatenate([self.run(self.encode(part)) for part in parts])


Predictor = ImagePredictor | TablePredictor | TextPredictor
PREDICTORS = {IMAGE_CLASSIFICATION: ImagePredictor, TEXT_CLASSIFICATION: TextPredictor}


def load_predictor(model_dir: Path, threads: int) -> Predictor:
    """Raises ProgramFailure damaged_model when a file is missing or cannot be read."""
    meta = read_meta(model_dir)
    kind = PREDICTORS.get(meta.get("task"), TablePredictor)
    try:
        return kind(model_dir, meta, threads)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise _damaged(f"{type(error).__name__}: {error}") from error


def read_meta(model_dir: Path) -> dict[str, Any]:
    """The model's meta.json. Raises ProgramFailure damaged_model."""
    try:
        meta = json.loads((model_dir / META_FILE).read_text())
    except (OSError, ValueError) as error:
        raise _damaged(f"{META_FILE}: {error}") from error
    if not isinstance(meta, dict):
        raise _damaged(f"{META_FILE} is not an object")
    return meta


def _scorers(model_dir: Path, meta: dict[str, Any], threads: int) -> list[tuple[Scorer, float]]:
    """What runs, and the share that each has in the answer."""
    return [(_scorer(model_dir, meta, threads, part), share) for part, share in shares_of(meta).items()]


def shares_of(meta: dict[str, Any]) -> dict[str, float]:
    """What a model answers with, and the share of each in the answer: "onnx", "trees", or "trees.<group>"."""
    return meta["blend"] if meta["runtime"] == "blend" else {meta["runtime"]: 1.0}


def tree_groups(meta: dict[str, Any]) -> list[str]:
    """The groups of trees of a model; "" is one without a name."""
    return [part.partition(".")[2] for part in shares_of(meta) if part.startswith(TREES)]


def _scorer(model_dir: Path, meta: dict[str, Any], threads: int, part: str) -> Scorer:
    runtime, _, group = part.partition(".")
    if runtime == TREES:
        return _tree_scorer(model_dir, meta, group)
    if runtime == "onnx":
        return _graph_scorer(model_dir, threads)
    raise ValueError(f"unknown runtime {runtime!r}")


def _graph_scorer(model_dir: Path, threads: int) -> Scorer:
    session = open_session(model_dir / ONNX_FILE, threads)
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


def load_trees(path: Path, group: str = "") -> trees.Arrays:
    """The arrays of a group of trees in a model file, without the networks' weights, which serving reads from the
    graph."""
    prefix = f"{group}." if group else ""
    with safe_open(path, framework="numpy") as file:
        names = [name for name in file.keys() if name.startswith(prefix) and not name.startswith(NETWORK_PREFIX)]  # noqa: SIM118
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Raises ProgramFailure damaged_model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A thread that spins while it waits takes the core from everybody else on a shared machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own classes, which derive from Exception only
        raise _damaged(f"{path.name}: {str(error)[:300]}") from error


def _damaged(what: str) -> ProgramFailure:
    message = f"The model's files are damaged or not complete ({what})."
    return ProgramFailure("damaged_model", message, hint="Train or compress the model again.", blame="machine")
