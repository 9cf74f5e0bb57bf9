"""What the site and the ML programs say to each other.

A program is started as ``python -m workers.<program> spec.json``. It reads one spec, appends one JSON object per
line to ``events.jsonl`` in its work folder, and leaves its results in ``output/``. It knows neither Django nor
Celery, so the same command runs on a laptop with no site.

Exit codes: 0 done; ``EXIT_FAILED`` failed and said why in a ``failure`` event; ``EXIT_STOPPED`` asked to stop (SIGTERM)
and left a checkpoint; ``EXIT_FENCED`` its lease may be lost (workers/fence.py). Any other code is a crash.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXIT_FAILED = 3
EXIT_STOPPED = 75
EXIT_FENCED = 76

EVENTS_FILE = "events.jsonl"
PORT_FILE = "port-{}"
OUTPUT_FOLDER = "output"
CHECKPOINT_FOLDER = "checkpoints"
CANDIDATE_FOLDER = "output/candidates"
SPEED_SECONDS = 1.6  # for which each model is timed, unless it is told otherwise
MOST_KEPT_CHECKPOINTS = 50  # of those that are asked for beside the newest and the best

ANSWER_RETRIEVAL = "answer_retrieval"
AUDIO_CLASSIFICATION = "audio_classification"
IMAGE_CLASSIFICATION = "image_classification"
TABULAR_CLASSIFICATION = "tabular_classification"
TABULAR_REGRESSION = "tabular_regression"
TEXT_CLASSIFICATION = "text_classification"
RECOMMENDATION = "recommendation"
TRANSLATION = "translation"
FORECASTING = "forecasting"
MULTI_LABEL_IMAGES = "multi_label_images"
SPEECH_RECOGNITION = "speech_recognition"

KIND_AUDIO = "audio"
KIND_IMAGES = "image_folder"
KIND_TABLE = "table"

SPLITS = ("train", "val", "test")
LABEL_SEPARATOR = "|"  # between the labels of one image in an index

# Codes of log lines that say how it stands with checkpoints; the last of them holds.
CHECKPOINT_FAILED = "checkpoint_failed"
CHECKPOINT_WRITTEN = "checkpoint_written"
GREEDY, UNIFORM, WEIGHTED, ENSEMBLE = FUSION_METHODS = ("greedy", "uniform", "weighted", "ensemble")
# Arguments of an image model that shape none of its weights: models whose weights are averaged may differ in them.
FREE_ARGUMENTS = ("dropout", "mean", "deviation")
HELDOUT_FILE = "heldout.safetensors"

IMPROVED, NOT_IMPROVED = "improved", "not_improved"  # the verdicts of a compression and of a fusion
# Of one candidate of a compression: loses no more than was allowed, loses more, is neither smaller nor faster, or could
# not be made.
WITHIN, OVER, NO_GAIN, FAILED = CANDIDATE_VERDICTS = ("within", "over", "no_gain", "failed")


@dataclass(frozen=True)
class DataFile:
    """One file a person uploaded: `name` as they called it (may contain folders), `path` where it lies on this node."""

    name: str
    path: str
    split: str | None = None


@dataclass(frozen=True)
class PrepareSpec:
    """Inspect uploads and freeze them as a data set version.

    Writes to ``output/``: ``report.json`` (see workers/preprocessing), ``index.jsonl`` or ``index.json``, and
    ``data.zip`` (images, recordings) or ``data.csv`` (table) with only what was found sound, and ``findings.json``.

    `recipe` says what was decided about the data (workers/preprocessing/recipe.py). A version with a recipe keeps the
    split of the first version of these uploads, whose index lies at `first_index`.
    """

    work_dir: str
    files: tuple[DataFile, ...]
    seed: int = 0
    target: str | None = None
    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    threads: int = 1
    recipe: dict[str, Any] = field(default_factory=dict)
    first_index: str = ""


@dataclass(frozen=True)
class TrainSpec:
    """Train one model on a frozen data set version.

    `data_path` is data.zip or data.csv, `index_path` its index; `hyperparameters` are complete and already checked.
    Writes to ``output/``: ``model/`` (model.safetensors, model.onnx where there is one, meta.json, a sample input) and
    ``result.json``. `resume` continues from the newest complete checkpoint in ``checkpoints/``; the first is written
    after `checkpoint_seconds`. `plan` is a ParallelPlan as a dict (workers/parallel/plan.py); empty is one process.

    `extends_step` is for training further than an earlier training went: the optimiser steps that its checkpoint, which
    lies in ``checkpoints/``, has behind it; 0 where there is none. The number of epochs is then that of both together.

    `cache_dir` is where what was decoded of this data is kept for later trainings on it; empty is the work folder.

    `preparation` names the steps that made the data, ``{"id", "message"}`` each; they stand in the model's meta.json.

    `start_dir` is where the files of the pretrained checkpoint lie that the hyper-parameter start_from names; empty
    trains from scratch.

    `tuning`, where there is any, goes on with a model that there is (workers/training/tuning.py);
    ``output/model/`` then gets its weights and meta.json alone.
    """

    work_dir: str
    task: str
    data_path: str
    index_path: str
    hyperparameters: dict[str, Any]
    target: str | None = None
    resume: bool = False
    device: str = "cpu"
    threads: int = 1
    plan: dict[str, Any] = field(default_factory=dict)
    checkpoint_seconds: float = 5.0
    extends_step: int = 0
    cache_dir: str = ""
    start_dir: str = ""
    tuning: dict[str, Any] = field(default_factory=dict)
    preparation: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class CompressSpec:
    """Make smaller models from the one in `model_dir` and measure them all.

    `settings` are complete and already checked (workers/compression/recipes.py). Writes for each candidate
    ``output/candidates/<number>/`` and a ``candidate`` event, copies the best within the limit to ``output/model/``
    where there is one, and writes ``output/result.json``. `resume` goes on from the newest checkpoint. `plan` spreads
    fine-tuning over several processes, as in `TrainSpec`. Each model is timed for `speed_seconds`.
    """

    work_dir: str
    task: str
    model_dir: str
    data_path: str
    index_path: str
    settings: dict[str, Any]
    target: str | None = None
    device: str = "cpu"
    threads: int = 1
    plan: dict[str, Any] = field(default_factory=dict)
    resume: bool = False
    cache_dir: str = ""
    speed_seconds: float = SPEED_SECONDS


@dataclass(frozen=True)
class FusedModel:
    """One of the models to fuse: `name` as people know it, and whether it was trained on the data that judges here."""

    name: str
    model_dir: str
    is_same_data: bool = True


@dataclass(frozen=True)
class FuseSpec:
    """Make one model of several and judge all on the validation data. `method` is one of workers/fusion/mixing.py.

    Writes ``output/result.json``, and ``output/model/`` only where the fused model is better than each of `models`.
    Each model is timed for `speed_seconds`.
    """

    work_dir: str
    task: str
    models: tuple[FusedModel, ...]
    method: str
    data_path: str
    index_path: str
    target: str | None = None
    device: str = "cpu"
    threads: int = 1
    speed_seconds: float = SPEED_SECONDS


@dataclass(frozen=True)
class PredictSpec:
    """Ask the model in `model_dir` about everything in one file.

    `data_path` with `index_path` is a frozen data set version, of which only `split` is asked, or all where that is "".
    Without an index it is what a person uploaded as `name`: a table (CSV, TSV, Excel, JSON Lines), or a ZIP of files
    such as images. `has_class_columns` adds the probability of every class. With `ranked_by`, a class or the target of
    a regression, ``output/targets.csv`` lists the `top` per cent of the rows for which it is highest, highest first.

    Writes ``output/predictions.csv``, ``output/predictions.jsonl`` and ``output/result.json``, one row for each that
    came in. `resume` goes on from the newest checkpoint; the first is written after `checkpoint_seconds`.
    """

    work_dir: str
    model_dir: str
    data_path: str
    name: str
    index_path: str = ""
    split: str = ""
    has_class_columns: bool = False
    ranked_by: str = ""
    top: float = 100.0
    threads: int = 1
    resume: bool = False
    checkpoint_seconds: float = 5.0


@dataclass(frozen=True)
class ServeSpec:
    """Answer predictions for the model in `model_dir` until SIGTERM: `lanes` at the same time, each on up to `threads`
    cores, on the sockets of `workers.inference.reaching.lane_sockets`, and with an `address` for other machines on a
    TCP port of it each, to whoever knows `token` (`read_ports`)."""

    work_dir: str
    model_dir: str
    socket_path: str
    threads: int = 1
    lanes: int = 1
    address: str = ""
    token: str = field(default="", repr=False)


def write_port(spec: ServeSpec, lane: int, port: int) -> None:
    """Where a lane listens for other machines."""
    path = Path(spec.work_dir) / PORT_FILE.format(lane)
    path.with_suffix(".tmp").write_text(str(port))
    os.replace(path.with_suffix(".tmp"), path)


def read_ports(work_dir: Path, lanes: int) -> list[int]:
    """One for each lane, as `write_port` wrote them. Raises OSError where one has not yet."""
    return [int((work_dir / PORT_FILE.format(lane)).read_text()) for lane in range(lanes)]


def write_spec(spec: Any, path: Path) -> None:
    """Write a spec dataclass as JSON, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(dataclasses.asdict(spec), indent=1))
    os.replace(temporary, path)


