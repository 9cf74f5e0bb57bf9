"""HTTP over ASGI: bodies that are read within limits, answers that are sent, and refusals as sentences."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from apps.core.errors import DomainError, TooLarge

BODY_SECONDS = 30.0
FORM_OVERHEAD_BYTES = 2**20
MAX_NAME_LENGTH = 200  # of a deployment in an address

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


async def read_body(receive: Receive) -> bytes:
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


def refusal(error: DomainError) -> Answer:
    return Answer(error.status, json.dumps(error.as_dict()).encode(), error.headers())


async def send_answer(send: Send, answer: Answer) -> None:
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
