"""A small cache for one event loop: entries live for less than a second, and one caller loads for all who wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from apps.core.errors import DomainError

MAX_ENTRIES = 10_000


class ExpiringCache:
    """Keeps what `load(key)` returned, or the DomainError it raised, for `seconds` from before it loaded."""

    def __init__(self, load: Callable[[Any], Awaitable[Any]], *, seconds: float) -> None:
        self._load, self._seconds = load, seconds
        self._entries: dict[Hashable, tuple[float, asyncio.Future[Any]]] = {}

    async def get(self, key: Hashable) -> Any:
        """Raises what `load` raises."""
        now = time.monotonic()
        known = self._entries.get(key)
        if known is None or now >= known[0]:
            if len(self._entries) >= MAX_ENTRIES:
                self._drop_expired(now)
            known = (now + self._seconds, asyncio.ensure_future(self._load(key)))
            self._entries[key] = known
            known[1].add_done_callback(lambda done: self._forget_failure(key, done))
        return known[1].result() if known[1].done() else await asyncio.shield(known[1])

    def known(self, key: Hashable) -> Any | None:
        """What `get` would return at once; None where it has to be loaded. Raises what `load` raised."""
        entry = self._entries.get(key)
        if entry is None or not entry[1].done() or time.monotonic() >= entry[0]:
            return None
        return entry[1].result()

    def forget(self, key: Hashable) -> None:
        self._entries.pop(key, None)

    def _forget_failure(self, key: Hashable, done: asyncio.Future[Any]) -> None:
        """A refusal is an answer; anything else, such as a database that is away, is tried again."""
        if not done.cancelled() and done.exception() and not isinstance(done.exception(), DomainError):
            self._entries.pop(key, None)

    def _drop_expired(self, now: float) -> None:
        self._entries = {key: entry for key, entry in self._entries.items() if now < entry[0]}
        if len(self._entries) >= MAX_ENTRIES:
            self._entries.clear()
