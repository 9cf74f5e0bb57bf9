"""Measure how fast one machine sends to another: a round trip of one byte, then as much as goes in half a second.

The receiver listens at a port of its own for one connection that shows the token, and for some seconds at most; it
counts what comes and forgets it. Plain sockets: the figure is what a ring over TCP gets, not what a GPU fabric could.
"""

from __future__ import annotations

import hmac
import socket
import statistics
import struct
import time
from dataclasses import dataclass

from workers.sockets import read_exactly

WAIT_SECONDS = 15.0  # for the other end to come
IO_SECONDS = 5.0
SEND_SECONDS = 0.5
MOST_BYTES = 256 * 2**20
CHUNK = bytes(2**18)
PINGS = 21
LENGTH = struct.Struct("!Q")
TOKEN_BYTES = 64


@dataclass(frozen=True)
class Speed:
    bytes_per_second: float
    rtt_seconds: float


def receive(listener: socket.socket, token: str, *, wait_seconds: float = WAIT_SECONDS) -> bool:
    """Serve the one who shows `token`, then close; False when nobody came in time."""
    deadline = time.monotonic() + wait_seconds
    with listener:
        while (left := deadline - time.monotonic()) > 0:
            listener.settimeout(left)
            try:
                connection, _address = listener.accept()
            except OSError:
                return False
            with connection:
                connection.settimeout(min(IO_SECONDS, max(0.1, deadline - time.monotonic())))
                if _serve(connection, token):
                    return True
    return False


def _serve(connection: socket.socket, token: str) -> bool:
    try:
        if not hmac.compare_digest(read_exactly(connection, TOKEN_BYTES), token.encode()):
            return False
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"!")
        for _ in range(PINGS):
            connection.sendall(read_exactly(connection, 1))
        received, deadline = 0, time.monotonic() + IO_SECONDS
        while received <= MOST_BYTES and time.monotonic() < deadline and (part := connection.recv(2**18)):
            received += len(part)
        connection.sendall(LENGTH.pack(received))
        return True
    except OSError:
        return False


def send(address: str, port: int, token: str) -> Speed:
    """What the way to the listener there gives. Raises OSError when it does not answer."""
    with socket.create_connection((address, port), timeout=IO_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(token.encode())
        read_exactly(connection, 1)
        rtt = statistics.median(_ping(connection) for _ in range(PINGS))
        started, sent = time.perf_counter(), 0
        while time.perf_counter() - started < SEND_SECONDS and sent + len(CHUNK) <= MOST_BYTES:
            connection.sendall(CHUNK)
            sent += len(CHUNK)
        connection.shutdown(socket.SHUT_WR)
        (received,) = LENGTH.unpack(read_exactly(connection, LENGTH.size))
        return Speed(received / (time.perf_counter() - started), rtt)


def _ping(connection: socket.socket) -> float:
    started = time.perf_counter()
    connection.sendall(b".")
    read_exactly(connection, 1)
    return time.perf_counter() - started
