"""Whether a process that should answer hangs. Pure: times are passed in.

One that is busy answers late, and is told from one that hangs by the processor time it takes: a model that needs
seconds for a prediction, with a queue before it, must not be ended for being slow.
"""

from __future__ import annotations

from dataclasses import dataclass

STILL_SECONDS = 9.0  # without an answer and without any processor time
BUSY_SECONDS = 180.0  # without an answer, however much it computes


@dataclass
class Pulse:
    """`answered_at` is when it last answered, `moved_at` when it last had taken processor time; all in seconds."""

    asked_at: float
    answered_at: float
    moved_at: float
    cpu_seconds: float

    @classmethod
    def begin(cls, now: float, cpu_seconds: float) -> Pulse:
        return cls(now, now, now, cpu_seconds)

    def note(self, now: float, *, is_answered: bool, cpu_seconds: float) -> None:
        """It was asked now, and has taken so much processor time since it began."""
        self.asked_at = now
        if is_answered:
            self.answered_at = now
        if cpu_seconds > self.cpu_seconds:
            self.moved_at, self.cpu_seconds = now, cpu_seconds

    def hangs(self) -> bool:
        silent_since = max(self.answered_at, self.moved_at)
        return self.asked_at - silent_since >= STILL_SECONDS or self.asked_at - self.answered_at >= BUSY_SECONDS
