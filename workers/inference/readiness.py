"""Which sockets have something to read, asked by several threads at once: each socket that has is given to one of them,
and to no other until it is armed again."""

from __future__ import annotations

import select
import sys

if sys.platform == "linux":

    class Readiness:
        """Of sockets, by their file descriptors. One that is closed is forgotten."""

        def __init__(self) -> None:
            self._poll = select.epoll()

        def add(self, descriptor: int) -> None:
            self._poll.register(descriptor, select.EPOLLIN | select.EPOLLONESHOT)

        def arm(self, descriptor: int) -> None:
            self._poll.modify(descriptor, select.EPOLLIN | select.EPOLLONESHOT)

        def wait(self, most: int, seconds: float | None = None) -> list[tuple[int, bool]]:
            """Up to `most` of those that have something, and whether the other end of each is closed; none after
            `seconds`."""
            found = self._poll.poll(seconds, most)
            return [(descriptor, bool(events & select.EPOLLHUP)) for descriptor, events in found]

else:

    class Readiness:
        """The same for macOS and the BSDs."""

        def __init__(self) -> None:
            self._queue = select.kqueue()

        def add(self, descriptor: int) -> None:
            once = select.KQ_EV_ADD | select.KQ_EV_ONESHOT
            self._queue.control([select.kevent(descriptor, select.KQ_FILTER_READ, once)], 0)

        arm = add

        def wait(self, most: int, seconds: float | None = None) -> list[tuple[int, bool]]:
            found = self._queue.control(None, most, seconds)
            return [(event.ident, bool(event.flags & select.KQ_EV_EOF)) for event in found]
