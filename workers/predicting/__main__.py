"""``python -m workers.predicting spec.json``: what a model says to everything in one file.

workers/contract.py has the spec and the exit codes. ``output/result.json`` gets {"rows", "errors", "error_kinds",
"columns", "preview", "counts", "metrics", "confusion", "seconds", "rows_per_second"}.
"""

from __future__ import annotations

import sys

from workers.contract import PredictSpec
from workers.predicting.program import predict
from workers.programs import run_program


def main(arguments: list[str]) -> int:
    """Predict as the spec at ``arguments[0]`` says and return the exit code."""
    return run_program("workers.predicting", PredictSpec, arguments, predict)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
