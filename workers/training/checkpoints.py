"""Checkpoints: whole or absent, verified by sha256, tensors in safetensors and all else in JSON; nothing is pickled."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from workers import fence
from workers.contract import CHECKPOINT_FOLDER, MOST_KEPT_CHECKPOINTS, TrainSpec

TENSORS, STATE, MANIFEST = "state.safetensors", "state.json", "manifest.json"
PREFIX = "step-"


@dataclass(frozen=True)
class Part:
    """Which part of a checkpoint: number `rank` (from 0) of `count`. A whole one is the only part."""

    rank: int = 0
    count: int = 1

    def name(self, file: str) -> str:
        """``state.safetensors``, or ``rank-00-of-02.state.safetensors`` where there are several parts."""
        return file if self.count == 1 else f"rank-{self.rank:02d}-of-{self.count:02d}.{file}"

    @property
    def manifest(self) -> str:
        return self.name(MANIFEST)


WHOLE = Part()


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    step: int
    tensors: dict[str, np.ndarray]
    state: dict[str, Any]


class CheckpointStore:
    """Checkpoints in `folder`, each a folder ``step-<number>``: the newest `keep`, the one with the highest score, and
    the newest 50 of those that were asked to be kept.

    A checkpoint has one part, or one of each process that trains; processes may share the folder. A part's manifest is
    written last, and a checkpoint is complete when all its parts are. Two are kept so that there is one to fall back to
    when the newest is damaged. `every_seconds` is how soon whoever trains should save first.
    """

    is_whole = True

    def __init__(self, folder: Path, *, every_seconds: float = 5.0, keep: int = 2) -> None:
        self.folder, self.every_seconds, self.keep = Path(folder), every_seconds, keep

    def save(
        self,
        *,
        step: int,
        tensors: Mapping[str, np.ndarray],
        state: Mapping[str, Any],
        score: float | None = None,
        is_kept: bool = False,
        part: Part = WHOLE,
    ) -> Path:
        """Write one part of a checkpoint, whole or not at all, then drop those that are not to be kept. Returns its
        folder.

        Raises OSError, such as on a full disk, and leaves the older ones as they were; Fenced in place of putting it
        there when the lease may be lost.
        """
        final = self.path_of(step)
        temporary = self.folder / f".{final.name}.{part.rank}.{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            labels = {"format": 1, "step": step, "score": score, "is_kept": is_kept}
            files = _write(temporary, tensors, state, labels, part)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fence.check()
        _publish(files, final)
        temporary.rmdir()
        _sync(self.folder)
        self._drop_old(part)
        return final

    def load_newest(self) -> Checkpoint | None:
        """The newest checkpoint of one part that is complete and unchanged; damaged ones are passed over."""
        return next((self.load(step) for step in self.steps()), None)

    def load_parts(self, newer_than: int = -1) -> list[Checkpoint]:
        """All parts of the newest checkpoint that has all of them, in order; none when none after that step has."""
        for step in self._steps():
            if step <= newer_than:
                break
            for count in self._counts(step):
                parts = [Part(rank, count) for rank in range(count)]
                if all(is_complete(self.path_of(step), part) for part in parts):
                    return [self.load(step, part) for part in parts]
        return []

    def steps(self, part: Part = WHOLE) -> Iterator[int]:
        """The steps at which `part` is complete and unchanged, newest first."""
        return (step for step in self._steps() if is_complete(self.path_of(step), part))

    def load(self, step: int, part: Part = WHOLE) -> Checkpoint:
        path = self.path_of(step)
        return Checkpoint(path, step, load_file(path / part.name(TENSORS)), self.load_state(step, part))

    def load_state(self, step: int, part: Part = WHOLE) -> dict[str, Any]:
        """What is no tensor of `part`."""
        return json.loads((self.path_of(step) / part.name(STATE)).read_text())

    def path_of(self, step: int) -> Path:
        """The folder of the checkpoint after `step` steps; more than its parts may lie there."""
        return self.folder / f"{PREFIX}{step:09d}"

    def clear(self) -> None:
        """Drop what an earlier training left, so that it is not taken for this one's."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _steps(self) -> list[int]:
        return sorted((int(path.name.removeprefix(PREFIX)) for path in self.folder.glob(f"{PREFIX}*")), reverse=True)

    def _counts(self, step: int) -> list[int]:
        """Into how many parts the checkpoint at `step` may be divided, by the manifests that lie there."""
        names = [path.name for path in self.path_of(step).glob(f"*{MANIFEST}")]
        return sorted({1 if name == MANIFEST else int(name.split(".")[0].split("-of-")[1]) for name in names})

    def _drop_old(self, part: Part) -> None:
        paths = [self.path_of(step) for step in self._steps()]
        labels = {path: _labels(path / part.manifest) for path in paths}
        scored = [path for path in paths if labels[path].get("score") is not None]
        best = sorted(scored, key=lambda path: labels[path]["score"])[-1:]
        marked = [path for path in paths if labels[path].get("is_kept")][:MOST_KEPT_CHECKPOINTS]
        for path in set(paths) - {*paths[: self.keep], *best, *marked}:
            shutil.rmtree(path, ignore_errors=True)


def _labels(manifest: Path) -> dict[str, Any]:
    """What a manifest says of the checkpoint beside its files; nothing where it cannot be read."""
    try:
        return json.loads(manifest.read_text())
    except (OSError, ValueError):
        return {}


def _write(
    folder: Path, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any], manifest: Mapping[str, Any], part: Part
) -> list[Path]:
    """The files of `part`, its manifest last."""
    folder.mkdir(parents=True)
    paths = [folder / part.name(name) for name in (TENSORS, STATE, MANIFEST)]
    try:
        save_file({name: np.asarray(value, order="C") for name, value in tensors.items()}, paths[0])
    except SafetensorError as error:  # it hides the number of the system's error in a sentence
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error)) from error
    paths[1].write_text(json.dumps(state))
    files = {path.name: _describe(path) for path in paths[:2]}
    paths[2].write_text(json.dumps({**manifest, "files": files}))
    for path in paths:
        _sync(path)
    return paths


def _publish(files: list[Path], final: Path) -> None:
    """Move `files` into the folder of a checkpoint, the last one last; parts of others there are left alone."""
    final.mkdir(exist_ok=True)
    (final / files[-1].name).unlink(missing_ok=True)
    for path in files:
        os.replace(path, final / path.name)
    _sync(final)


def is_complete(path: Path, part: Part = WHOLE) -> bool:
    """Whether every file of `part` of the checkpoint at `path` is there with the bytes that its manifest names."""
    try:
        files = json.loads((path / part.manifest).read_text())["files"]
        return bool(files) and all(_describe(path / name) == facts for name, facts in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _describe(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checkpoints_of(spec: TrainSpec) -> CheckpointStore:
    """Where a training keeps its checkpoints."""
    return CheckpointStore(Path(spec.work_dir) / CHECKPOINT_FOLDER, every_seconds=spec.checkpoint_seconds)
