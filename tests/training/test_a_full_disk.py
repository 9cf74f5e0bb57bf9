"""A disk that is full while a checkpoint is written ends no training and costs no checkpoint that is there."""

import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.training.disks import files_up_to, limit_files
from tests.training.images import events_of, make_spec, start, wait_for, write_digits
from workers.contract import CHECKPOINT_FAILED, CHECKPOINT_WRITTEN, EXIT_STOPPED, EventWriter, read_events
from workers.training.checkpoints import CheckpointStore
from workers.training.saving import CheckpointWriter

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


def test_events_that_the_disk_does_not_take_come_later_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = EventWriter(path)
    events.log("first")
    with files_up_to(path.stat().st_size + 30):  # half a line fits
        for number in range(20):
            events.metric("loss", 1.0, split="train", step=number, epoch=0.0)
        assert [event["type"] for event, _ in read_events(path)] == ["log"]
    events.log("last")
    found = [event for event, _ in read_events(path)]
    assert [event.get("step") for event in found] == [None, *range(20), None]


def test_a_training_goes_on_over_a_full_disk_and_its_last_checkpoint_stays(tmp_path: Path) -> None:
    data, work = write_digits(tmp_path / "data", 300), tmp_path / "work"
    first = start(make_spec(work, data, epochs=10))
    wait_for(work, lambda events: any(event.get("epoch", 0) >= 2 for event in events if event["type"] == "progress"))
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == EXIT_STOPPED
    kept = CheckpointStore(work / "checkpoints").load_newest()
    second = start(make_spec(work, data, epochs=10, resume=True), before=partial(limit_files, LESS_THAN_A_CHECKPOINT))
    assert second.wait(timeout=90) == 0, events_of(work)[-3:]
    warnings = [event for event in events_of(work) if event.get("code") == CHECKPOINT_FAILED]
    assert len(warnings) == 1 and "the last one is kept" in warnings[0]["message"]
    assert CheckpointStore(work / "checkpoints").load_newest().step == kept.step
    assert events_of(work)[-1]["type"] == "result"
