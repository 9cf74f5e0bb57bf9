"""``python -m workers.parallel profile.json``: measure what a model takes on this machine. See `ProfileSpec`."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from workers.contract import EXIT_FAILED, read_spec
from workers.parallel.shapes import ProfileSpec, Shape

EXIT_USAGE = 2
RESULT_FILE = "profile.json"


def main(arguments: list[str]) -> int:
    try:
        (path,) = arguments
        spec = read_spec(ProfileSpec, path)
        shape = Shape(**spec.shape)
    except (OSError, ValueError, TypeError) as error:
        print(f"usage: python -m workers.parallel spec.json ({error})", file=sys.stderr)
        return EXIT_USAGE
    # OpenMP reads these when torch is loaded, and never again.
    os.environ["OMP_NUM_THREADS"] = str(spec.threads)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    torch = importlib.import_module("torch")
    torch.set_num_threads(spec.threads)
    try:
        result = importlib.import_module("workers.parallel.profiling").measure(shape, spec.device)
    except (MemoryError, RuntimeError) as error:
        print(f"It could not be measured: {error}", file=sys.stderr)
        return EXIT_FAILED
    target = Path(spec.work_dir) / RESULT_FILE
    target.with_suffix(".tmp").write_text(json.dumps({**result, "threads": spec.threads}, indent=1))
    os.replace(target.with_suffix(".tmp"), target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
