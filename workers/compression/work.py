"""What every part of a compression needs: what was asked for, the original, its samples, and how to say how it goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workers.compression.samples import Samples
from workers.contract import OUTPUT_FOLDER, CompressSpec, EventWriter
from workers.inference.predictor import Predictor
from workers.training.stopping import Stop

CALIBRATION_SAMPLES = 200
CHOICE_SAMPLES = 2000

Tick = Callable[[float], None]


@dataclass
class Work:
    """One compression. `begun` is when its search began, by the monotonic clock, less what earlier attempts spent;
    `epoch_seconds` is how long one epoch of fine-tuning takes, and None before that is known."""

    spec: CompressSpec
    events: EventWriter
    stop: Stop
    meta: dict[str, Any]
    original: Predictor
    samples: dict[str, Samples]
    begun: float = field(default_factory=time.monotonic)
    epoch_seconds: float | None = None
    told: float = 0.0

    @property
    def settings(self) -> dict[str, Any]:
        return self.spec.settings

    @property
    def source(self) -> Path:
        return Path(self.spec.model_dir)

    @property
    def output(self) -> Path:
        return Path(self.spec.work_dir, OUTPUT_FOLDER)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    @property
    def judged(self) -> str:
        return "test" if "test" in self.samples else "val"

    @property
    def validation(self) -> Samples:
        """What recipes are chosen by: validation data, or training data where there is none; never the test split."""
        found = self.samples.get("val") or self.samples["train"]
        return found.take(np.linspace(0, len(found) - 1, min(CHOICE_SAMPLES, len(found))).astype(int))

    def report(self, fraction: float, message: str) -> None:
        """Raises Stopped when asked to stop. Progress never goes back."""
        self.stop.check()
        self.told = max(self.told, fraction)
        self.events.progress(self.told, message)

    def tick(self, begin: float, end: float, message: str) -> Tick:
        """Turns the share of one part into progress of the whole."""
        return lambda share: self.report(begin + (end - begin) * share, message)

    def calibration_feeds(self) -> list[dict[str, np.ndarray]]:
        """Inputs of the graph for up to 200 training samples, spread over the split."""
        train = self.samples["train"]
        positions = np.linspace(0, len(train) - 1, min(CALIBRATION_SAMPLES, len(train))).astype(int)
        return [self.original.feed([item]) for item in train.take(positions).inputs]
