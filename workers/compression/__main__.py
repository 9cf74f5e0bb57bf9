"""``python -m workers.compression spec.json``: a smaller model from a trained one, both measured.

workers/contract.py has the spec and the exit codes. ``output/model/`` gets the compressed model, complete;
``output/result.json`` gets {"method", "recipe", "before", "after", "ratios", "verdict", "reasons", "notes", "metrics",
"rows", "seconds"}.
"""

from __future__ import annotations

import sys

from workers.compression.program import compress
from workers.contract import CompressSpec
from workers.programs import run_program


def main(arguments: list[str]) -> int:
    """Compress as the spec at ``arguments[0]`` says and return the exit code."""
    return run_program("workers.compression", CompressSpec, arguments, compress)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
