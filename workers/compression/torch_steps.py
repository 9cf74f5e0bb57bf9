"""The steps of a recipe that change the torch model of a classifier, and the graph of what they leave.

What steps have in common with those of another candidate is made once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from workers.compression import methods
from workers.compression.recipes import DISTIL, PRUNE_WEIGHTS, RESHAPING, SIMPLEST
from workers.compression.structure import structure_of
from workers.compression.tuning import Relay, cache_of, settings_for, tune
from workers.compression.work import Tick, Work
from workers.contract import OUTPUT_FOLDER, ProgramFailure, TrainSpec
from workers.inference.files import ONNX_FILE, read_meta
from workers.parallel.processes import Processes
from workers.training.classifiers import Data
from workers.training.hyperparameters import choose_batch_size
from workers.training.loop import prepare_torch
from workers.training.subjects import load_classifier, subject_of
from workers.training.teaching import Teaching
from workers.training.tuning import look_at, save_classifier

NOTES_FILE = "notes.json"
TIMED_STEPS = 3


class Studio:
    """Makes models of the original by steps, each in a folder of its own under ``stages/``."""

    def __init__(self, work: Work) -> None:
        prepare_torch(work.spec.threads, work.settings["seed"])
        self.work, self.subject = work, subject_of(work.spec.task)
        self.folder = Path(work.spec.work_dir, "stages")
        self.hyperparameters = settings_for(work, 1, work.settings["learning_rate"])
        self.data = self._load_data()

    def _load_data(self) -> Data:
        work = self.work
        spec = TrainSpec(
            work.spec.work_dir, work.spec.task, work.spec.data_path, work.spec.index_path, self.hyperparameters,
            device=work.spec.device, threads=work.spec.threads, cache_dir=cache_of(work),
        )  # fmt: skip
        self.spec = spec

        def stopping(_share: float) -> None:  # that images are read again is no progress
            work.stop.check()

        relay = Relay(work.events, stopping)
        return self.subject.load_data(spec, work.meta, work.source, relay, work.stop, Processes())

    def seconds_per_epoch(self) -> float:
        """Of fine-tuning the original itself, estimated from a few steps; a smaller student takes less."""
        student = load_classifier(self.work.source, self.work.meta).to(self.work.spec.device).train()
        rows = self.data.splits["train"]
        size = choose_batch_size(self.hyperparameters["batch_size"], len(rows))
        batch = [item.to(self.work.spec.device) for item in self.subject.inputs(self.data, rows[:size])]
        times = []
        for _step in range(TIMED_STEPS):
            self.work.stop.check()
            begin = time.monotonic()
            with torch.no_grad():
                student(*batch)
            student(*batch).square().mean().backward()
            times.append(time.monotonic() - begin)
        return min(times) * len(rows) / len(batch[0])

    def make(self, steps: Sequence[Mapping[str, Any]], tick: Tick) -> tuple[Path, list[str]]:
        """The folder of a complete model with the float graph of what `steps` make of the original, and the notes.

        Raises Stopped, Fenced and ProgramFailure.
        """
        before, notes = self.work.source, []
        for number, _step in enumerate(steps):
            before, found = self._stage(before, steps[: number + 1], _part(tick, number, len(steps)))
            notes += found
        if not (before / ONNX_FILE).exists():
            model = load_classifier(before, read_meta(before))
            self.subject.write_files(model, self.data, before)
        return before, notes

    def _stage(self, before: Path, steps: Sequence[Mapping[str, Any]], tick: Tick) -> tuple[Path, list[str]]:
        """The model after the last of `steps`, where `before` is the model before it."""
        done = self.folder / hashlib.sha256(json.dumps(steps, sort_keys=True).encode()).hexdigest()[:16]
        if not (done / NOTES_FILE).exists():
            shutil.rmtree(done, ignore_errors=True)
            notes = self._apply(before, steps, done, tick)
            (done / NOTES_FILE).write_text(json.dumps(notes))
        return done, json.loads((done / NOTES_FILE).read_text())

    def _apply(self, before: Path, steps: Sequence[Mapping[str, Any]], target: Path, tick: Tick) -> list[str]:
        step, meta = steps[-1], read_meta(before)
        if step["method"] in RESHAPING:
            model, meta, notes = self._reshape(before, meta, step)
            start = target.with_name(f"{target.name}.start") if step["epochs"] else target
            save_classifier(model, meta, start)
            return notes + self._tune(start, target, step, (), tick) if step["epochs"] else notes
        if step["epochs"]:
            return self._tune(before, target, step, _kept_up(steps), tick)
        model = load_classifier(before, meta)
        notes = methods.prepare(model, step, look_at(self.subject, self.data, self.spec, step))
        notes += methods.convert(model, step)
        save_classifier(model, meta, target)
        return notes

    def _reshape(
        self, before: Path, meta: dict[str, Any], step: Mapping[str, Any]
    ) -> tuple[nn.Module, dict, list[str]]:
        if step["method"] == DISTIL:
            plain = {name: meta[name] for name in meta if name != "structure"}
            meta = self.subject.narrowed(self._simplest(plain) if step["kind"] == SIMPLEST else plain, step["width"])
            return self._newborn(meta), meta, []
        model = load_classifier(before, meta)
        notes = methods.prepare(model, step, look_at(self.subject, self.data, self.spec, step))
        plain = self.subject.build(meta)
        return model, meta | {"structure": structure_of(model, plain)}, notes

    def _simplest(self, meta: dict[str, Any]) -> dict[str, Any]:
        found = self.subject.simplest(meta)
        if found is None:
            message = "There is no simpler kind of network that this one could be distilled to."
            raise ProgramFailure("unsupported_method", message, hint="Distil to the same kind.", blame="settings")
        return found

    def _newborn(self, meta: dict[str, Any]) -> nn.Module:
        """An untrained network that sees inputs as the original does: what stands for the data alone is the same."""
        torch.manual_seed(self.work.settings["seed"])
        student = self.subject.build(meta)
        original = load_classifier(self.work.source, self.work.meta).state_dict()
        for name, buffer in student.named_buffers():
            known = original.get(name)
            if known is not None and known.shape == buffer.shape and not isinstance(_owner(student, name), _NormBase):
                buffer.copy_(known)
        return student

    def _tune(
        self, start: Path, target: Path, step: Mapping[str, Any], attached: Sequence[Mapping[str, Any]], tick: Tick
    ) -> list[str]:  # fmt: skip
        settings = self.work.settings
        rate = settings["learning_rate"]
        if step["method"] == DISTIL:  # what knows nothing yet learns as fast as the original did
            rate = self.work.meta.get("hyperparameters", {}).get("learning_rate", rate)
        teaching = Teaching(settings["temperature"], settings["hard_share"], settings["features"])
        folder = target.with_name(f"{target.name}.tuning")
        shutil.rmtree(folder, ignore_errors=True)
        tuning = {
            "student": str(start),
            "teacher": str(self.work.source),
            "teaching": asdict(teaching),
            "steps": [dict(item) for item in attached],
        }
        notes = tune(self.work, folder, tuning, settings_for(self.work, step["epochs"], rate), tick)
        (folder / OUTPUT_FOLDER / "model").rename(target)
        shutil.rmtree(folder)
        return notes


def _kept_up(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The last step, and before it a removal of weights that its tuning would undo: those weights are the smallest."""
    *earlier, last = steps
    return [*(step | {"epochs": 0} for step in earlier if step["method"] == PRUNE_WEIGHTS), last]


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _part(tick: Tick, number: int, count: int) -> Callable[[float], None]:
    return lambda share: tick((number + share) / count)
