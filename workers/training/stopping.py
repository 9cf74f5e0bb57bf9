"""Asking a training to stop, and the word that it did."""

from __future__ import annotations

import signal
from types import FrameType

from workers import fence


class Stopped(Exception):
    """Training was asked to stop; what could be kept lies in the newest checkpoint."""


class Stop:
    """Set by SIGTERM or SIGINT, read between steps, so that no step is cut in half."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> Stop:
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, self._request)
        return self

    def _request(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True

    def check(self) -> None:
        """Raises Stopped when asked to stop, and Fenced when the lease may be lost."""
        fence.check()
        if self.requested:
            raise Stopped
