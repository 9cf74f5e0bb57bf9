"""Requests to a deployment that sleeps are held until one of its replicas is ready, not refused.

Bounded in number and in time: more than `MAX_HELD` for one deployment are told to come again, and so is one that has
been held for `HOLD_SECONDS`. Whose client has gone is dropped.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from threading import BoundedSemaphore

from django.utils.translation import gettext as _

from apps.core.errors import TooManyRequests, Unavailable
from apps.deployments.autoscaling import wake_deployment
from apps.deployments.connections import NOT_READY, no_replica
from apps.deployments.endpoints import Endpoint, endpoint_now
from apps.deployments.models import Deployment

MAX_HELD = 64
MAX_HELD_PAGES = 8
HOLD_SECONDS = 30.0
LOOK_SECONDS = 0.1
RETRY_AFTER_SECONDS = 5


def too_many_held() -> TooManyRequests:
    message = _(
        "It was asleep and is starting; as many requests as may wait for it do so. Come again in a few seconds."
    )
    return TooManyRequests(message, code="overloaded", retry_after_seconds=RETRY_AFTER_SECONDS)


def still_starting() -> Unavailable:
    message = _("It was asleep, and is not ready after %(n)d seconds. See its page.") % {"n": HOLD_SECONDS}
    return Unavailable(message, code=NOT_READY, retry_after_seconds=RETRY_AFTER_SECONDS)


class Holder:
    """Belongs to one event loop. `wake` and `find` take a deployment's id; `find` gives it as it is now.

    One look at the database serves all who wait for the same deployment.
    """

    def __init__(
        self,
        wake: Callable[[int], Awaitable[None]],
        find: Callable[[int], Awaitable[Endpoint]],
        *,
        hold_seconds: float = HOLD_SECONDS,
        max_held: int = MAX_HELD,
    ) -> None:
        self._wake, self._find = wake, find
        self._hold_seconds, self._max_held = hold_seconds, max_held
        self._held: Counter[int] = Counter()
        self._waking: dict[int, asyncio.Task[Endpoint]] = {}

    async def until_ready(self, deployment_id: int) -> Endpoint:
        """The deployment once a replica of it is ready. Whose client leaves is cancelled, as any request is.

        Raises TooManyRequests, Unavailable, and NotFound for one that was deleted.
        """
        if self._held[deployment_id] >= self._max_held:
            raise too_many_held()
        self._held[deployment_id] += 1
        try:
            waking = self._waking.get(deployment_id) or self._start(deployment_id)
            await asyncio.wait({waking}, timeout=self._hold_seconds)
            if not waking.done():
                raise still_starting()
            return waking.result()
        finally:
            self._leave(deployment_id)

    def _start(self, deployment_id: int) -> asyncio.Task[Endpoint]:
        task = self._waking[deployment_id] = asyncio.create_task(self._wake_up(deployment_id))
        task.add_done_callback(lambda done: self._forget(deployment_id, done))
        return task

    def _forget(self, deployment_id: int, done: asyncio.Task[Endpoint]) -> None:
        if self._waking.get(deployment_id) is done:
            del self._waking[deployment_id]

    def _leave(self, deployment_id: int) -> None:
        self._held[deployment_id] -= 1
        if not self._held[deployment_id]:
            del self._held[deployment_id]
            if waking := self._waking.pop(deployment_id, None):
                waking.cancel()

    async def _wake_up(self, deployment_id: int) -> Endpoint:
        while True:
            await self._wake(deployment_id)  # each time: it may have been put to sleep again meanwhile
            endpoint = await self._find(deployment_id)
            if endpoint.routes or endpoint.trouble:
                return endpoint
            await asyncio.sleep(LOOK_SECONDS)


_pages = BoundedSemaphore(MAX_HELD_PAGES)


def hold_page(deployment: Deployment) -> Endpoint:
    """The same for a page, in its own thread. Raises TooManyRequests, Unavailable, NotFound."""
    if not _pages.acquire(blocking=False):
        raise too_many_held()
    try:
        deadline = time.monotonic() + HOLD_SECONDS
        while time.monotonic() < deadline:
            wake_deployment(deployment.pk)
            endpoint = endpoint_now(deployment.pk)
            if endpoint.routes:
                return endpoint
            if endpoint.trouble:
                raise no_replica(endpoint.trouble)
            time.sleep(LOOK_SECONDS)
        raise still_starting()
    finally:
        _pages.release()
