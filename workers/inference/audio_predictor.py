"""A model of recordings that predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.audio import fit, hear, spectrogram
from workers.inference.files import open_session
from workers.inference.outcomes import class_outcome


class AudioPredictor:
    """Class probabilities of a recording."""

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        self.classes: list[str] = meta["classes"]
        self.sample = (model_dir / meta["sample"]).read_bytes()
        self.rate, self.length = int(meta["input"]["rate"]), int(meta["input"]["length"])
        self._session = open_session(model_dir, threads)
        self._input = self._session.get_inputs()[0].name

    def decode(self, body: bytes) -> np.ndarray:
        """uint8 [frames, bands, 1]. Raises ProgramFailure."""
        return hear(body, self.rate, self.length)

    def collate(self, decoded: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(decoded)

    def encode(self, bodies: Sequence[bytes]) -> np.ndarray:
        """uint8 [N, frames, bands, 1]. Raises ProgramFailure."""
        return self.collate([self.decode(body) for body in bodies])

    def encode_samples(self, samples: np.ndarray) -> np.ndarray:
        """The same for recordings as samples float32 [N, n] between -1 and 1, `rate` of them a second."""
        return np.stack([spectrogram(fit(each, self.length), self.rate)[..., None] for each in samples])

    def feed(self, items: Sequence[bytes]) -> dict[str, np.ndarray]:
        return {self._input: self.encode(items)}

    def run(self, spectrograms: np.ndarray) -> np.ndarray:
        """float32 [N, classes] for uint8 [N, frames, bands, 1]."""
        return self._session.run(None, {self._input: spectrograms})[0]

    def predict(self, bodies: Sequence[bytes]) -> np.ndarray:
        """float32 [N, classes]. Raises ProgramFailure for what is no usable recording."""
        return self.run(self.encode(bodies))

    def items_in(self, path: Path) -> list[bytes]:
        return [path.read_bytes()]

    def outcome(self, output: np.ndarray, top_k: int | None = None) -> dict[str, Any]:
        return class_outcome(self.classes, output, top_k)
