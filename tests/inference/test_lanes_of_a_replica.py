"""The processes of a replica: they answer side by side, and end together."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.inference.models import image_model, png
from tests.inference.processes import START_SECONDS, launch
from tests.stack import wait_until
from workers.contract import EVENTS_FILE, EXIT_FAILED, read_events
from workers.inference.framing import RAW, Question, ask
from workers.inference.pinging import answering
from workers.inference.reaching import lane_sockets, replica_at

LANES = 3


class Replica:
    """One of three lanes, with its processes, the first of them first."""

    def __init__(self, folder: Path) -> None:
        self.first, path = launch(folder, image_model(folder / "model"), LANES)
        self.sockets = lane_sockets(path, LANES)
        wait_until(lambda: all(map(os.path.exists, self.sockets)), seconds=START_SECONDS, what="all lanes listen")
        parent = psutil.Process(self.first.pid)
        self.processes = [parent, *sorted(parent.children(), key=psutil.Process.create_time)]

    def kill(self, lane: int) -> None:
        self.processes[lane].kill()

    def is_gone(self) -> bool:
        gone = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        left = [process for process in self.processes if process.is_running() and process.status() not in gone]
        return not left and not any(map(os.path.exists, self.sockets))


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    made = Replica(tmp_path)
    yield made
    for process in made.processes:
        if process.is_running():
            process.kill()
    made.first.wait(20)


def test_each_lane_answers_at_a_socket_of_its_own_in_a_process_of_its_own(replica):
    assert len(replica.processes) == LANES
    for path in replica.sockets:
        assert ask(path, Question(RAW, png()), timeout_seconds=20).status == 200
        assert replica_at(path) == replica.sockets[0]


def test_a_lane_that_is_stopped_answers_no_ping_and_the_others_do(replica):
    replica.processes[1].send_signal(signal.SIGSTOP)
    assert answering(replica.sockets, 1.0) == {replica.sockets[0], replica.sockets[2]}


def test_when_the_first_is_told_to_end_all_do(replica):
    replica.first.terminate()
    assert replica.first.wait(20) == 0
    assert replica.is_gone()


def test_a_lane_that_is_killed_ends_the_others_and_the_first_ends_as_it_did(replica):
    replica.kill(2)
    assert replica.first.wait(20) == -signal.SIGKILL
    assert replica.is_gone()


def test_when_the_first_is_killed_the_others_end_by_themselves(replica):
    replica.kill(0)
    assert replica.first.wait(20) == -signal.SIGKILL
    os.unlink(replica.sockets[0])  # as its agent does
    wait_until(replica.is_gone, seconds=20, what="the other lanes have ended")


def test_a_model_that_cannot_be_loaded_is_told_of_once(tmp_path):
    model_dir = image_model(tmp_path / "model")
    (model_dir / "model.onnx").write_bytes(b"damaged")
    process, _path = launch(tmp_path, model_dir, LANES)
    assert process.wait(START_SECONDS) == EXIT_FAILED
    events = [event["code"] for event, _offset in read_events(tmp_path / EVENTS_FILE)]
    assert events == ["damaged_model"]


def test_a_path_that_looks_like_a_lanes_is_still_the_replicas_own():
    assert replica_at("/srv/home.lane/sockets/1.sock") == "/srv/home.lane/sockets/1.sock"
    assert replica_at(lane_sockets("/srv/home.lane/1.sock", 3)[2]) == "/srv/home.lane/1.sock"