def read_spec(kind: type, path: str | Path) -> Any:
    """Read a spec of dataclass `kind`. Raises ValueError naming an unknown or missing field."""
    raw = json.loads(Path(path).read_text())
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := set(raw) - known:
        raise ValueError(f"{path}: unknown field {sorted(unknown)[0]!r} in {kind.__name__}")
    if "files" in raw:
        raw["files"] = tuple(DataFile(**item) for item in raw["files"])
    if "models" in raw:
        raw["models"] = tuple(FusedModel(**item) for item in raw["models"])
    if "split_fractions" in raw:
        raw["split_fractions"] = tuple(raw["split_fractions"])
    try:
        return kind(**raw)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error


class ProgramFailure(Exception):
    """A failure the user can do something about: what was wrong, where, and what to do.

    `code` is stable; `blame` is one of data, settings, machine; `hint` is the suggested fix; `evidence` is what the
    machine said.
    """

    def __init__(
        self, code: str, message: str, *, hint: str = "", blame: str = "data", field: str = "", evidence: str = ""
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.hint, self.blame, self.field = code, message, hint, blame, field
        self.evidence = evidence


def is_disk_full(error: OSError) -> bool:
    """Also where it is only this account that may store no more."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@dataclass
class EventWriter:
    """Appends events to ``events.jsonl``. A line that has its newline is whole: where the disk is full the program
    waits for room, and fails with OSError when there is none in `patience_seconds`."""

    path: Path
    patience_seconds: float = 120.0
    _file: Any = field(default=None, repr=False)

    def _write(self, type_: str, **values: Any) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (open as long as the program runs)
        line = json.dumps({"type": type_, "at": time.time(), **values}, default=float)
        self._append(line.encode() + b"\n")

    def _append(self, line: bytes) -> None:
        deadline = time.monotonic() + self.patience_seconds
        while line:
            try:
                line = line[self._file.write(line) :]
            except OSError as error:
                if not is_disk_full(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def progress(self, fraction: float, message: str = "", **facts: Any) -> None:
        """`fraction` of the whole in [0, 1]; facts: epoch, epochs, step, steps, samples_per_second, eta_seconds."""
        self._write("progress", fraction=max(0.0, min(1.0, fraction)), message=message, **facts)

    def metric(self, name: str, value: float, *, split: str, step: int, epoch: float) -> None:
        """One point of a curve: `name` such as loss or accuracy, on `split`, after `step` optimiser steps."""
        self._write("metric", name=name, value=value, split=split, step=step, epoch=epoch)

    def log(self, message: str, level: str = "info", code: str = "") -> None:
        """`code` marks a line that the site looks for."""
        self._write("log", message=message, level=level, code=code)

    def checkpoint(self, path: Path, *, step: int, epoch: float, **labels: Any) -> None:
        """A complete checkpoint lies at `path` (relative to the work folder). Labels: score (higher is better) and
        metrics on the validation data, is_kept where it is to stay beside the newest and the best."""
        self._write("checkpoint", path=str(path), step=step, epoch=epoch, **labels)

    def candidate(self, number: int, **facts: Any) -> None:
        """A candidate of a compression is measured; 0 is the original. Facts: name, recipe (its steps), folder
        (relative to the work folder; empty where it could not be made), figures, verdict (one of CANDIDATE_VERDICTS),
        reason, notes."""
        self._write("candidate", number=number, **facts)

    def result(self, summary: dict[str, Any]) -> None:
        """The program's last word when it succeeded: a small summary, the whole stands in ``output/result.json``."""
        self._write("result", summary=summary)

    def failure(self, failure: ProgramFailure) -> None:
        self._write(
            "failure",
            code=failure.code,
            message=failure.message,
            hint=failure.hint,
            blame=failure.blame,
            field=failure.field,
            evidence=failure.evidence,
        )


def read_events(path: Path, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield (event, offset after it) for each complete line from `offset` bytes on; a half-written last line waits."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield json.loads(line), offset
