"""``python -m workers.training spec.json``: train one model. See workers/contract.py for the spec and exit codes."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from workers.contract import OUTPUT_FOLDER, EventWriter, ProgramFailure, TrainSpec
from workers.domains import SPREADABLE, TASKS
from workers.programs import run_program
from workers.training.field import HyperparameterError
from workers.training.hyperparameters import resolve
from workers.training.memory import is_out_of_memory
from workers.training.stopping import Stop

Trainer = Callable[[TrainSpec, EventWriter, Stop], dict[str, Any]]


def main(arguments: list[str]) -> int:
    """Train as the spec at ``arguments[0]`` says and return the exit code."""
    return run_program("workers.training", TrainSpec, arguments, run_within_memory)


def run_within_memory(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """As `run`; memory that runs out is a failure that says what to do."""
    try:
        return run(spec, events, stop)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise _out_of_memory(spec, "".join(traceback.format_exception_only(error)).strip()) from error


def run(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Check the settings and hand over to the task's own module. Returns the summary for the result event."""
    try:
        hyperparameters = resolve(spec.task, overrides=spec.hyperparameters)
    except HyperparameterError as error:
        raise ProgramFailure(error.code, error.message, blame="settings", field=error.field) from error
    if spec.plan.get("world_size", 1) > 1 and (spec.task not in SPREADABLE or spec.start_dir):
        message = "This kind of model is trained by one process."
        raise ProgramFailure("unsupported_strategy", message, hint="Train it on one device.", blame="settings")
    # OpenMP reads these when torch or scikit-learn is loaded, and never again. Threads that wait asleep and not
    # spinning are 10 to 90 times faster where other processes want the same cores.
    os.environ["OMP_NUM_THREADS"] = str(max(1, spec.threads))
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if spec.tuning:
        train: Trainer = importlib.import_module("workers.training.tuning").tune
    else:
        train = TASKS[spec.task].load("trainer").train
    summary = train(replace(spec, hyperparameters=hyperparameters), events, stop)
    if os.environ.get("RANK", "0") == "0":
        name_preparation(spec)
    return summary


def name_preparation(spec: TrainSpec) -> None:
    """Write into the model's meta.json what was done to the data that it has learned from."""
    path = Path(spec.work_dir) / OUTPUT_FOLDER / "model" / "meta.json"
    if spec.preparation and path.exists():
        meta = json.loads(path.read_text(encoding="utf-8")) | {"preparation": spec.preparation}
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(meta, indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(temporary, path)


def _out_of_memory(spec: TrainSpec, evidence: str) -> ProgramFailure:
    sizes = ("batch_size", "batch_tokens", "batch_seconds")
    batch = next((name for name in sizes if spec.hyperparameters.get(name)), "")
    blame, field, smaller = "machine", "", spec.hyperparameters.get(batch, 0) // 2
    hint = "Choose a smaller model or smaller inputs, or a machine with more memory."
    if smaller:
        blame, field, hint = "settings", batch, f"Set {batch} to {smaller}."
    message = "The machine ran out of memory."
    return ProgramFailure("out_of_memory", message, hint=hint, blame=blame, field=field, evidence=evidence)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
