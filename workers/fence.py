"""The step fence: past its deadline a program may do nothing more, because another attempt may have begun.

The runner writes the deadline whenever it has renewed the lease; every rank looks at it before each step and before a
checkpoint is put in its place. So a program that was frozen together with its runner, and thaws after its successor has
begun, takes not one step more. Run by hand there is no runner and no fence.

The deadline is one aligned word of 8 bytes, in seconds of a clock that goes on while the machine sleeps.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from functools import cache
from pathlib import Path

FENCE_VARIABLE = "LEPTON_FENCE"
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS has no other that counts sleep
WORD = struct.Struct("=d")


class Fenced(Exception):
    """The lease may be lost: leave at once and write nothing."""


def now() -> float:
    """Seconds of the fence's clock."""
    return time.clock_gettime(CLOCK)


class FenceWriter:
    """The runner's side. The file lies at `path`; until the first `move` every look finds the fence passed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.move(0.0)

    def move(self, deadline: float) -> None:
        """`deadline` is in seconds of `now`."""
        os.pwrite(self._file, WORD.pack(deadline), 0)


class Fence:
    """A program's side."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            self._word = mmap.mmap(file.fileno(), WORD.size, access=mmap.ACCESS_READ)

    def has_passed(self) -> bool:
        return now() > WORD.unpack_from(self._word)[0]


_at = cache(Fence)


def check() -> None:
    """Raises Fenced when this program's fence has passed. A program that was started before its work was known gets its
    fence with that, so whether there is one is looked up each time."""
    path = os.environ.get(FENCE_VARIABLE)
    if path and _at(Path(path)).has_passed():
        raise Fenced
