"""A replica is asked from other machines of the pool over TCP, by whoever knows its token and by nobody else."""

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inference.test_waiting_in_a_replica import echo
from workers.contract import ProgramFailure
from workers.inference import server as serving
from workers.inference.doors import tcp_door
from workers.inference.framing import RAW, BrokenConnection, FrameReader, Question, ask
from workers.inference.reaching import NONCE_BYTES, lane_ports, lane_sockets, proof_of, replica_at, tcp_place
from workers.inference.server import Server

SECONDS = 20
TOKEN = "a token that nobody guesses"


@pytest.fixture
def lane() -> Iterator[str]:
    """Where it is asked."""
    bell, ringer = socket.socketpair()
    with tcp_door("127.0.0.1", TOKEN) as (door, port), bell:
        running = threading.Thread(target=Server(echo).serve, args=([door], [bell]))
        running.start()
        yield lane_ports("127.0.0.1", [port], TOKEN)[0]
        ringer.close()
        running.join(SECONDS)
        assert not running.is_alive()


def connected(lane: str) -> tuple[socket.socket, bytes]:
    """A bare connection, and what is to be proved."""
    place = tcp_place(lane)
    connection = socket.create_connection((place.host, place.port), SECONDS)
    return connection, connection.recv(NONCE_BYTES)


def answer_over(connection: socket.socket) -> bytes:
    """Raises BrokenConnection where it is hung up on."""
    frames = FrameReader()
    try:
        while data := connection.recv(1000):
            if frame := frames.feed(data):
                return frame.body
    except ConnectionResetError:
        pass
    raise BrokenConnection


def test_who_knows_the_token_is_answered(lane):
    large = bytes(range(256)) * 4000
    assert ask(lane, Question(RAW, large), timeout_seconds=SECONDS).body == large


def test_who_does_not_is_hung_up_on_and_the_token_is_never_sent(lane):
    wrong = lane.replace(TOKEN, "another token")
    with pytest.raises(OSError):
        ask(wrong, Question(RAW, b"let me in"), timeout_seconds=SECONDS)
    assert ask(lane, Question(RAW, b"next"), timeout_seconds=SECONDS).body == b"next"


def test_a_question_without_a_proof_is_not_answered(lane):
    connection, _nonce = connected(lane)
    with connection, pytest.raises(BrokenConnection):
        connection.sendall(Question(RAW, b"x" * 100).encode())
        answer_over(connection)


def test_a_proof_that_was_overheard_is_worth_nothing_on_another_connection(lane):
    first, nonce = connected(lane)
    overheard = proof_of(TOKEN, nonce)
    with first:
        first.sendall(overheard + Question(RAW, b"mine").encode())
        assert answer_over(first) == b"mine"
    second, _nonce = connected(lane)
    with second, pytest.raises(BrokenConnection):
        second.sendall(overheard + Question(RAW, b"theirs").encode())
        answer_over(second)


@pytest.mark.parametrize("cut", [1, 31, 32, 33, 60])
def test_a_proof_may_come_in_pieces_and_together_with_the_question(lane, cut):
    connection, nonce = connected(lane)
    data = proof_of(TOKEN, nonce) + Question(RAW, b"whole").encode()
    with connection:
        connection.sendall(data[:cut])
        connection.sendall(data[cut:])
        assert answer_over(connection) == b"whole"


def test_who_only_waits_at_the_door_keeps_nobody_out(lane, monkeypatch):
    monkeypatch.setattr(serving, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(serving, "PROOF_SECONDS", 0.0)
    waiting = [connected(lane)[0] for _number in range(5)]
    assert ask(lane, Question(RAW, b"more"), timeout_seconds=SECONDS).body == b"more"
    for connection in waiting:
        connection.close()


def test_an_address_that_is_not_this_machines_is_named():
    with pytest.raises(ProgramFailure) as failure, tcp_door("192.0.2.1", TOKEN):
        pass
    assert failure.value.code == "cannot_listen"
    assert "192.0.2.1" in failure.value.message and "LEPTON_NODE_ADDRESS" in failure.value.hint


@given(
    st.sampled_from(["10.0.0.7", "fd00::7", "node-7.lan"]),
    st.lists(st.integers(1, 65535), min_size=1, max_size=8, unique=True),
)
def test_lanes_of_a_replica_are_told_from_those_of_others_wherever_they_are(host, ports):
    lanes = lane_ports(host, ports, "0a" * 32)
    assert [(tcp_place(lane).host, tcp_place(lane).port) for lane in lanes] == [(host, port) for port in ports]
    assert len({replica_at(lane) for lane in lanes}) == 1
    others = [lane_ports(host, ports, "0b" * 32)[0], lane_sockets("/s/1.sock", 2)[1]]
    assert not {replica_at(lane) for lane in lanes} & {replica_at(other) for other in others}
