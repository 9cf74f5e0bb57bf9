"""Where the lanes of a replica are asked: at a Unix socket each on its own machine, at a TCP port each from others.

Both are written as one text. A TCP port is ``tcp://<token>@<host>:<port>``: who connects is sent `NONCE_BYTES` and
answers with `proof_of` them, so that the token itself is never sent. What follows is as over a Unix socket
(workers.inference.framing), and as open to whoever listens on the network as a training's is.
"""

from __future__ import annotations

import hmac
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from workers.sockets import read_exactly

LANE_SEPARATOR = ".lane"
TCP = "tcp://"
NONCE_BYTES = PROOF_BYTES = 32
GONE_SECONDS = 6
CONNECT_SECONDS = 2.0
MOST_LANES = 8
LANES_BYTES = 512 * 2**20  # of models: each lane has its own copy
TCP_OPTIONS = (
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", GONE_SECONDS // 3),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", GONE_SECONDS // 3),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 2),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", GONE_SECONDS * 1000),
)


@dataclass(frozen=True)
class TcpPlace:
    host: str
    port: int
    token: str


def lane_sockets(path: str, lanes: int) -> tuple[str, ...]:
    """Of the replica whose first lane listens at `path`: one for each of its processes (workers.inference.lanes)."""
    return (path, *(f"{path}{LANE_SEPARATOR}{number}" for number in range(1, lanes)))


def most_lanes(model_bytes: int, cpus: int) -> int:
    """How many predictions a replica computes side by side: one for each core, as far as copies of the model fit."""
    return max(1, min(MOST_LANES, cpus, LANES_BYTES // max(1, model_bytes)))


def lane_ports(host: str, ports: Iterable[int], token: str) -> tuple[str, ...]:
    """The same from another machine. `host` is an address or a name."""
    shown = f"[{host}]" if ":" in host else host
    return tuple(f"{TCP}{token}@{shown}:{port}" for port in ports)


def replica_at(lane: str) -> str:
    """The same text for all lanes of a replica."""
    if lane.startswith(TCP):
        return lane.rpartition(":")[0]
    path, _separator, number = lane.rpartition(LANE_SEPARATOR)
    return path if number.isdigit() else lane


def tcp_place(lane: str) -> TcpPlace | None:
    """None for a Unix socket."""
    if not lane.startswith(TCP):
        return None
    token, _at, place = lane.removeprefix(TCP).partition("@")
    host, _colon, port = place.rpartition(":")
    return TcpPlace(host.strip("[]"), int(port), token)


def proof_of(token: str, nonce: bytes) -> bytes:
    """That one knows `token`: HMAC-SHA256 of `nonce`, `PROOF_BYTES` long."""
    return hmac.digest(token.encode(), nonce, "sha256")


def connect(lane: str, timeout_seconds: float) -> socket.socket:
    """A connection that can be asked over, and then waits so long for an answer. Raises OSError, and TimeoutError only
    while it waits."""
    try:
        connection = _connected(lane)
    except TimeoutError as error:
        raise ConnectionError(f"{replica_at(lane).rpartition('@')[2]} cannot be reached") from error
    connection.settimeout(timeout_seconds)
    return connection


def _connected(lane: str) -> socket.socket:
    place = tcp_place(lane)
    if place is None:
        connection = socket.socket(socket.AF_UNIX)
    else:
        connection = socket.create_connection((place.host, place.port), CONNECT_SECONDS)
    try:
        connection.settimeout(CONNECT_SECONDS)
        if place is None:
            connection.connect(lane)
        else:
            watch_other_end(connection)
            connection.sendall(proof_of(place.token, read_exactly(connection, NONCE_BYTES)))
    except BaseException:
        connection.close()
        raise
    return connection


def watch_other_end(connection: socket.socket) -> None:
    """Send at once, and break a TCP connection whose other end's machine has been silent for some `GONE_SECONDS`: one
    that lost its power or its cable never says so. Where the system lacks an option its own patience holds."""
    for level, name, value in TCP_OPTIONS:
        if hasattr(socket, name):
            connection.setsockopt(level, getattr(socket, name), value)
