"""Which sockets have something to read."""

from __future__ import annotations

import select
import sys

if sys.platform == "linux":
    GONE = select.EPOLLHUP | select.EPOLLRDHUP

    class Readiness:
        """Of sockets, by their file descriptors. One that is closed is forgotten."""

        def __init__(self) -> None:
            self._poll = select.epoll()

        def add(self, descriptor: int) -> None:
            self._poll.register(descriptor, select.EPOLLIN | select.EPOLLRDHUP)

        def remove(self, descriptor: int) -> None:
            self._poll.unregister(descriptor)

        def wait(self, most: int, seconds: float | None = None) -> list[tuple[int, bool]]:
            """Up to `most` of those that have something, each in its turn, and whether the other end of each is closed;
            none after `seconds`."""
            found = self._poll.poll(seconds, most)
            return [(descriptor, bool(events & GONE)) for descriptor, events in found]

else:

    class Readiness:
        """The same for macOS and the BSDs."""

        def __init__(self) -> None:
            self._queue = select.kqueue()

        def add(self, descriptor: int) -> None:
            self._queue.control([select.kevent(descriptor, select.KQ_FILTER_READ, select.KQ_EV_ADD)], 0)

        def remove(self, descriptor: int) -> None:
            self._queue.control([select.kevent(descriptor, select.KQ_FILTER_READ, select.KQ_EV_DELETE)], 0)

        def wait(self, most: int, seconds: float | None = None) -> list[tuple[int, bool]]:
            found = self._queue.control(None, most, seconds)
            return [(event.ident, bool(event.flags & select.KQ_EV_EOF)) for event in found]
