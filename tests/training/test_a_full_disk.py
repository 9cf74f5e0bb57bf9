"""A disk that is full while a checkpoint is written ends no training and costs no checkpoint that is there."""

import errno
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.training.disks import files_up_to, limit_files
from tests.training.here import run_training
from tests.training.images import events_of, make_spec, start, write_digits
from tests.training.stopping import StopAfter
from workers.contract import CHECKPOINT_FAILED, CHECKPOINT_WRITTEN, EventWriter, is_disk_full, read_events
from workers.training.checkpoints import CheckpointStore
from workers.training.saving import CheckpointWriter
from workers.training.stopping import Stopped

BIG = {"w": np.zeros(50_000, np.float32)}
LESS_THAN_A_CHECKPOINT = 600_000


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def write(writer: CheckpointWriter, step: int) -> bool:
    return writer.write(step=step, epoch=step / 10, tensors=BIG, state={})


def test_what_could_not_be_written_leaves_nothing_and_the_last_one_stays(store: CheckpointStore) -> None:
    store.save(step=1, tensors=BIG, state={})
    with files_up_to(100_000), pytest.raises(OSError, match="large"):
        store.save(step=2, tensors=BIG, state={})
    assert [path.name for path in store.folder.iterdir()] == ["step-000000001"]
    assert store.load_newest().step == 1


def test_the_same_step_that_cannot_be_written_again_is_not_lost(store: CheckpointStore) -> None:
    store.save(step=1, tensors=BIG, state={"tries": 1})
    with files_up_to(100_000), pytest.raises(OSError, match="large"):
        store.save(step=1, tensors=BIG, state={"tries": 2})
    assert store.load_newest().state == {"tries": 1}


def test_it_warns_once_tries_again_and_says_when_it_works(store: CheckpointStore, tmp_path: Path) -> None:
    writer = CheckpointWriter(store, EventWriter(tmp_path / "events.jsonl"), lambda: 0.0)
    assert write(writer, 1)
    with files_up_to(100_000):
        assert [write(writer, step) for step in (2, 3, 4)] == [False] * 3
    assert write(writer, 5)
    logs = [event for event, _ in read_events(tmp_path / "events.jsonl") if event["type"] == "log"]
    assert [(log["code"], log["level"]) for log in logs] == [
        (CHECKPOINT_FAILED, "warning"),
        (CHECKPOINT_WRITTEN, "info"),
    ]
    assert "the last one is kept" in logs[0]["message"] and "too large" in logs[0]["message"]


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


def test_a_training_goes_on_over_a_full_disk_and_its_last_checkpoint_stays(tmp_path: Path) -> None:
    data, work = write_digits(tmp_path / "data", 300), tmp_path / "work"
    with pytest.raises(Stopped):
        run_training(make_spec(work, data, epochs=6), StopAfter(20))
    kept = CheckpointStore(work / "checkpoints").load_newest()
    second = start(make_spec(work, data, epochs=6, resume=True), before=partial(limit_files, LESS_THAN_A_CHECKPOINT))
    assert second.wait(timeout=240) == 0, events_of(work)[-3:]
    warnings = [event for event in events_of(work) if event.get("code") == CHECKPOINT_FAILED]
    assert len(warnings) == 1 and "the last one is kept" in warnings[0]["message"]
    assert CheckpointStore(work / "checkpoints").load_newest().step == kept.step
    assert events_of(work)[-1]["type"] == "result"
