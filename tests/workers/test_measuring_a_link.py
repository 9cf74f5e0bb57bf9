"""Two machines measure how fast they send to each other: only with the token, for a moment, and for one."""

import socket
import threading

import pytest

from workers.linking import Speed, receive, send
from workers.sockets import listen

TOKEN, OTHER = "a" * 64, "b" * 64


class Receiver:
    """What a node does that receives, on a thread."""

    def __init__(self, wait_seconds: float = 10.0) -> None:
        listener = listen("127.0.0.1", backlog=1)
        self.port = listener.getsockname()[1]
        self.answers: list[bool] = []
        arguments = {"wait_seconds": wait_seconds}
        self.thread = threading.Thread(
            target=lambda: self.answers.append(receive(listener, TOKEN, **arguments)), daemon=True
        )
        self.thread.start()

    def ended(self) -> bool:
        self.thread.join(timeout=15)
        return self.answers == [True]


def test_a_link_is_measured_and_the_door_is_shut():
    receiver = Receiver()
    speed = send("127.0.0.1", receiver.port, TOKEN)
    assert isinstance(speed, Speed) and speed.bytes_per_second > 10**6 and 0 < speed.rtt_seconds < 1
    assert receiver.ended()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", receiver.port), timeout=2)


def test_a_wrong_token_gets_nothing_and_keeps_nobody_out():
    receiver = Receiver()
    with pytest.raises(OSError):
        send("127.0.0.1", receiver.port, OTHER)
    assert send("127.0.0.1", receiver.port, TOKEN).bytes_per_second > 0
    assert receiver.ended()


def test_who_hangs_up_early_keeps_nobody_out():
    receiver = Receiver()
    socket.create_connection(("127.0.0.1", receiver.port), timeout=2).close()
    assert send("127.0.0.1", receiver.port, TOKEN).rtt_seconds > 0
    assert receiver.ended()


def test_the_receiver_does_not_wait_for_ever():
    receiver = Receiver(wait_seconds=0.2)
    receiver.thread.join(timeout=10)
    assert receiver.answers == [False]
