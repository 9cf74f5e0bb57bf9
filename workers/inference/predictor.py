"""A model folder as something that predicts: with numpy and ONNX Runtime (and Pillow for pictures, soundfile for
recordings) only, so that it is ready in a second, and so that a copy of this code can leave with a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from workers.domains import TASKS
from workers.inference.files import damaged, read_meta


class Predictor(Protocol):
    """A model of one task: ``predict(items)`` is ``run(encode(items))``, and `outcome` puts one output into words.

    One that is asked with files has ``decode(body)`` for one of them, and ``collate(decoded)`` for what `run` takes.
    """

    meta: dict[str, Any]
    classes: list[str]  # none for a number
    sample: Any  # an item to try it with

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        """Raises OSError, KeyError, TypeError or ValueError for files that are not a model's."""

    def encode(self, items: Sequence[Any]) -> Any:
        """What `run` takes. Raises ProgramFailure for an item that cannot be used."""

    def feed(self, items: Sequence[Any]) -> dict[str, np.ndarray]:
        """The same, by the names of the graph's inputs."""

    def run(self, encoded: Any) -> Any:
        """One output per item, in order."""

    def predict(self, items: Sequence[Any]) -> Any:
        """One output per item, in order. Raises ProgramFailure for an item that cannot be used."""

    def items_in(self, path: Path) -> list[Any]:
        """The items in a file on this machine. Raises OSError, UnicodeDecodeError, csv.Error, ProgramFailure."""

    def outcome(self, output: Any, top_k: int | None = None) -> dict[str, Any]:
        """The answer to a client; with `top_k` so many of the best classes."""


def load_predictor(model_dir: Path, threads: int) -> Predictor:
    """Raises ProgramFailure damaged_model when a file is missing or cannot be read."""
    meta = read_meta(model_dir)
    try:
        return TASKS[meta["task"]].load("predictor")(model_dir, meta, threads)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise damaged(f"{type(error).__name__}: {error}") from error
