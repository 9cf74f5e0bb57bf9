"""Plain sockets between the machines of a pool. Standard library only."""

from __future__ import annotations

import socket


def listen(address: str, backlog: int) -> socket.socket:
    """At a free port of `address`. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, 0), family=family, backlog=backlog)


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes. Raises OSError when they do not come."""
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionError("the other end closed the connection")
        parts += part
    return bytes(parts)
