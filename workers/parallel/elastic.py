"""``python -m workers.parallel.elastic``: torchrun, whose exit code says how its processes ended.

torchrun itself ends with 1 however they did. Here: what a process of this node said (EXIT_FAILED, EXIT_FENCED or
EXIT_STOPPED, see workers/contract.py), else the code of the first that crashed; where it was killed by a signal, this
one dies of the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from workers.contract import EXIT_FAILED, EXIT_FENCED, EXIT_STOPPED

SAID = (EXIT_FAILED, EXIT_FENCED, EXIT_STOPPED)


def main(arguments: list[str]) -> int:
    try:
        run(parse_args(arguments))
    except ChildFailedError as error:
        print(error, file=sys.stderr)
        failures = sorted(error.failures.values(), key=lambda failure: failure.timestamp)
        return exit_code(failure.exitcode for failure in failures)
    except SignalException:
        return EXIT_STOPPED
    return 0


def exit_code(codes: Iterable[int]) -> int:
    """The one code for those of the processes, the first that ended first."""
    codes = list(codes)
    return next((code for code in SAID if code in codes), codes[0])


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)
