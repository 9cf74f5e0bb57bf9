"""The prediction paths as a raw ASGI application in front of Django.

``POST /v1/models/<name>/predict`` and ``GET /v1/models/<name>`` are answered here: API key, body limit, the replica's
answer. No middleware, no DRF, and no query on the way while the key and the endpoint are cached, which they are for
less than a second, so that a revoked key or a deleted deployment is refused within one. Everything else goes to Django.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, connections

from apps.accounts.services import find_api_key, touch_api_key
from apps.core.errors import DomainError, NotFound, TooLarge, TooManyRequests, Unavailable
from apps.deployments.connections import NOT_READY, ConnectionPool, no_replica
from apps.deployments.counting import TALLY
from apps.deployments.endpoints import Endpoint, resolve_endpoint
from apps.deployments.expiring import ExpiringCache
from apps.deployments.requests import is_multipart, multipart_question, read_top_k, to_question
from apps.deployments.rollouts import stop_bad_canaries
from apps.resources.metering import FLUSH_SECONDS, METER, PREDICTION, check_egress
from workers.inference.framing import Question

logger = logging.getLogger("lepton.gateway")

PREFIX = "/v1/models/"
CACHE_SECONDS = 0.8
BODY_SECONDS = 30.0
MAX_BUFFERED_BYTES = 512 * 2**20
FORM_OVERHEAD_BYTES = 2**20
DATABASE_THREADS = 4
MAX_SECRET_LENGTH = 200
MAX_NAME_LENGTH = 200
VERSION_HEADER = "Lepton-Version"

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class ClientGone(Exception):
    """The client closed the connection; nobody is there to answer."""


class Unauthorized(DomainError):
    status = 401
    code = "invalid_api_key"

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class MethodNotAllowed(DomainError):
    status = 405
    code = "method_not_allowed"

    def headers(self) -> dict[str, str]:
        return {"Allow": self.details["allow"]}


class BodyTimeout(DomainError):
    status = 408
    code = "body_too_slow"


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]


class Gateway:
    """Answers the prediction paths and hands everything else to `django_app`."""

    def __init__(self, django_app: App, choose: Callable[[], float] = random.random) -> None:
        """`choose` gives numbers in [0, 1), by which one of several versions is picked."""
        self._django, self._choose = django_app, choose
        self._threads = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="gateway")
        self._keys = ExpiringCache(self._in_thread(_team_of), seconds=CACHE_SECONDS)
        self._endpoints = ExpiringCache(self._in_thread(_endpoint_of), seconds=CACHE_SECONDS)
        self._pool = ConnectionPool()
        self._buffered_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._django(scope, receive, send)
            return
        try:
            answer = await self._answer(scope, receive)
        except ClientGone:
            return
        except DomainError as error:
            answer = _refusal(error)
        except DatabaseError:
            logger.exception("the database does not answer")
            answer = _refusal(Unavailable("The site is not ready. Try again.", retry_after_seconds=2))
        except Exception:
            logger.exception("a prediction failed")
            answer = _refusal(_internal_error())
        await _send(send, answer)

    async def _live(self, receive: Receive, send: Send) -> None:
        """From the server's start to its stop: what was sent is written down about once a second, and at the end."""
        await receive()
        flushing = asyncio.create_task(self._flush_for_ever())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        flushing.cancel()
        await self._flush()
        await send({"type": "lifespan.shutdown.complete"})

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        for write in (METER.flush, _judge_what_was_answered):
            try:
                await self._in_thread(write)()
            except Exception:
                logger.exception("what was sent and answered is not written down yet")

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        name, is_prediction = _parse_path(scope["path"])
        _check_method(scope["method"], is_prediction)
        team_id = await self._keys.get(_bearer(headers))
        endpoint = await self._endpoints.get((team_id, name))
        if not is_prediction:
            return _metered(team_id, Answer(200, json.dumps(endpoint.describe()).encode(), {}))
        top_k = read_top_k(_query(scope).get("top_k", [None])[-1])
        with self._room_for(headers):
            body = await _read_body(receive)
            question = await self._question(scope, endpoint, headers.get("content-type", "").lower(), body, top_k)
            return _metered(team_id, await self._ask(team_id, name, endpoint, question))

    async def _ask(self, team_id: int, name: str, endpoint: Endpoint, question: Question) -> Answer:
        """Ask the version that the traffic's weights choose; another one where no replica of that version lives."""
        for route in endpoint.routes_in_order(self._choose):
            started = time.perf_counter()
            try:
                frame = await self._pool.ask(route.sockets, question)
            except Unavailable as error:
                route.count(started, error.status)
                self._endpoints.forget((team_id, name))
                if error.code != NOT_READY:
                    raise
                continue
            route.count(started, frame.status)
            timing = f"predict;dur={frame.head['seconds'] * 1000:.2f}"
            return Answer(frame.status, frame.body, {"Server-Timing": timing, VERSION_HEADER: str(route.number)})
        raise no_replica()

    async def _question(
        self, scope: Scope, endpoint: Endpoint, content_type: str, body: bytes, top_k: int | None
    ) -> Question:
        if is_multipart(content_type):
            return await self._in_thread(multipart_question)(scope, endpoint.task, body, top_k)
        return to_question(endpoint.task, content_type, body, top_k)

    @contextmanager
    def _room_for(self, headers: dict[str, str]) -> Iterator[None]:
        """Memory for the body until it is answered. Raises TooLarge before a byte was read, and TooManyRequests."""
        limit = settings.LEPTON_MAX_PREDICT_BYTES
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise too_large(limit)
        reserved = int(declared) if declared.isdigit() else limit
        if self._buffered_bytes + reserved > MAX_BUFFERED_BYTES:
            raise TooManyRequests("Too many large requests at once.", code="overloaded", retry_after_seconds=1)
        self._buffered_bytes += reserved
        try:
            yield
        finally:
            self._buffered_bytes -= reserved

    def _in_thread(self, function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """`function` as a coroutine; its thread gives its database connection back when it is done."""

        def run(*args: Any) -> Any:
            try:
                return function(*args)
            finally:
                connections.close_all()

        return sync_to_async(run, thread_sensitive=False, executor=self._threads)


class BodyLimit:
    """Refuses addresses and bodies that no page and no endpoint takes, before Django writes them to a disk."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._limit = max(settings.LEPTON_MAX_PREDICT_BYTES, settings.LEPTON_UPLOAD_CHUNK_BYTES) + FORM_OVERHEAD_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        try:
            _check_address(scope)
            if declared.isdigit() and int(declared) > self._limit:
                raise too_large(self._limit)
            await self._app(scope, self._counted(receive), send)
        except DomainError as error:
            await _send(send, _refusal(error))

    def _counted(self, receive: Receive) -> Receive:
        """A body without a declared length is refused where it grows too long; nobody has answered before its end."""
        left = self._limit

        async def counted() -> dict[str, Any]:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise too_large(self._limit)
            return message

        return counted


def _check_address(scope: Scope) -> None:
    """No name has a NUL in it, and the database refuses to look for one."""
    if "\0" in scope["path"] or b"%00" in scope["query_string"] or b"\0" in scope["query_string"]:
        raise DomainError("The address has a NUL character in it.", code="bad_request")


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit / 1e6:.0f} MB, the most that one request may have. Send less.")


def _internal_error() -> DomainError:
    error = DomainError(
        "The prediction failed on our side. The reason stands in the site's log.", code="internal_error"
    )
    error.status = 500
    return error


# Look-ups, in a thread: the cached part of a request


def _team_of(secret: str) -> int:
    key = find_api_key(secret)
    if key is None:
        raise _invalid_key()
    touch_api_key(key)
    return key.team_id


def _invalid_key() -> Unauthorized:
    return Unauthorized("This API key is not valid: it was mistyped or revoked. Make a new one on the page API keys.")


def _endpoint_of(team_and_name: tuple[int, str]) -> Endpoint:
    """Raises NotFound, and QuotaExceeded for a team that has sent all it may this month."""
    endpoint = resolve_endpoint(*team_and_name)
    check_egress(team_and_name[0])
    return endpoint


def _judge_what_was_answered() -> None:
    """Write the counts down, and stop the canaries that do worse."""
    stop_bad_canaries(TALLY.flush(now=time.time()))


# Reading the request


def _parse_path(path: str) -> tuple[str, bool]:
    """The endpoint's name, and whether a prediction is asked for."""
    name, slash, verb = path[len(PREFIX) :].rstrip("/").rpartition("/")
    if not slash and len(verb) <= MAX_NAME_LENGTH:
        return verb, False
    if verb != "predict" or not name or len(name) > MAX_NAME_LENGTH:
        raise NotFound("There is no such address. Predictions are asked for at /v1/models/<name>/predict.")
    return name, True


def _check_method(method: str, is_prediction: bool) -> None:
    allowed = "POST" if is_prediction else "GET"
    if method != allowed:
        message = f"This address answers {allowed} only."
        raise MethodNotAllowed(message, details={"allow": allowed})


def _bearer(headers: dict[str, str]) -> str:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Unauthorized("Send your API key in the header: Authorization: Bearer lp_...", code="not_authenticated")
    if len(secret) > MAX_SECRET_LENGTH:  # it would be kept in memory for as long as it is remembered to be wrong
        raise _invalid_key()
    return secret.strip()


def _query(scope: Scope) -> dict[str, list[str]]:
    try:
        return parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=20)
    except ValueError as error:
        raise DomainError("The address has too many parameters.") from error


async def _read_body(receive: Receive) -> bytes:
    """The whole body. Raises TooLarge, BodyTimeout, ClientGone."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _collect(receive, settings.LEPTON_MAX_PREDICT_BYTES)
    except TimeoutError as error:
        raise BodyTimeout(f"The body did not arrive within {BODY_SECONDS:.0f} seconds.") from error


async def _collect(receive: Receive, limit: int) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit)
        if not message.get("more_body"):
            return b"".join(parts)


# Answering


def _metered(team_id: int, answer: Answer) -> Answer:
    METER.add(team_id, PREDICTION, len(answer.body))
    return answer


def _refusal(error: DomainError) -> Answer:
    return Answer(error.status, json.dumps(error.as_dict()).encode(), error.headers())


async def _send(send: Send, answer: Answer) -> None:
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **answer.headers,
    }
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
