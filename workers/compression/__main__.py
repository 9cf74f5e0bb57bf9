"""``python -m workers.compression spec.json``: a smaller model from a trained one, both measured.

workers/contract.py has the spec and the exit codes. ``output/model/`` gets the compressed model, complete;
``output/result.json`` gets {"method", "recipe", "before", "after", "ratios", "verdict", "reasons", "notes", "metrics",
"rows", "seconds"}.
"""

from __future__ import annotations

import sys
from pathlib import Path

from workers.compression.program import compress
from workers.contract import (
    EVENTS_FILE,
    EXIT_FAILED,
    EXIT_FENCED,
    EXIT_STOPPED,
    CompressSpec,
    EventWriter,
    ProgramFailure,
    read_spec,
)
from workers.fence import Fenced
from workers.training.stopping import Stop, Stopped

EXIT_USAGE = 2


def main(arguments: list[str]) -> int:
    """Compress as the spec at ``arguments[0]`` says and return the exit code."""
    try:
        (path,) = arguments
        spec = read_spec(CompressSpec, path)
    except (OSError, ValueError) as error:
        print(f"usage: python -m workers.compression spec.json ({error})", file=sys.stderr)
        return EXIT_USAGE
    stop, events = Stop().listen(), EventWriter(Path(spec.work_dir) / EVENTS_FILE)
    events.progress(0.0, "Starting")
    try:
        events.result(compress(spec, events, stop))
    except Stopped:
        events.log("Stopped as asked.")
        return EXIT_STOPPED
    except Fenced:
        return EXIT_FENCED
    except ProgramFailure as failure:
        events.failure(failure)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
