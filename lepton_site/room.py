"""Memory for the bodies of requests until they are answered, shared among the teams."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from apps.core.errors import TooManyRequests
from lepton_site.messages import too_large

MAX_BYTES = 512 * 2**20
TEAM_SHARE = 0.5  # of it: what one team sends leaves room for the others


class Room:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()
        self.taken_bytes = 0

    @contextmanager
    def held(self, team_id: int, declared_bytes: int | None) -> Iterator[None]:
        """Room for a body until it is answered; as much as one may have where its client declares no size.

        Raises TooLarge before a byte was read, and TooManyRequests.
        """
        reserved = self.take(team_id, declared_bytes)
        try:
            yield
        finally:
            self.give_back(team_id, reserved)

    def take(self, team_id: int, declared_bytes: int | None) -> int:
        """How many bytes are to be given back. Raises as `held`."""
        limit = settings.LEPTON_MAX_PREDICT_BYTES
        if declared_bytes is not None and declared_bytes > limit:
            raise too_large(limit)
        reserved = limit if declared_bytes is None else declared_bytes
        if self.taken_bytes + reserved > MAX_BYTES:
            raise _too_many("Too many large requests at once.")
        if self._taken[team_id] + reserved > max(MAX_BYTES * TEAM_SHARE, limit):
            raise _too_many("Your team has sent too many large requests at once. Wait for the answers to some.")
        self._taken[team_id] += reserved
        self.taken_bytes += reserved
        return reserved

    def give_back(self, team_id: int, reserved: int) -> None:
        self.taken_bytes -= reserved
        self._taken[team_id] -= reserved
        if not self._taken[team_id]:
            del self._taken[team_id]


def _too_many(message: str) -> TooManyRequests:
    return TooManyRequests(message, code="overloaded", retry_after_seconds=1)
