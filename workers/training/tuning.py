"""Going on with a classifier that was made smaller: it learns from the labels and from the original's answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workers.compression import methods
from workers.contract import OUTPUT_FOLDER, EventWriter, ProgramFailure, TrainSpec
from workers.inference.files import META_FILE, read_meta
from workers.parallel.processes import joined, own_device
from workers.parallel.strategies import make_strategy, read_plan
from workers.training.classifiers import Data, save_weights
from workers.training.hyperparameters import choose_batch_size
from workers.training.loop import prepare_torch
from workers.training.stopping import Stop
from workers.training.subjects import Subject, load_classifier, subject_of
from workers.training.teaching import Taught, Teaching, teaching_loss

SEEN_BATCHES, SEEN_ROWS = 8, 64


@dataclass(frozen=True)
class Tuning:
    """`student` and `teacher` are model folders. `steps` of a recipe are at work while the student learns, and become
    part of it afterwards (workers/compression/methods)."""

    student: str
    teacher: str
    teaching: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[Mapping[str, Any], ...] = ()


def tune(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Train the student of `spec.tuning` as the hyper-parameters say; writes its weights and meta to ``output/model/``.

    Of several processes the first alone does what comes after training; the others return an empty summary.
    """
    spec, tuning = replace(spec, device=own_device(spec.device)), Tuning(**spec.tuning)
    prepare_torch(spec.threads, spec.hyperparameters["seed"])
    meta, subject = read_meta(Path(tuning.student)), subject_of(spec.task)
    with joined(spec.device) as processes:
        strategy = make_strategy(read_plan(spec.plan), processes)
        data = subject.load_data(spec, meta, Path(tuning.teacher), events, stop, processes)
        require_same_classes(data, meta)
        student = load_classifier(Path(tuning.student), meta)
        notes = []
        for step in tuning.steps:
            notes += methods.prepare(student, step, look_at(subject, data, spec, step))
        teacher = load_classifier(Path(tuning.teacher), read_meta(Path(tuning.teacher))).to(spec.device)
        guide = partial(teaching_loss, Teaching(**tuning.teaching))
        fitted = subject.fit_model(Taught(student, teacher), data, spec, events, stop, strategy, guide)
    if not processes.is_first:
        return {}
    for step in reversed(tuning.steps):
        notes += methods.convert(student, step)
    subject.calibrate(student, data, spec.device)
    save_classifier(student.cpu(), meta, Path(spec.work_dir, OUTPUT_FOLDER, "model"))
    return {"notes": notes, "epochs": fitted.epochs, "best_epoch": fitted.best_epoch, "seconds": fitted.seconds}


def look_at(subject: Subject, data: Data, spec: TrainSpec, step: Mapping[str, Any]) -> methods.Data:
    """What the method of `step` may see of the training data."""
    rows, settings = data.splits["train"], spec.hyperparameters
    spread = rows[:: max(1, len(rows) // (SEEN_BATCHES * SEEN_ROWS))]

    def batches() -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        for start in range(0, min(len(spread), SEEN_BATCHES * SEEN_ROWS), SEEN_ROWS):
            part = spread[start : start + SEEN_ROWS]
            yield subject.inputs(data, part), torch.from_numpy(data.labels[part])

    ((example, _targets),) = islice(batches(), 1)
    steps = -(-len(rows) // choose_batch_size(settings["batch_size"], len(rows))) * step["epochs"]
    return methods.Data(example=example, batches=batches, steps=steps)


def require_same_classes(data: Data, meta: Mapping[str, Any]) -> None:
    if data.classes != meta["classes"]:
        message = "The data set has other classes than the model knows."
        raise ProgramFailure("different_classes", message, hint="Use the data set that the model was trained on.")


def save_classifier(model: nn.Module, meta: Mapping[str, Any], folder: Path) -> None:
    """Weights and meta.json, whole or not at all."""
    temporary = folder.with_name(f".{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_weights(model, temporary)
    (temporary / META_FILE).write_text(json.dumps(meta))
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
