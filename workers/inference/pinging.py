"""Which lanes of a replica answer: all are asked at once, so that one that is busy costs the others no time."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress

from workers.inference.framing import CHUNK_BYTES, PING, Question


def answering(lane_sockets: Iterable[str], seconds: float) -> set[str]:
    """Those of `lane_sockets` at which a ping is answered within `seconds`."""
    found: set[str] = set()
    with ExitStack() as opened, selectors.DefaultSelector() as selector:
        for path in lane_sockets:
            connection = opened.enter_context(socket.socket(socket.AF_UNIX))
            connection.setblocking(False)
            with suppress(OSError):
                connection.connect(path)
                connection.send(Question(PING).encode())
                selector.register(connection, selectors.EVENT_READ, path)
        ends_at = time.monotonic() + seconds
        while selector.get_map() and (left := ends_at - time.monotonic()) > 0:
            for key, _events in selector.select(left):
                selector.unregister(key.fileobj)
                with suppress(OSError):
                    if key.fileobj.recv(CHUNK_BYTES):  # no byte where it hangs up
                        found.add(key.data)
    return found
