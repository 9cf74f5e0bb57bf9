"""A training meets a full disk: it goes on without a checkpoint, keeps those it has, and says so."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from workers.contract import EventWriter, is_disk_full, read_events
from workers.training import checkpoints
from workers.training.checkpoints import CheckpointStore, is_complete

FULL = "Error while serializing: I/O error: No space left on device (os error 28)"


class SmallDisk:
    """A file on a disk with room for so many bytes; `make_room` is called whenever it is full."""

    def __init__(self, room: int, make_room) -> None:
        self.room, self.make_room, self.content = room, make_room, b""

    def write(self, line: bytes) -> int:
        if not self.room:
            self.room = self.make_room()
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = line[: self.room]
        self.room -= len(taken)
        self.content += taken
        return len(taken)


def test_events_wait_for_room_and_none_is_torn(tmp_path: Path):
    disk = SmallDisk(room=10, make_room=lambda: 10_000)
    EventWriter(tmp_path / "events.jsonl", _file=disk).log("Half of this fits.")
    (tmp_path / "written").write_bytes(disk.content)
    assert [event["message"] for event, _end in read_events(tmp_path / "written")] == ["Half of this fits."]


def test_without_any_room_the_program_ends(tmp_path: Path):
    disk = SmallDisk(room=0, make_room=lambda: 0)
    with pytest.raises(OSError) as raised:
        EventWriter(tmp_path / "events.jsonl", patience_seconds=0, _file=disk).log("Nothing fits.")
    assert is_disk_full(raised.value)


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path: Path, monkeypatch):
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(step=1, tensors={"weight": np.ones(3)}, state={"epoch": 1})

    def fail(_tensors, _path) -> None:
        raise SafetensorError(FULL)

    monkeypatch.setattr(checkpoints, "save_file", fail)
    with pytest.raises(OSError) as raised:
        store.save(step=2, tensors={"weight": np.ones(3)}, state={"epoch": 2})
    assert is_disk_full(raised.value)
    (left,) = store.folder.iterdir()
    assert is_complete(left) and json.loads((left / "manifest.json").read_text())["step"] == 1
