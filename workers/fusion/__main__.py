"""``python -m workers.fusion spec.json``: one model of several, all judged on validation data.

workers/contract.py has the spec and the exit codes. ``output/result.json`` gets {"method", "models", "fused", "best",
"verdict", "reasons", "notes", "metrics", "rows", "seconds"}; ``output/model/`` gets the fused model, complete, only
where the verdict is "improved".
"""

from __future__ import annotations

import sys

from workers.contract import FuseSpec
from workers.fusion.program import fuse
from workers.programs import run_program


def main(arguments: list[str]) -> int:
    """Fuse as the spec at ``arguments[0]`` says and return the exit code."""
    return run_program("workers.fusion", FuseSpec, arguments, fuse)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
