"""Questions that arrive while a replica computes: they wait in their sockets, and nobody holds the others up."""

import itertools
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.inference import server as serving
from workers.inference.doors import unix_door
from workers.inference.framing import RAW, BrokenConnection, Frame, FrameReader, Question
from workers.inference.server import Server

SECONDS = 20


class Model:
    """Answers with what it was asked, when the test lets it, and notes what it was asked together."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.may_go = threading.Semaphore(0)
        self.is_asked = threading.Semaphore(0)

    def __call__(self, questions: Sequence[Question]) -> list[Frame]:
        self.batches.append([question.body for question in questions])
        self.is_asked.release()
        assert self.may_go.acquire(timeout=SECONDS)
        return echo(questions)

    def wait(self) -> None:
        assert self.is_asked.acquire(timeout=SECONDS)


def echo(questions: Sequence[Question]) -> list[Frame]:
    return [Frame({"status": 200, "seconds": 0.0}, question.body) for question in questions]


class Client:
    """Its question lies in the replica's socket, read or not, once it is made."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(str(path))
        self.socket.sendall(data)

    def answer(self) -> Frame:
        """The one that comes, after which it hangs up. Raises BrokenConnection where the replica hangs up."""
        with self.socket:
            return self.read()

    def read(self) -> Frame:
        """As `answer`, and stays."""
        frames = FrameReader()
        while data := self.socket.recv(1000):
            if frame := frames.feed(data):
                return frame
        raise BrokenConnection


def asking(path: Path, body: bytes) -> Client:
    return Client(path, Question(RAW, body).encode())


@contextmanager
def replica(folder: Path, model: Callable, at_once: int = 1) -> Iterator[tuple[Path, socket.socket]]:
    """Its socket, and what ends it when it is closed."""
    path = folder / "s" / "r.sock"
    bell, ringer = socket.socketpair()
    with unix_door(path) as door, bell:
        running = threading.Thread(target=Server(model, at_once=at_once).serve, args=([door], [bell]))
        running.start()
        try:
            yield path, ringer
        finally:
            ringer.close()
            running.join(SECONDS)
            assert not running.is_alive()
    assert not path.exists()


@pytest.mark.parametrize(("at_once", "sizes"), [(4, [1, 4, 2]), (1, [1] * 7)])
def test_what_waits_while_the_model_computes_is_the_next_batch(tmp_path, at_once, sizes):
    model = Model()
    with replica(tmp_path, model, at_once) as (path, _stop):
        first = asking(path, b"first")
        model.wait()  # idle, so it is asked at once and alone
        others = [asking(path, b"%d" % number) for number in range(6)]
        model.may_go.release(7)
        # Nobody hangs up before the end: that is an event too, and would take a question's place in a batch.
        frames = [client.read() for client in (first, *others)]
        for client in (first, *others):
            client.socket.close()
    bodies = [b"first", *(b"%d" % number for number in range(6))]
    assert [frame.body for frame in frames] == bodies
    assert [len(batch) for batch in model.batches] == sizes
    assert sorted(itertools.chain(*model.batches)) == sorted(bodies)
    told = [[frame.head["batch"] for frame in frames if frame.body in batch] for batch in model.batches]
    assert told == [[len(batch)] * len(batch) for batch in model.batches]


def test_what_was_asked_before_the_end_is_still_answered(tmp_path):
    model = Model()
    with replica(tmp_path, model) as (path, stop):
        asked = [asking(path, b"0")]
        model.wait()
        asked += [asking(path, b"%d" % number) for number in range(1, 6)]
        stop.close()
        model.may_go.release(6)
        assert [client.answer().body for client in asked] == [b"%d" % number for number in range(6)]


def test_what_nobody_waits_for_any_more_is_not_computed(tmp_path):
    model = Model()
    with replica(tmp_path, model) as (path, _stop):
        first = asking(path, b"first")
        model.wait()
        asking(path, b"gone").socket.close()
        last = asking(path, b"last")
        model.may_go.release(3)
        assert [client.answer().body for client in (first, last)] == [b"first", b"last"]
    assert model.batches == [[b"first"], [b"last"]]


def test_half_a_question_holds_nobody_up_and_is_answered_when_it_is_whole(tmp_path):
    data = Question(RAW, b"slow" * 50_000).encode()
    with replica(tmp_path, echo) as (path, _stop):
        slow = Client(path, data[:5])
        assert asking(path, b"quick").answer().body == b"quick"
        slow.socket.sendall(data[5:100_000])
        assert asking(path, b"quick").answer().body == b"quick"
        slow.socket.sendall(data[100_000:])
        assert slow.answer().body == b"slow" * 50_000


def test_an_answer_larger_than_any_buffer_arrives_whole_and_the_connection_serves_on(tmp_path):
    large = bytes(range(256)) * 20_000
    with replica(tmp_path, echo) as (path, _stop), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        for body in (large, b"small"):
            connection.sendall(Question(RAW, body).encode())
            frames, frame = FrameReader(), None
            while frame is None:
                frame = frames.feed(connection.recv(64 * 1024))
            assert frame.body == body
        connection.sendall(Question(RAW, b"half").encode()[:9])
        assert asking(path, b"quick").answer().body == b"quick"


def test_connections_that_were_closed_make_room_for_others(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "MAX_CONNECTIONS", 2)
    with replica(tmp_path, echo) as (path, _stop):
        for _time in range(5):
            assert asking(path, b"more").answer().body == b"more"


def test_who_comes_when_there_are_too_many_connections_is_hung_up_on(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "MAX_CONNECTIONS", 2)
    model = Model()
    with replica(tmp_path, model) as (path, _stop):
        first = asking(path, b"first")
        model.wait()
        second, third = asking(path, b"second"), asking(path, b"third")
        model.may_go.release(3)
        assert [client.read().body for client in (first, second)] == [b"first", b"second"]
        with pytest.raises(OSError):
            third.answer()
        first.socket.close()
        second.socket.close()


def test_a_model_that_raises_costs_its_questions_an_error_and_no_other(tmp_path):
    def fail_once(questions: Sequence[Question]) -> list[Frame]:
        if questions[0].body == b"bad":
            raise RuntimeError("planted")
        return echo(questions)

    with replica(tmp_path, fail_once) as (path, _stop):
        assert asking(path, b"bad").answer().status == 500
        assert asking(path, b"good").answer().status == 200


@given(st.binary(max_size=40), st.lists(st.integers(0, 200), max_size=6))
def test_a_frame_is_the_same_however_it_is_cut(body, cuts):
    data = Frame({"content": RAW, "top_k": 3}, body).encode()
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    frames = FrameReader()
    for _time in range(2):  # it is ready for the next one
        found = [frames.feed(data[start:end]) for start, end in itertools.pairwise(places)]
        assert found == [*[None] * (len(places) - 2), Frame({"content": RAW, "top_k": 3}, body)]


@pytest.mark.parametrize("data", [b"\xff" * 8, b"\0\0\0\2\0\0\0\0{]", b"\0\0\0\2\0\0\0\0[]", b"\0\0\0\2\0\0\0\0{}more"])
def test_what_is_no_frame_is_refused(data):
    with pytest.raises(BrokenConnection):
        FrameReader().feed(data)
