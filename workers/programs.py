"""What every program does around its work: read the spec, say how it ends, and return the exit code for that."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.contract import (
    EVENTS_FILE,
    EXIT_FAILED,
    EXIT_FENCED,
    EXIT_STOPPED,
    EventWriter,
    ProgramFailure,
    read_spec,
)
from workers.fence import Fenced
from workers.training.stopping import Stop, Stopped

EXIT_USAGE = 2


def run_program(
    name: str, kind: type, arguments: list[str], work: Callable[[Any, EventWriter, Stop], dict[str, Any]]
) -> int:
    """Do `work` as the spec of dataclass `kind` at ``arguments[0]`` says; `name` is that of the module."""
    try:
        (path,) = arguments
        spec = read_spec(kind, path)
    except (OSError, ValueError) as error:
        print(f"usage: python -m {name} spec.json ({error})", file=sys.stderr)
        return EXIT_USAGE
    # Of several processes, which torchrun numbers, the first speaks for all.
    is_first = os.environ.get("RANK", "0") == "0"
    stop, events = Stop().listen(), EventWriter(Path(spec.work_dir) / EVENTS_FILE if is_first else Path(os.devnull))
    events.progress(0.0, "Starting")
    try:
        events.result(work(spec, events, stop))
    except Stopped:
        events.log("Stopped as asked.")
        return EXIT_STOPPED
    except Fenced:
        return EXIT_FENCED
    except ProgramFailure as failure:
        events.failure(failure)
        return EXIT_FAILED
    return 0
