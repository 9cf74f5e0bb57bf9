"""A model of pictures that may show several things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from workers.inference.image_predictor import ImagePredictor
from workers.inference.outcomes import PROBABILITY_DIGITS


class LabelPredictor(ImagePredictor):
    """A probability for each label of a picture; a label is said from its own threshold on."""

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        super().__init__(model_dir, meta, threads)
        self.thresholds = np.array(meta["thresholds"], dtype=np.float64)
        if len(self.thresholds) != len(self.classes):
            raise ValueError("there is not one threshold for each label")

    def outcome(self, output: np.ndarray, top_k: int | None = None) -> dict[str, Any]:
        """{"labels": [{"label", "probability"}]}, those that the picture has, the surest first; and "scores" with so
        many of the most probable labels, their thresholds, and whether they are said."""
        order = np.argsort(-output, kind="stable")
        said = output >= self.thresholds
        found: dict[str, Any] = {"labels": [self._label(output, place) for place in order if said[place]]}
        if top_k:
            found["scores"] = [
                self._label(output, place)
                | {"threshold": round(float(self.thresholds[place]), PROBABILITY_DIGITS), "is_said": bool(said[place])}
                for place in order[:top_k]
            ]
        return found

    def _label(self, output: np.ndarray, place: int) -> dict[str, Any]:
        return {"label": self.classes[place], "probability": round(float(output[place]), PROBABILITY_DIGITS)}
