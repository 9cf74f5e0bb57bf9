"""``python -m workers.fusion spec.json``: one model of several, all judged on validation data.

workers/contract.py has the spec and the exit codes. ``output/result.json`` gets {"method", "models", "fused", "best",
"verdict", "reasons", "notes", "metrics", "rows", "seconds"}; ``output/model/`` gets the fused model, complete, only
where the verdict is "improved".
"""

from __future__ import annotations

import sys
from pathlib import Path

from workers.contract import (
    EVENTS_FILE,
    EXIT_FAILED,
    EXIT_STOPPED,
    EventWriter,
    FuseSpec,
    ProgramFailure,
    read_spec,
)
from workers.fusion.program import fuse
from workers.training.stopping import Stop, Stopped

EXIT_USAGE = 2


def main(arguments: list[str]) -> int:
    """Fuse as the spec at ``arguments[0]`` says and return the exit code."""
    try:
        (path,) = arguments
        spec = read_spec(FuseSpec, path)
    except (OSError, ValueError) as error:
        print(f"usage: python -m workers.fusion spec.json ({error})", file=sys.stderr)
        return EXIT_USAGE
    stop, events = Stop().listen(), EventWriter(Path(spec.work_dir) / EVENTS_FILE)
    events.progress(0.0, "Starting")
    try:
        events.result(fuse(spec, events, stop))
    except Stopped:
        events.log("Stopped as asked.")
        return EXIT_STOPPED
    except ProgramFailure as failure:
        events.failure(failure)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
