import json
import os
from pathlib import Path

import numpy as np
import pytest

from workers.training.checkpoints import MANIFEST, STATE, TENSORS, CheckpointStore


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def save(store: CheckpointStore, step: int) -> Path:
    return store.save(step=step, tensors={"w": np.full((2, 3), step, np.float32)}, state={"epoch": step})


def test_what_was_saved_comes_back(store: CheckpointStore) -> None:
    tensors = {"w": np.arange(6, dtype=np.float32).reshape(2, 3).T, "step": np.array(7.0, np.float32)}
    path = store.save(step=7, tensors=tensors, state={"history": [{"loss": 0.5}]})
    found = store.load_newest()
    assert (found.path, found.step, found.state) == (path, 7, {"history": [{"loss": 0.5}]})
    assert all(np.array_equal(found.tensors[name], value) for name, value in tensors.items())
    assert found.tensors["step"].shape == ()


def test_only_the_newest_two_are_kept_and_no_temporary_folder_stays(store: CheckpointStore) -> None:
    for step in (5, 10, 100):
        save(store, step)
    assert sorted(path.name for path in store.folder.iterdir()) == ["step-000000010", "step-000000100"]
    assert store.load_newest().step == 100


def test_the_best_and_those_asked_for_are_kept_beside_the_newest_two(store: CheckpointStore) -> None:
    scores = {1: -0.9, 2: -0.2, 3: None, 4: -0.5, 5: -0.3, 6: None}
    for step, score in scores.items():
        store.save(step=step, tensors={"w": np.zeros(1)}, state={}, score=score, is_kept=step == 1)
    assert sorted(int(path.name[-9:]) for path in store.folder.iterdir()) == [1, 2, 5, 6]
    store.save(step=7, tensors={"w": np.zeros(1)}, state={}, score=-0.1)
    assert sorted(int(path.name[-9:]) for path in store.folder.iterdir()) == [1, 6, 7]


def test_an_empty_folder_has_no_checkpoint(store: CheckpointStore) -> None:
    assert store.load_newest() is None


def damage_a_byte(path: Path) -> None:
    body = bytearray((path / TENSORS).read_bytes())
    body[-1] ^= 1
    (path / TENSORS).write_bytes(body)


DAMAGES = {
    "a changed byte": damage_a_byte,
    "a file cut short": lambda path: os.truncate(path / TENSORS, 10),
    "a missing file": lambda path: (path / STATE).unlink(),
    "no manifest": lambda path: (path / MANIFEST).unlink(),
    "a manifest cut short": lambda path: os.truncate(path / MANIFEST, 10),
    "a manifest of nothing": lambda path: (path / MANIFEST).write_text(json.dumps({"files": {}})),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(store: CheckpointStore, damage: str) -> None:
    save(store, 1)
    DAMAGES[damage](save(store, 2))
    assert store.load_newest().step == 1


def test_a_write_cut_off_before_the_rename_is_no_checkpoint(store: CheckpointStore) -> None:
    save(store, 1)
    os.rename(save(store, 2), store.folder / ".step-000000002.4711")
    assert store.load_newest().step == 1
