"""The lanes of a replica: processes that predict side by side, the first and forks of it. They end together.

A process each, as Python runs one thread of a process at a time: two that predict in one process wait for each other
several times in each prediction, which takes a tenth more processor time. They are forked before a model is loaded, as
threads that compute do not outlive a fork; what was imported until then they share.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress

END_SECONDS = 12.0  # until a lane that was told to end has finished what it was asked
LOOK_SECONDS = 0.02


class Lane:
    """One of these processes; `number` is 0 in the first. `relatives` are sockets that are closed at their other end
    when the process there is gone: in the first one for each other lane, in each other the one to the first."""

    def __init__(self, number: int, relatives: list[socket.socket], forks: list[int]) -> None:
        self.number, self.relatives, self._forks = number, relatives, forks

    def end(self) -> int:
        """Let the others end and wait for them: the exit code of the first that failed, negative for a signal, or 0."""
        for relative in self.relatives:
            relative.close()
        deadline = time.monotonic() + END_SECONDS
        codes = [_end(pid, deadline) for pid in self._forks]
        return next((code for code in codes if code), 0)


def fork(count: int) -> Lane:
    """Go on in `count` processes. No thread of Python's, nor of a library that does not expect it, may run."""
    relatives: list[socket.socket] = []
    forks: list[int] = []
    for number in range(1, count):
        here, there = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            for other in (here, *relatives):
                other.close()
            return Lane(number, [there], [])
        there.close()
        relatives.append(here)
        forks.append(pid)
    return Lane(0, relatives, forks)


def _end(pid: int, deadline: float) -> int:
    """The exit code of a process, which is killed at `deadline`."""
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(LOOK_SECONDS)
    os.kill(pid, signal.SIGKILL)
    _found, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def die_of(code: int) -> int:
    """End this process as another one ended: returns `code`, or does not return where it is a signal's."""
    if code < 0:
        with suppress(OSError):  # of SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code
