"""How well default settings learn, beside the baseline of each data set.

``make bench-quality DATA=folder``: prepares and trains every set that ``folder/sets.json`` lists with the programs that
the site runs, with no setting changed, and reads the figure of the test split, which training never sees. A table of
fewer than a thousand rows is cross-validated: all its rows in five parts, each of which is the test split once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data_sets import DataSet, prepared_paths, read_sets, read_table, write_table
from workers.contract import ANSWER_RETRIEVAL, EVENTS_FILE, TRANSLATION, TrainSpec, read_events, write_spec
from workers.domains import TABLE, TASKS
from workers.launcher import log_tail
from workers.training.hyperparameters import resolve
from workers.training.presets import DEFAULT_PRESET, PRESETS

FOLDS, SMALL_TABLE = 5, 1000
SHOWN = (
    "macro_f1", "auc", "ece", "mase", "rmse", "mae", "chrf", "coverage_80", "recall_at_1", "recall_at_10", "mrr",
    "wer", "cer",
)  # fmt: skip
LOWER_IS_BETTER = ("mase", "rmse", "mae", "smape", "pinball", "log_loss", "loss", "ece", "wer", "cer")
SOURCE_FIELDS = {TRANSLATION: "source_column", ANSWER_RETRIEVAL: "question_column"}  # the setting for "source"


class Missed(Exception):
    """A set that gave no figure: a sentence that says why."""


@dataclass(frozen=True)
class Row:
    """What came of one set: figures of the test split, and the minutes of all its trainings."""

    data: DataSet
    figures: dict[str, float]
    minutes: float
    about: str = ""

    @property
    def is_at_baseline(self) -> bool:
        """What has no baseline is only reported."""
        found = self.figures.get(self.data.metric)
        if found is None or self.data.baseline is None:
            return False
        return found <= self.data.baseline if self.data.metric in LOWER_IS_BETTER else found >= self.data.baseline


@dataclass(frozen=True)
class Choices:
    """How every set is trained."""

    preset: str
    seed: int
    seconds: float
    threads: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder with a sets.json that lists data sets")
    parser.add_argument("--sets", nargs="*", default=[], help="names in sets.json; all by default")
    parser.add_argument("--preset", default=DEFAULT_PRESET, choices=PRESETS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600, help="the most that one training may take")
    asked = parser.parse_args()
    choices = Choices(asked.preset, asked.seed, asked.seconds, os.cpu_count() or 1)
    rows = []
    print(f"{'set':24} {'metric':>10} {'value':>8} {'baseline':>9} {'minutes':>8}  more", flush=True)
    for data in read_sets(asked.data, asked.sets):
        rows.append(measure(data, choices))
        print(line_of(rows[-1]), flush=True)
    print(last_line(rows))


def measure(data: DataSet, choices: Choices) -> Row:
    begin = time.monotonic()
    about, figures = "", {}
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as name:
        try:
            if data.task not in TASKS:
                raise Missed(f"there is no task {data.task!r}")
            folder = Path(name)
            results = [
                train(part, folder / f"fold-{number}", choices) for number, part in enumerate(parts_of(data, folder))
            ]
            figures = {
                metric: statistics.fmean(result[metric] for result in results)
                for metric in results[0]
                if all(isinstance(result.get(metric), float | int) for result in results)
            }
            about = f"{len(results)} folds" if len(results) > 1 else ""
        except Missed as error:
            about = str(error)
    return Row(data, figures, (time.monotonic() - begin) / 60, about)


def parts_of(data: DataSet, folder: Path) -> Iterator[DataSet]:
    """The set as it is split, or five folds of it."""
    data = data.without_ignored(folder / "without")
    if TASKS[data.task].asks != TABLE:
        yield data
        return
    rows = [row for path in data.files.values() for row in read_table(path)]
    if len(rows) >= SMALL_TABLE:
        yield data
        return
    folds = np.array_split(np.random.default_rng(0).permutation(len(rows)), FOLDS)
    for number, fold in enumerate(folds):
        tested = set(fold.tolist())
        kept = [row for position, row in enumerate(rows) if position not in tested]
        files = {
            "train": write_table(folder / f"{number}-train.csv", kept),
            "test": write_table(folder / f"{number}-test.csv", [rows[position] for position in fold]),
        }
        yield replace(data, files=files)


def train(data: DataSet, folder: Path, choices: Choices) -> dict[str, Any]:
    """Prepare and train; returns the figures of the test split. Raises Missed."""
    prepare_dir, train_dir = folder / "prepare", folder / "train"
    for path in (prepare_dir, train_dir):
        path.mkdir(parents=True)
    _run("workers.preprocessing", replace(data.spec(prepare_dir), threads=choices.threads), choices.seconds)
    spec = TrainSpec(
        str(train_dir),
        data.task,
        hyperparameters=resolve(data.task, choices.preset, {"seed": choices.seed, **_columns(data)}),
        target=data.target,
        threads=choices.threads,
        cache_dir=str(folder / "cache"),
        **prepared_paths(prepare_dir),
    )
    _run("workers.training", spec, choices.seconds)
    return json.loads((train_dir / "output" / "result.json").read_text())["metrics"].get("test", {})


def _columns(data: DataSet) -> dict[str, Any]:
    """What a set says of its columns beside the target, and of other settings."""
    named = {SOURCE_FIELDS[data.task]: data.source} if data.source and data.task in SOURCE_FIELDS else {}
    return {**data.settings, **named}


def _run(program: str, spec: Any, seconds: float) -> None:
    """Raises Missed where it fails or takes longer; nothing of it goes on."""
    folder = Path(spec.work_dir)
    write_spec(spec, folder / "spec.json")
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", program, str(folder / "spec.json")], stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise Missed(f"{program} took more than {seconds:.0f} s") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code:
        raise Missed(_reason(folder) or f"{program} ended with {code}: {log_tail(folder / 'log.txt', 200)}")


def _reason(folder: Path) -> str:
    events = (event for event, _end in read_events(folder / EVENTS_FILE))
    return next((f"{event['code']}: {event['message']}" for event in events if event["type"] == "failure"), "")


def line_of(row: Row) -> str:
    value = row.figures.get(row.data.metric)
    shown = [f"{name}={row.figures[name]:.4g}" for name in SHOWN if name in row.figures and name != row.data.metric]
    told = "-" if value is None else f"{value:.4f}"
    baseline = "-" if row.data.baseline is None else f"{row.data.baseline:.4f}"
    more = ", ".join([*shown, row.about] if row.about else shown)
    return f"{row.data.name:24} {row.data.metric:>10} {told:>8} {baseline:>9} {row.minutes:>8.1f}  {more}"


def last_line(rows: list[Row]) -> str:
    return f"quality: sets={len(rows)} sets_at_or_above_baseline={sum(row.is_at_baseline for row in rows)}"


if __name__ == "__main__":
    main()
