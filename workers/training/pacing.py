"""When to write a checkpoint: often while little has been done, and never so often that writing costs much."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_SECONDS = 600.0
LOST_SHARE = 0.01
WRITING_SHARE = 0.02
BEST_SHARE = 0.2


@dataclass
class Pace:
    """Times are in seconds on one steady clock; `trained` is how long the training has run in all, earlier tries too.

    What a crash may cost is an interval: `first_seconds` to begin with, later a hundredth of what has been done, 10
    minutes at most; and longer where writing would otherwise take more than a fiftieth of the time.
    """

    last: float
    first_seconds: float = 5.0
    write_seconds: float = 0.0

    def interval(self, trained: float) -> float:
        wanted = max(self.first_seconds, min(LONGEST_SECONDS, LOST_SHARE * trained))
        return max(wanted, self._affordable())

    def is_due(self, now: float, trained: float) -> bool:
        return now - self.last >= self.interval(trained)

    def is_due_for_best(self, now: float, trained: float) -> bool:
        """The best state so far is worth writing after a fifth of the interval, where that is not too dear."""
        return now - self.last >= max(BEST_SHARE * self.interval(trained), self._affordable())

    def tried(self, began: float, ended: float) -> None:
        """A checkpoint was written, or could not be: either way the next is an interval away."""
        self.last, self.write_seconds = ended, ended - began

    def _affordable(self) -> float:
        return self.write_seconds / WRITING_SHARE
