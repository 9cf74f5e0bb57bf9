"""HTTP: headers and bodies that are read within limits, answers that are sent, refusals as sentences."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from apps.core.errors import DomainError, TooLarge

BODY_SECONDS = 30.0
SEND_SECONDS = 60.0  # for a part of a stream
LOOK_AFTER_SECONDS = 0.2
FORM_OVERHEAD_BYTES = 2**20
MAX_NAME_LENGTH = 200  # of a deployment in an address
MAX_SECRET_LENGTH = 200

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

    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}  # what comes of the body later is nobody's


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Stream:
    """An answer whose lines come one after the other; what is raised before the first is a refusal."""

    lines: AsyncGenerator[bytes, None]
    media_type: str


class WhileConnected:
    """``async with WhileConnected(receive):`` cancels what stands within when the client closes the connection, and
    raises ClientGone. The body has been read.

    It looks only after `after_seconds`, so that what is answered at once pays nothing for it.
    """

    def __init__(self, receive: Receive, after_seconds: float = LOOK_AFTER_SECONDS) -> None:
        self._receive, self._after_seconds = receive, after_seconds
        self._watcher: asyncio.Task[None] | None = None
        self._is_gone = False

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._after_seconds, self._look)

    async def __aexit__(self, kind: type[BaseException] | None, *_details: object) -> None:
        self._timer.cancel()
        if self._watcher:
            self._watcher.cancel()
        if self._is_gone and kind in (None, asyncio.CancelledError):
            self._task.uncancel()
            if kind is None:  # it was done at the same moment: the cancellation still comes
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            raise ClientGone

    def _look(self) -> None:
        self._watcher = asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        self._task.cancel()


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
            await self._app(scope, receive if declared else self._counted(receive), send)
        except DomainError as error:
            await send_answer(send, refusal(error))

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


def internal_error() -> DomainError:
    error = DomainError(
        "The prediction failed on our side. The reason stands in the site's log.", code="internal_error"
    )
    error.status = 500
    return error


def headers_of(scope: Scope) -> dict[str, str]:
    """By their names in small letters."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def declared_bytes(headers: dict[str, str]) -> int | None:
    """How large the body is said to be."""
    declared = headers.get("content-length", "")
    return int(declared) if declared.isdigit() else None


def check_method(method: str, allowed: str) -> None:
    """Raises MethodNotAllowed."""
    if method != allowed:
        message = f"This address answers {allowed} only."
        raise MethodNotAllowed(message, details={"allow": allowed})


def bearer_of(headers: dict[str, str]) -> str:
    """The secret that was sent as a bearer token. Raises Unauthorized for none."""
    return secret_in(headers.get("authorization", ""))


def secret_in(authorization: str) -> str:
    """The same, of the header's value."""
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Unauthorized("Send your API key in the header: Authorization: Bearer lp_...", code="not_authenticated")
    if len(secret) > MAX_SECRET_LENGTH:  # it would be kept in memory for as long as it is remembered to be wrong
        raise invalid_key()
    return secret.strip()


def query_of(scope: Scope) -> dict[str, list[str]]:
    """What follows the question mark, by name. Raises DomainError for more than 20 parameters."""
    if not scope["query_string"]:
        return {}
    try:
        return parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=20)
    except ValueError as error:
        raise DomainError("The address has too many parameters.") from error


def body_too_slow() -> BodyTimeout:
    return BodyTimeout(f"The body did not arrive within {BODY_SECONDS:.0f} seconds.")


def invalid_key() -> Unauthorized:
    return Unauthorized("This API key is not valid: it was mistyped or revoked. Make a new one on the page API keys.")


async def read_body(receive: Receive) -> bytes:
    """The whole body. Raises TooLarge, BodyTimeout, ClientGone."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _collect(receive, settings.LEPTON_MAX_PREDICT_BYTES)
    except TimeoutError as error:
        raise body_too_slow() from error


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


def refusal(error: DomainError) -> Answer:
    return Answer(error.status, json.dumps(error.as_dict()).encode(), error.headers())


async def send_answer(send: Send, answer: Answer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": _encoded(_headers_of(answer))})
    await send({"type": "http.response.body", "body": answer.body})


def encoded(answer: Answer, more: Iterable[tuple[bytes, bytes]], *, is_last: bool) -> bytes:
    """As it goes over an HTTP/1.1 connection, with `more` headers; the connection is closed after the last."""
    headers = _headers_of(answer) | ({"Connection": "close"} if is_last else {})
    ours = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    theirs = [b"%b: %b\r\n" % header for header in more]
    return b"".join((STATUS_LINE[answer.status], *theirs, ours.encode("latin-1"), b"\r\n", answer.body))


async def send_stream(send: Send, stream: Stream, first: bytes) -> None:
    """`first` is what its first line was. Raises ClientGone where the client reads nothing for `SEND_SECONDS`: as long
    as it reads, its body takes room."""
    headers = _encoded(_COMMON | {"Content-Type": stream.media_type})
    async with aclosing(stream.lines):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _send_part(send, first)
        async for line in stream.lines:
            await _send_part(send, line)
    await send({"type": "http.response.body", "body": b""})


async def _send_part(send: Send, body: bytes) -> None:
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": body, "more_body": True})
    except TimeoutError as error:
        raise ClientGone from error


_COMMON = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def _headers_of(answer: Answer) -> dict[str, str]:
    return _COMMON | {"Content-Type": "application/json", "Content-Length": str(len(answer.body)), **answer.headers}


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
