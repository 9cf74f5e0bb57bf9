"""Writing checkpoints while training goes on: at their pace, and without dying of a disk that is full."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from workers.contract import CHECKPOINT_FAILED, CHECKPOINT_WRITTEN, EventWriter
from workers.training.checkpoints import WHOLE, Checkpoint, Part
from workers.training.pacing import Pace


class Store(Protocol):
    """Where checkpoints lie. `is_whole` says whether one is of the whole training, so that its score ranks it and each
    process can write a part; the first is due after `every_seconds`."""

    folder: Path
    every_seconds: float
    is_whole: bool

    def save(
        self,
        *,
        step: int,
        tensors: Mapping[str, np.ndarray],
        state: Mapping[str, Any],
        score: float | None = None,
        is_kept: bool = False,
    ) -> Path:
        """Raises OSError and leaves the earlier ones as they are. A store that `is_whole` also takes a `part`."""
        ...

    def load_parts(self, newer_than: int = -1) -> list[Checkpoint]:
        """All parts of the newest complete one, in order; none when there is none after that step."""
        ...

    def clear(self) -> None: ...


class CheckpointWriter:
    """`trained` says how many seconds the training has run in all; `clock` is steady.

    Without `may_fail` a checkpoint that cannot be written ends the training. Of several processes each writes its
    `part` or, where that is None, nothing; they `meet` when they have.
    """

    def __init__(
        self,
        store: Store,
        events: EventWriter,
        trained: Callable[[], float],
        *,
        may_fail: bool = True,
        part: Part | None = WHOLE,
        meet: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store, self.events, self.trained, self.clock = store, events, trained, clock
        self.part, self.meet = part, meet
        self.may_fail, self.pace = may_fail, Pace(clock(), store.every_seconds)
        self.saved_step: int | None = None
        self.is_failing = False

    def is_due(self, *, is_best: bool = False) -> bool:
        ask = self.pace.is_due_for_best if is_best else self.pace.is_due
        return ask(self.clock(), self.trained())

    def write(
        self,
        *,
        step: int,
        epoch: float,
        tensors: Mapping[str, np.ndarray],
        state: Mapping[str, Any],
        score: float | None = None,
        metrics: Mapping[str, float] | None = None,
        is_kept: bool = False,
    ) -> bool:
        """Write one and say so; False, with a warning in the log, where the disk refuses it: training goes on, the last
        one stays, and the next interval tries again. Raises Fenced.

        `score` (higher is better) and `metrics` are of the epoch that ends with `step`, None within an epoch. `is_kept`
        asks to keep it beside the newest and the best.
        """
        began = self.clock()
        labels: dict[str, Any] = {"score": score, "is_kept": is_kept} if self.store.is_whole else {}
        try:
            path = self._save(step, tensors, state, labels)
            self.meet()
        except OSError as error:
            if not self.may_fail:
                raise
            self._warn(error)
            return False
        finally:
            self.pace.tried(began, self.clock())
        self.saved_step = step
        if path is None:
            return True
        if labels:
            labels["metrics"] = dict(metrics or {})
        self.events.checkpoint(path.relative_to(self.store.folder.parent), step=step, epoch=epoch, **labels)
        if self.is_failing:
            self.is_failing = False
            self.events.log("Checkpoints can be written again.", code=CHECKPOINT_WRITTEN)
        return True

    def _save(
        self, step: int, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any], labels: Mapping[str, Any]
    ) -> Path | None:
        if self.part is None:
            return None
        place = {"part": self.part} if self.part != WHOLE else {}
        return self.store.save(step=step, tensors=tensors, state=state, **labels, **place)

    def _warn(self, error: OSError) -> None:
        """Once for a disk that stays full."""
        if not self.is_failing:
            kept = "the last one is kept" if self.saved_step is not None else "there is none yet"
            reason = error.strerror or error
            message = f"A checkpoint could not be written ({reason}); {kept}. Training goes on and tries again."
            self.events.log(message, "warning", code=CHECKPOINT_FAILED)
        self.is_failing = True
