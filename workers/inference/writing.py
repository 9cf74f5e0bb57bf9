"""A model of two graphs that reads once, and writes token by token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workers.inference.beams import Found, Search, search
from workers.inference.decoding import CachedDecoding
from workers.inference.files import open_session

STATE = ("tokens", "keys", "values", "source_keys", "source_values", "mask")
READER_FILE, WRITER_FILE = "reader.onnx", "writer.onnx"


class GraphWriter:
    """`prompt` are the tokens that every text begins with, where that is not one that a search begins with."""

    def __init__(self, model_dir: Path, threads: int, prompt: Sequence[int] = ()) -> None:
        """Raises ProgramFailure damaged_model."""
        self._reader = open_session(model_dir, threads, READER_FILE)
        self._writer = open_session(model_dir, threads, WRITER_FILE)
        self._asked = {item.name for item in self._writer.get_inputs()}
        self._prompt = tuple(prompt)

    def write(self, feed: dict[str, np.ndarray], limits: Sequence[int], settings: Search) -> list[Found]:
        """The best that is found for each of what is fed to the reader, of at most so many tokens."""
        decoding = CachedDecoding(self._step, *self._reader.run(None, feed), self._prompt)
        return search(decoding, limits, settings)

    def _step(self, *state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        feed = {name: array for name, array in zip(STATE, state, strict=True) if name in self._asked}
        return tuple(self._writer.run(None, feed))
