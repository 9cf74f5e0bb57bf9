"""``python -m workers.training spec.json``: train one model. See workers/contract.py for the spec and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from workers.contract import (
    EVENTS_FILE,
    EXIT_FAILED,
    EXIT_FENCED,
    EXIT_STOPPED,
    IMAGE_CLASSIFICATION,
    SPREADABLE,
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    TEXT_CLASSIFICATION,
    EventWriter,
    ProgramFailure,
    TrainSpec,
    read_spec,
)
from workers.fence import Fenced
from workers.training.hyperparameters import HyperparameterError, resolve
from workers.training.memory import is_out_of_memory
from workers.training.stopping import Stop, Stopped

EXIT_USAGE = 2
# Names and not modules: a task loads only what it needs, and the first event does not wait for torch.
MODULES = {
    IMAGE_CLASSIFICATION: "workers.training.images",
    TABULAR_CLASSIFICATION: "workers.training.tables",
    TABULAR_REGRESSION: "workers.training.tables",
    TEXT_CLASSIFICATION: "workers.training.texts",
}
Trainer = Callable[[TrainSpec, EventWriter, Stop], dict[str, Any]]


def main(arguments: list[str]) -> int:
    """Train as the spec at ``arguments[0]`` says and return the exit code."""
    try:
        (path,) = arguments
        spec = read_spec(TrainSpec, path)
    except (OSError, ValueError) as error:
        print(f"usage: python -m workers.training spec.json ({error})", file=sys.stderr)
        return EXIT_USAGE
    # Of several processes, which torchrun numbers, the first speaks for all.
    is_first = os.environ.get("RANK", "0") == "0"
    stop, events = Stop().listen(), EventWriter(Path(spec.work_dir) / EVENTS_FILE if is_first else Path(os.devnull))
    events.progress(0.0, "Starting")
    try:
        events.result(run(spec, events, stop))
    except Stopped:
        events.log("Stopped as asked.")
        return EXIT_STOPPED
    except Fenced:
        return EXIT_FENCED
    except ProgramFailure as failure:
        events.failure(failure)
        return EXIT_FAILED
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        events.failure(_out_of_memory(spec), evidence="".join(traceback.format_exception_only(error)).strip())
        return EXIT_FAILED
    return 0


def run(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Check the settings and hand over to the task's own module. Returns the summary for the result event."""
    try:
        hyperparameters = resolve(spec.task, overrides=spec.hyperparameters)
    except HyperparameterError as error:
        raise ProgramFailure(error.code, error.message, blame="settings", field=error.field) from error
    if spec.plan.get("world_size", 1) > 1 and spec.task not in SPREADABLE:
        message = "This kind of model is trained by one process."
        raise ProgramFailure("unsupported_strategy", message, hint="Train it on one device.", blame="settings")
    # OpenMP reads these when torch or scikit-learn is loaded, and never again. Threads that wait asleep and not
    # spinning are 10 to 90 times faster where other processes want the same cores.
    os.environ["OMP_NUM_THREADS"] = str(max(1, spec.threads))
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if spec.tuning:
        train: Trainer = importlib.import_module("workers.training.tuning").tune
    else:
        train = importlib.import_module(MODULES[spec.task]).train
    return train(replace(spec, hyperparameters=hyperparameters), events, stop)


def _out_of_memory(spec: TrainSpec) -> ProgramFailure:
    message, smaller = "The machine ran out of memory.", spec.hyperparameters.get("batch_size", 0) // 2
    if not smaller:
        hint = "Choose a smaller model or smaller inputs, or a machine with more memory."
        return ProgramFailure("out_of_memory", message, hint=hint, blame="machine")
    hint = f"Set batch_size to {smaller}."
    return ProgramFailure("out_of_memory", message, hint=hint, blame="settings", field="batch_size")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
