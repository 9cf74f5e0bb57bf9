"""Predictions, however they were asked for over HTTP: who may ask, memory for what is sent, and the answer of a
replica. Belongs to one event loop."""

import logging
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connections

from apps.accounts.services import find_api_key, touch_api_key
from apps.core.errors import DomainError, Unavailable
from apps.deployments.admission import Caller, check_address, check_rate, count_items
from apps.deployments.autoscaling import wake_deployment
from apps.deployments.connections import NOT_READY, Asked, ConnectionPool, Done, no_replica
from apps.deployments.endpoints import Endpoint, Route, endpoint_now, resolve_endpoint
from apps.deployments.expiring import ExpiringCache
from apps.deployments.holding import Holder
from apps.deployments.in_flight import IN_FLIGHT
from apps.deployments.limiting import RateLimiter
from apps.deployments.request_log import REQUEST_LOG
from apps.resources.metering import METER, PREDICTION, check_egress
from lepton_site.messages import Answer, internal_error, invalid_key
from lepton_site.room import Room
from workers.inference.framing import TENSORS, Frame, Question

logger = logging.getLogger("lepton.gateway")

CACHE_SECONDS = 0.8
DATABASE_THREADS = 4
VERSION_HEADER = "Lepton-Version"


class Predictions:
    """The keys and deployments that are known for the moment, the limits, and the connections to replicas."""

    def __init__(
        self,
        choose: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`choose` gives numbers in [0, 1), by which one of several versions is picked; `clock` gives seconds."""
        self._choose, self._clock = choose, clock
        self._limiter = RateLimiter()
        self._threads = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="gateway")
        self._keys = ExpiringCache(self.in_thread(_caller_of), seconds=CACHE_SECONDS)
        self._endpoints = ExpiringCache(self.in_thread(_endpoint_of), seconds=CACHE_SECONDS)
        self._pool = ConnectionPool()
        self._holder = Holder(self.in_thread(wake_deployment), self.in_thread(endpoint_now))
        self.room = Room()

    async def admit(self, secret: str, name: str, address: str, weight: int) -> tuple[Caller, Endpoint]:
        """Who asks from `address`, and the deployment that answers to `name`. It counts as `weight` predictions, 0
        where none is asked for.

        Raises Unauthorized, NotFound, QuotaExceeded, Forbidden for an address, and TooManyRequests.
        """
        caller = await self._keys.get(secret)
        endpoint = await self._endpoints.get((caller.team_id, name))
        self.let_in(caller, endpoint, address, weight)
        return caller, endpoint

    def known(self, secret: str, name: str) -> tuple[Caller, Endpoint] | None:
        """The same two where nothing has to be looked up. Raises what the look-up raised."""
        caller = self._keys.known(secret)
        endpoint = caller and self._endpoints.known((caller.team_id, name))
        return (caller, endpoint) if endpoint else None

    def let_in(self, caller: Caller, endpoint: Endpoint, address: str, weight: int) -> None:
        """As `admit`, for those that are known. Raises Forbidden and TooManyRequests."""
        check_address(endpoint.networks, address)
        if weight:
            check_rate(self._limiter, caller, endpoint, now=self._clock(), weight=weight)

    def count_items(self, caller: Caller, endpoint: Endpoint, frame: Frame) -> None:
        """A request was let in as one prediction; its answer says how many it had."""
        count_items(self._limiter, caller, endpoint, frame.items, now=self._clock())

    async def ask(
        self,
        team_id: int,
        name: str,
        endpoint: Endpoint,
        question: Question,
        version: int | None = None,
        died: str = "",
    ) -> tuple[Frame, dict[str, str]]:
        """The answer, and the headers that tell of it. A deployment that sleeps is woken, and the request held until it
        is ready. `died` is the socket of a lane that did when it was asked the same before."""
        with IN_FLIGHT.count(endpoint.deployment_id):
            try:
                return await self._ask_routes(team_id, name, endpoint, question, version, died)
            except Unavailable as error:
                if error.code != NOT_READY or not endpoint.may_sleep:
                    raise
            self._endpoints.forget((team_id, name))
            woken = await self._holder.until_ready(endpoint.deployment_id)
            return await self._ask_routes(team_id, name, woken, question, version, died)

    async def _ask_routes(
        self, team_id: int, name: str, endpoint: Endpoint, question: Question, version: int | None, died: str
    ) -> tuple[Frame, dict[str, str]]:
        """Asks the version that the traffic's weights choose, another one where no replica of that one lives, and none
        but `version` where a client names it.
        """
        question = endpoint.put(question)
        for route in endpoint.routes_in_order(self._choose, version):
            started = time.perf_counter()
            try:
                frame = await self._pool.ask(route.sockets, question.to_version(route.number), died, route.most)
            except Unavailable as error:
                self.note_failure(team_id, name, route, question, started, error)
                if error.code != NOT_READY:
                    raise
                continue
            return frame, note_answer(endpoint, route, question, started, frame)
        raise no_replica(endpoint.trouble)

    def ask_at_once(self, endpoint: Endpoint, question: Question, done: Done) -> tuple[Route, Asked] | None:
        """The version that the traffic's weights choose, as `ConnectionPool.ask_at_once` does."""
        if not endpoint.routes:
            return None
        route = endpoint.routes_in_order(self._choose)[0]
        asked = self._pool.ask_at_once(route.sockets, endpoint.put(question), done, route.most)
        return (route, asked) if asked else None

    def drop(self, path: str) -> None:
        """The lane at `path` died when it was asked."""
        self._pool.drop(path)

    def note_failure(
        self, team_id: int, name: str, route: Route, question: Question, started: float, error: Unavailable
    ) -> None:
        """Count it, and look the deployment up anew."""
        route.count(question, time.perf_counter() - started, error.status)
        self._endpoints.forget((team_id, name))

    def in_thread(self, function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """`function` as a coroutine; its thread gives its database connection back when it is done."""

        def run(*args: Any) -> Any:
            try:
                return function(*args)
            finally:
                connections.close_all()

        return sync_to_async(run, thread_sensitive=False, executor=self._threads)


def note_answer(endpoint: Endpoint, route: Route, question: Question, started: float, frame: Frame) -> dict[str, str]:
    """Count it and log it. Returns the headers that tell of it."""
    seconds = time.perf_counter() - started
    route.count(question, seconds, frame.status, frame.head.get("batch", 1))
    if endpoint.log.percent:
        REQUEST_LOG.note(
            endpoint.log,
            endpoint.deployment_id,
            question,
            at=datetime.now(UTC),
            version=route.number,
            status=frame.status,
            seconds=seconds,
            answer=b"" if question.content == TENSORS else frame.body,
        )
    return {"Server-Timing": f"predict;dur={frame.head['seconds'] * 1000:.2f}", VERSION_HEADER: str(route.number)}


def metered(team_id: int, answer: Answer) -> Answer:
    """Counts what is sent to the team."""
    METER.add(team_id, PREDICTION, len(answer.body))
    return answer


def told_of(error: Exception) -> DomainError:
    """What a client is told of an error; what is no refusal stands in the log."""
    if isinstance(error, DomainError):
        return error
    if isinstance(error, DatabaseError):
        logger.error("the database does not answer", exc_info=error)
        return Unavailable("The site is not ready. Try again.", retry_after_seconds=2)
    logger.error("a prediction failed", exc_info=error)
    return internal_error()


# Look-ups, in a thread: the cached part of a request


def _caller_of(secret: str) -> Caller:
    key = find_api_key(secret)
    if key is None:
        raise invalid_key()
    touch_api_key(key)
    return Caller(key.pk, key.team_id, key.requests_per_minute)


def _endpoint_of(team_and_name: tuple[int, str]) -> Endpoint:
    """Raises NotFound, and QuotaExceeded for a team that has sent all it may this month."""
    endpoint = resolve_endpoint(*team_and_name)
    check_egress(team_and_name[0])
    return endpoint
