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
from workers.contract import MOST_KEPT_CHECKPOINTS

TENSORS, STATE, MANIFEST = "state.safetensors", "state.json", "manifest.json"
PREFIX = "step-"


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    step: int
    tensors: dict[str, np.ndarray]
    state: dict[str, Any]


class CheckpointStore:
    """Checkpoints in `folder`, each a folder ``step-<number>`` with a manifest: the newest `keep`, the one with the
    highest score, and the newest 50 of those that were asked to be kept.

    Two are kept so that there is one to fall back to when the newest is damaged. `every_seconds` is how soon whoever
    trains should save first.
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
    ) -> Path:
        """Write a checkpoint, whole or not at all, then drop those that are not to be kept. Returns its folder.

        Raises OSError, such as on a full disk, and leaves the older ones as they were; Fenced in place of putting it
        there when the lease may be lost.
        """
        final = self.folder / f"{PREFIX}{step:09d}"
        temporary = self.folder / f".{final.name}.{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            _write(temporary, tensors, state, {"format": 1, "step": step, "score": score, "is_kept": is_kept})
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fence.check()
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        _sync_folder(self.folder)
        self._drop_old()
        return final

    def load_newest(self) -> Checkpoint | None:
        """The newest checkpoint that is complete and unchanged; damaged ones are passed over."""
        for path in self._paths():
            if is_complete(path):
                manifest = json.loads((path / MANIFEST).read_text())
                state = json.loads((path / STATE).read_text())
                return Checkpoint(path, manifest["step"], load_file(path / TENSORS), state)
        return None

    def clear(self) -> None:
        """Drop what an earlier training left, so that it is not taken for this one's."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _paths(self) -> Iterator[Path]:
        yield from sorted(self.folder.glob(f"{PREFIX}*"), reverse=True)

    def _drop_old(self) -> None:
        paths = list(self._paths())
        labels = {path: _labels(path) for path in paths}
        scored = [path for path in paths if labels[path].get("score") is not None]
        best = sorted(scored, key=lambda path: labels[path]["score"])[-1:]
        marked = [path for path in paths if labels[path].get("is_kept")][:MOST_KEPT_CHECKPOINTS]
        for path in set(paths) - {*paths[: self.keep], *best, *marked}:
            shutil.rmtree(path, ignore_errors=True)


def _write(
    folder: Path, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any], manifest: Mapping[str, Any]
) -> None:
    folder.mkdir(parents=True)
    try:
        save_file({name: np.asarray(value, order="C") for name, value in tensors.items()}, folder / TENSORS)
    except SafetensorError as error:  # it hides the number of the system's error in a sentence
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error)) from error
    (folder / STATE).write_text(json.dumps(state))
    files = {name: _describe(folder / name) for name in (TENSORS, STATE)}
    (folder / MANIFEST).write_text(json.dumps({**manifest, "files": files}))
    _sync(folder)


def is_complete(path: Path) -> bool:
    """Whether every file of the checkpoint at `path` is there with the bytes that its manifest names."""
    try:
        files = json.loads((path / MANIFEST).read_text())["files"]
        return bool(files) and all(_describe(path / name) == facts for name, facts in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _labels(path: Path) -> dict[str, Any]:
    """What the manifest says of the checkpoint beside its files; nothing where it cannot be read."""
    try:
        return json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}


def _describe(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
