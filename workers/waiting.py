"""``python -m workers.waiting PROGRAM``: an interpreter that has loaded what PROGRAM needs and waits for its work.

Started ahead of time by workers.spares, because loading takes seconds. It is a fresh interpreter for one piece of work,
never a fork of another. The work comes as one line of JSON on standard input; whoever started it holds the other end,
and when that closes without a line it leaves. Once it has its work it is as if it had been started for it: same
arguments, log and exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workers.launcher import CLAIM_VARIABLE, TOKEN_VARIABLE

LOOK_SECONDS = 1.0
NICENESS = 10
STANDARD_INPUT, STANDARD_OUTPUT, STANDARD_ERROR = 0, 1, 2


@dataclass(frozen=True)
class Work:
    """What a waiting process gets: arguments, the token it is found by, its log, and what its environment lacks."""

    arguments: list[str]
    token: str
    log_path: str
    env: Mapping[str, str] = field(default_factory=dict)


def ready_path(claim: Path) -> Path:
    """This file is there while the process with that claim is ready for work."""
    return claim.with_suffix(".ready")


def await_work(is_of_use: Callable[[], bool] = lambda: True) -> list[str] | None:
    """The arguments of the work, once there is some; None when there will be none. `is_of_use` is asked each second."""
    ready = ready_path(Path(os.environ[CLAIM_VARIABLE]))
    ready.touch()
    line = _read_line(is_of_use)
    ready.unlink(missing_ok=True)
    if not line.endswith(b"\n"):
        return None
    work = Work(**json.loads(line))
    _take_over(work)
    return work.arguments


def _read_line(is_of_use: Callable[[], bool]) -> bytes:
    line = b""
    while not line.endswith(b"\n") and is_of_use():
        if select.select([STANDARD_INPUT], [], [], LOOK_SECONDS)[0]:
            part = os.read(STANDARD_INPUT, 65536)
            if not part:
                break
            line += part
    return line


def _take_over(work: Work) -> None:
    """Become what `launch` would have started. What this process starts itself carries the token as usual."""
    del os.environ[CLAIM_VARIABLE]
    os.environ.update(work.env)
    os.environ[TOKEN_VARIABLE] = work.token
    Path(work.log_path).parent.mkdir(parents=True, exist_ok=True)
    with open(work.log_path, "ab") as log, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), STANDARD_INPUT)
        os.dup2(log.fileno(), STANDARD_OUTPUT)
        os.dup2(log.fileno(), STANDARD_ERROR)


def _run_nicely(function: Callable[[], None]) -> None:
    """Run it in a thread that lets other work go first. Linux counts niceness by thread, so what this process does
    later is as urgent as ever. Where the function fails its error stands in the log, and this returns all the same."""

    def run() -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        function()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def main(arguments: list[str]) -> int:
    """Load, wait, do the work and return its exit code. What could not be loaded now is loaded by the work itself."""
    (program,) = arguments
    _run_nicely(importlib.import_module(f"{program}.warming").warm_up)
    work = await_work()
    return 0 if work is None else importlib.import_module(f"{program}.__main__").main(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
