"""Work of a replica that may be slow, aside from predictions: in a thread of its own that gives way to them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from workers.inference.framing import Frame, Question

MOST_AT_ONCE = 4  # one is worked on, the others wait
GIVES_WAY = 10  # of a nice value
BUSY = b'{"error": {"code": "overloaded", "message": "Too many explanations wait. Try again in a few seconds."}}'


class Aside:
    """Answers by `work`, one question after the other; predictions do not wait for it."""

    def __init__(self, work: Callable[[Question], Frame]) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aside", initializer=_give_way)
        self._waiting = 0
        self._lock = threading.Lock()

    def ask(self, question: Question, reply: Callable[[Frame], None]) -> None:
        """Calls `reply` with the answer in the thread of its own, or at once where too many wait."""
        with self._lock:
            is_busy = self._waiting >= MOST_AT_ONCE
            self._waiting += not is_busy
        if is_busy:
            reply(Frame({"status": 503, "seconds": 0.0}, BUSY))
        else:
            self._thread.submit(self._answer, question, reply)

    def _answer(self, question: Question, reply: Callable[[Frame], None]) -> None:
        frame = self._work(question)
        with self._lock:
            self._waiting -= 1
        reply(frame)

    def stop(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _give_way() -> None:
    """Linux has a priority for each thread; elsewhere the system shares its cores as it sees fit."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), GIVES_WAY)
