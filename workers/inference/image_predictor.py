"""A model of pictures that predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.images import decode
from workers.inference.files import open_session
from workers.inference.outcomes import class_outcome


class ImagePredictor:
    """Class probabilities of a picture."""

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        self.classes: list[str] = meta["classes"]
        self.sample = (model_dir / meta["sample"]).read_bytes()
        size = meta["input"]
        self.shape = (size["height"], size["width"], size["channels"])
        self._session = open_session(model_dir, threads)
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def decode(self, body: bytes) -> np.ndarray:
        """uint8 [H, W, C]. Raises ProgramFailure."""
        return decode(body, *self.shape)

    def collate(self, decoded: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(decoded) if len(decoded) > 1 else decoded[0][np.newaxis]

    def encode(self, bodies: Sequence[bytes]) -> np.ndarray:
        """uint8 [N, H, W, C]. Raises ProgramFailure."""
        return self.collate([self.decode(body) for body in bodies])

    def feed(self, items: Sequence[bytes]) -> dict[str, np.ndarray]:
        return {self._input: self.encode(items)}

    def run(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, classes] for uint8 [N, H, W, C]."""
        return self._session.run(self._outputs, {self._input: images})[0]

    def predict(self, bodies: Sequence[bytes]) -> np.ndarray:
        """float32 [N, classes]. Raises ProgramFailure for what is no usable picture."""
        return self.run(self.encode(bodies))

    def items_in(self, path: Path) -> list[bytes]:
        return [path.read_bytes()]

    def outcome(self, output: np.ndarray, top_k: int | None = None) -> dict[str, Any]:
        return class_outcome(self.classes, output, top_k)
