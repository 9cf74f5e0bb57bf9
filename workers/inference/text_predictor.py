"""A model of texts that predicts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.inference.files import open_session, read_column
from workers.inference.outcomes import class_outcome
from workers.texts import load_encoder

TEXTS_AT_ONCE = 32


class TextPredictor:
    """Class probabilities of texts in any language."""

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        self.classes: list[str] = meta["classes"]
        self.sample: str = json.loads((model_dir / meta["sample"]).read_text(encoding="utf-8"))["text"]
        self.encoder = load_encoder(meta["encoder"], model_dir)
        self._session = open_session(model_dir, threads)
        self._input = self._session.get_inputs()[0].name

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """int32 [N, L]"""
        return self.encoder.encode(texts)

    def feed(self, items: Sequence[str]) -> dict[str, np.ndarray]:
        return {self._input: self.encode(items)}

    def run(self, ids: np.ndarray) -> np.ndarray:
        """float32 [N, classes] for int32 [N, L]."""
        return self._session.run(None, {self._input: ids})[0]

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [N, classes], in parts, so that a long text among many short ones costs no more than it must."""
        parts = [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]
        return np.concatenate([self.run(self.encode(part)) for part in parts])

    def items_in(self, path: Path) -> list[str]:
        """The lines of a text file, or the column of a CSV file that was learned from. Raises ProgramFailure."""
        return read_column(path, self.meta["input"]["column"])

    def outcome(self, output: np.ndarray, top_k: int | None = None) -> dict[str, Any]:
        return class_outcome(self.classes, output, top_k)
