"""Specs of trainings, and trainings in the process of the test, which saves the start of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workers.contract import KIND_TABLE, EventWriter, TrainSpec, read_spec, write_spec
from workers.domains import TASKS
from workers.training.hyperparameters import resolve
from workers.training.stopping import Stop


def write_training(
    work: Path, data: Path, task: str, settings: dict[str, Any], *, resume: bool = False, extends_step: int = 0,
    checkpoint_seconds: float = 5.0,
) -> Path:  # fmt: skip
    """The file of a spec in the fresh or known folder `work` for the data set in `data`; preset fast, but for
    `settings`."""
    work.mkdir(parents=True, exist_ok=True)
    is_table = TASKS[task].data == KIND_TABLE
    spec = TrainSpec(
        work_dir=str(work),
        task=task,
        data_path=str(data / ("data.csv" if is_table else "data.zip")),
        index_path=str(data / ("index.json" if is_table else "index.jsonl")),
        hyperparameters=resolve(task, "fast", settings),
        resume=resume,
        extends_step=extends_step,
        checkpoint_seconds=checkpoint_seconds,
    )
    write_spec(spec, work / "spec.json")
    return work / "spec.json"


def run_training(path: Path, stop: Stop | None = None) -> Path:
    """Returns ``output/``."""
    spec = read_spec(TrainSpec, path)
    folder = Path(spec.work_dir)
    TASKS[spec.task].load("trainer").train(spec, EventWriter(folder / "events.jsonl"), stop or Stop())
    return folder / "output"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
