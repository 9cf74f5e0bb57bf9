"""What a search has found, kept so that it goes on after an interruption: checkpoints of the candidates' files and
figures, in the form in which trainings keep theirs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from workers.compression.judging import Candidate
from workers.compression.work import Work
from workers.contract import CHECKPOINT_FOLDER
from workers.training.checkpoints import CheckpointStore

FILES = "candidates"


def keep(work: Work, tried: Sequence[Candidate]) -> None:
    """Write a checkpoint after a candidate; the files of all lie in it, there before it is complete."""
    store, step = _store(work), len(tried) - 1
    path = store.path_of(step)
    shutil.rmtree(path, ignore_errors=True)
    for candidate in tried:
        if candidate.folder:
            shutil.copytree(Path(work.spec.work_dir, candidate.folder), path / FILES / str(candidate.number))
    state = {
        "candidates": [asdict(candidate) for candidate in tried],
        "seconds": work.seconds,
        "epoch_seconds": work.epoch_seconds,
        "settings": work.settings,
    }
    store.save(step=step, tensors={}, state=state)
    work.events.checkpoint(path.relative_to(work.spec.work_dir), step=step, epoch=float(step))


def restore(work: Work) -> list[Candidate]:
    """The candidates of the newest checkpoint, with their files where they were; none where there is none of this
    search."""
    newest = _store(work).load_newest()
    if newest is None or newest.state["settings"] != work.settings:
        return []
    candidates = [Candidate(**facts) for facts in newest.state["candidates"]]
    for candidate in candidates:
        if candidate.folder:
            target = Path(work.spec.work_dir, candidate.folder)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(newest.path / FILES / str(candidate.number), target)
    work.begun, work.epoch_seconds = time.monotonic() - newest.state["seconds"], newest.state["epoch_seconds"]
    work.events.log(f"Going on after {len(candidates) - 1} candidates.")
    return candidates


def _store(work: Work) -> CheckpointStore:
    return CheckpointStore(Path(work.spec.work_dir, CHECKPOINT_FOLDER))
