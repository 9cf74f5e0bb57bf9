"""What a running training says about itself: progress with remaining time, and curves."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from workers.contract import EventWriter

PROGRESS_SECONDS = 0.5
SMOOTHING = 0.9
CURVE_POINTS = 300


@dataclass
class Reporter:
    """Writes progress and metric events of a training of `epochs` x `steps_per_epoch` steps.

    `span` is the part of the whole program's progress that the training takes.
    """

    events: EventWriter
    epochs: int
    steps_per_epoch: int
    span: tuple[float, float] = (0.0, 1.0)
    smoothed: float = 0.0
    smoothed_steps: int = 0
    examples: float = 0.0
    stepping_seconds: float = 0.0
    first_step: int | None = None
    started: float = field(default_factory=time.monotonic)
    reported: float = 0.0

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    @property
    def samples_per_second(self) -> float:
        return self.examples / self.stepping_seconds if self.stepping_seconds else 0.0

    def took_step(self, step: int, loss: float, learning_rate: float, examples: float, seconds: float) -> None:
        """After `step` steps in all (from 1)."""
        self.first_step = step - 1 if self.first_step is None else self.first_step
        self.examples += examples
        self.stepping_seconds += seconds
        self.smoothed = SMOOTHING * self.smoothed + (1 - SMOOTHING) * loss
        self.smoothed_steps += 1
        if step == 1 or step % max(1, self.steps // CURVE_POINTS) == 0:
            # Divided so that the first points are not pulled towards the zero it started from.
            smooth_loss = self.smoothed / (1 - SMOOTHING**self.smoothed_steps)
            self._metric("loss", smooth_loss, "train", step)
            self._metric("learning_rate", learning_rate, "train", step)
        now = time.monotonic()
        if now - self.reported >= PROGRESS_SECONDS:
            self.reported = now
            self._progress(step, now)

    def evaluated(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._metric(name, value, "val", step)

    def _metric(self, name: str, value: float, split: str, step: int) -> None:
        self.events.metric(name, value, split=split, step=step, epoch=step / self.steps_per_epoch)

    def _progress(self, step: int, now: float) -> None:
        begin, end = self.span
        epoch = min(self.epochs, (step - 1) // self.steps_per_epoch + 1)
        self.events.progress(
            round(begin + (end - begin) * step / self.steps, 6),
            f"Training, epoch {epoch} of {self.epochs}",
            epoch=epoch,
            epochs=self.epochs,
            step=step,
            steps=self.steps,
            samples_per_second=round(self.samples_per_second, 1),
            eta_seconds=round((now - self.started) / (step - self.first_step) * (self.steps - step), 1),
        )

    def state(self) -> dict[str, Any]:
        return {"smoothed": self.smoothed, "smoothed_steps": self.smoothed_steps}

    def restore(self, state: dict[str, Any]) -> None:
        self.smoothed, self.smoothed_steps = state["smoothed"], state["smoothed_steps"]
