"""How many requests a minute, counted in the memory of one web server. Pure: the time is passed in."""

import math
from collections.abc import Hashable
from dataclasses import dataclass

WINDOW_SECONDS = 60
MAX_ENTRIES = 100_000


@dataclass
class _Window:
    """`number` is the minute, `count` the requests let through in it, `before` those in the minute before."""

    number: int
    count: int = 0
    before: int = 0

    def move_to(self, number: int) -> None:
        if number != self.number:
            self.before = self.count if number == self.number + 1 else 0
            self.number, self.count = number, 0


class RateLimiter:
    """A sliding window of a minute: the minute before counts by the part of it that still lies within the last minute.

    So no clock minute has more than the limit, and a client that has used it up need not wait for the next full one.
    """

    def __init__(self) -> None:
        self._windows: dict[Hashable, _Window] = {}

    def take(self, key: Hashable, limit: int, *, now: float, weight: int = 1) -> int:
        """Let one request of `key` through, which counts as `weight`, or as all that it may ask where that is less: 0,
        or in how many whole seconds to come again. `now` is in seconds."""
        weight = min(weight, limit)
        number, elapsed = int(now // WINDOW_SECONDS), now % WINDOW_SECONDS
        window = self._windows.get(key)
        if window is None:
            self._make_room(number)
            window = self._windows[key] = _Window(number)
        window.move_to(number)
        weighted = window.before * (1 - elapsed / WINDOW_SECONDS)
        if weighted + window.count + weight <= limit:
            window.count += weight
            return 0
        return max(1, math.ceil(_wait_seconds(window, limit - weight, elapsed)))

    def add(self, key: Hashable, *, now: float, weight: int) -> None:
        """What `take` has let through turned out to count as so much more, be it beyond the limit: what comes next
        waits for it."""
        number = int(now // WINDOW_SECONDS)
        window = self._windows.get(key)
        if window:  # room may have been made meanwhile
            window.move_to(number)
            window.count += weight

    def give_back(self, key: Hashable, limit: int, *, weight: int = 1) -> None:
        """What `take` has just let through was refused for another reason."""
        if window := self._windows.get(key):  # room may have been made meanwhile
            window.count -= min(weight, limit)

    def _make_room(self, number: int) -> None:
        """Forget who has asked nothing for a minute, and everybody where that is not enough."""
        if len(self._windows) >= MAX_ENTRIES:
            self._windows = {key: item for key, item in self._windows.items() if item.number >= number - 1}
            if len(self._windows) >= MAX_ENTRIES:
                self._windows.clear()


def _wait_seconds(window: _Window, room: int, elapsed: float) -> float:
    """Until no more than `room` is taken: within this minute, as the one before slides out, else as this one does in
    the next."""
    free = room - window.count
    if free >= 0:
        return WINDOW_SECONDS * (1 - free / window.before) - elapsed
    return WINDOW_SECONDS - elapsed + WINDOW_SECONDS * (1 - room / window.count)
