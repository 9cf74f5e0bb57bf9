"""A model of pictures that predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.images import decode
from workers.inference.files import open_session


class ImagePredictor:
    """Class probabilities of a picture. `at_once` pictures are asked of the graph together: see batching.py."""

    at_once = 1

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        self.classes: list[str] = meta["classes"]
        self.sample = (model_dir / meta["sample"]).read_bytes()
        size = meta["input"]
        self.shape = (size["height"], size["width"], size["channels"])
        self._session = open_session(model_dir, threads)
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

    def run_together(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """float32 [N, classes] for N pictures, uint8 [H, W, C] each, in one call."""
        return self.run(images[0][None] if len(images) == 1 else np.stack(images))

    def run_many(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """The same, `at_once` at a time."""
        steps = range(0, len(images), self.at_once)
        found = [self.run_together(images[start : start + self.at_once]) for start in steps]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def predict_image(self, body: bytes) -> np.ndarray:
        """float32 [classes]. Raises ProgramFailure for what is no usable picture."""
        return self.run(self.decode(body)[None])[0]
