"""The prediction paths as a raw ASGI application in front of Django.

``POST /v1/models/<name>/predict`` and ``/explain``, ``GET /v1/models/<name>`` and the Open Inference Protocol under
``/v2`` are answered here: API key, body limit, the replica's answer. No middleware, no DRF, and no query on the way
while the key and the endpoint are cached, which they are for less than a second, so that a revoked key or a deleted
deployment is refused within one. Everything else goes to Django.
"""

import asyncio
import gc
import json
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from django.db import connection

from apps.core.errors import DomainError, NotFound
from apps.deployments import in_flight
from apps.deployments.admission import EXPLANATION_WEIGHT, Caller
from apps.deployments.counting import TALLY
from apps.deployments.endpoints import Endpoint
from apps.deployments.in_flight import IN_FLIGHT
from apps.deployments.request_log import REQUEST_LOG
from apps.deployments.requests import is_multipart, multipart_question, read_top_k, to_question
from apps.deployments.rollouts import stop_bad_canaries
from apps.deployments.streaming import MEDIA_TYPE, line_of_error, lines_of, questions_of, wants_lines
from apps.resources.metering import FLUSH_SECONDS, METER, PREDICTION
from lepton_site import open_inference
from lepton_site.messages import (
    LOOK_AFTER_SECONDS,
    MAX_NAME_LENGTH,
    Answer,
    App,
    ClientGone,
    Receive,
    Scope,
    Send,
    Stream,
    WhileConnected,
    bearer_of,
    check_method,
    declared_bytes,
    headers_of,
    query_of,
    read_body,
    refusal,
    send_answer,
    send_stream,
)
from lepton_site.predictions import Predictions, metered, told_of
from workers.inference.framing import Frame, Question

logger = logging.getLogger("lepton.gateway")

PREFIX = "/v1/models/"
PREDICT, EXPLAIN = "predict", "explain"


class Gateway:
    """Answers the prediction paths and hands everything else to `django_app`."""

    def __init__(
        self,
        django_app: App,
        choose: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`choose` and `clock` as Predictions takes them."""
        self._django = django_app
        self.predictions = Predictions(choose, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            await self._reply(self._answer, refusal, scope, receive, send)
        elif scope["type"] == "http" and open_inference.is_ours(scope["path"]):
            await self._reply(self._answer_open_inference, open_inference.refusal, scope, receive, send)
        else:
            await self._django(scope, receive, send)

    async def _reply(
        self,
        answer_of: Callable[[Scope, Receive], Awaitable[Answer | Stream]],
        refusal_of: Callable[[DomainError], Answer],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Send what `answer_of` gives, and what it raises as `refusal_of` writes it."""
        first = b""
        try:
            answer = await answer_of(scope, receive)
            if isinstance(answer, Stream):
                first = await anext(answer.lines)
        except ClientGone:
            return
        except Exception as error:
            answer = refusal_of(told_of(error))
        if not isinstance(answer, Stream):
            await send_answer(send, answer)
            return
        with suppress(ClientGone):
            await send_stream(send, answer, first)

    async def _live(self, receive: Receive, send: Send) -> None:
        """From the server's start to its stop: what was sent is written down about once a second, and at the end."""
        await receive()
        gc.freeze()  # what was loaded stays; looking through all of it now and then would hold requests up
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
        for write in (METER.flush, REQUEST_LOG.flush, _judge_what_was_answered, _tell_what_is_in_flight):
            try:
                await self.predictions.in_thread(write)()
            except Exception:
                logger.exception("what was sent and answered is not written down yet")

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | Stream:
        name, verb = _parse_path(scope["path"])
        is_prediction = bool(verb)
        check_method(scope["method"], "POST" if is_prediction else "GET")
        headers = headers_of(scope)
        weight = {PREDICT: 1, EXPLAIN: EXPLANATION_WEIGHT}.get(verb, 0)
        caller, endpoint = await self._admit(scope, headers, name, weight)
        team_id = caller.team_id
        if not is_prediction:
            return metered(team_id, Answer(200, json.dumps(endpoint.describe()).encode(), {}))
        top_k = read_top_k(query_of(scope).get("top_k", [None])[-1])
        if verb != EXPLAIN and wants_lines(headers.get("accept", "")):
            return Stream(self._lines(scope, headers, receive, caller, name, endpoint, top_k), MEDIA_TYPE)
        with self.predictions.room.held(team_id, declared_bytes(headers)):
            question = await self._question(scope, headers, receive, endpoint, top_k)
            if verb == EXPLAIN:
                question = question.explained()
            frame, told = await self._ask(team_id, name, endpoint, question, receive)
            self.predictions.count_items(caller, endpoint, frame)
            return metered(team_id, Answer(frame.status, frame.body, told))

    async def _answer_open_inference(self, scope: Scope, receive: Receive) -> Answer:
        call = open_inference.parse_path(scope["path"])
        check_method(scope["method"], call.method)
        if not call.name:
            return Answer(200, json.dumps(await self._about_server(call.what)).encode(), {})
        headers = headers_of(scope)
        is_prediction = call.what == open_inference.INFER
        caller, endpoint = await self._admit(scope, headers, call.name, int(is_prediction))
        team_id = caller.team_id
        if not is_prediction:
            status, facts = open_inference.about_call(endpoint, call)
            return metered(team_id, Answer(status, json.dumps(facts).encode(), {}))
        with self.predictions.room.held(team_id, declared_bytes(headers)):
            question = open_inference.to_question(endpoint, headers, await read_body(receive))
            frame, told = await self._ask(team_id, call.name, endpoint, question, receive, call.version)
            self.predictions.count_items(caller, endpoint, frame)
            return metered(team_id, open_inference.to_answer(frame, told))

    async def _about_server(self, what: str) -> dict[str, Any]:
        """Raises DatabaseError where the site is not ready."""
        if what == open_inference.READY:
            await self.predictions.in_thread(connection.ensure_connection)()
        return open_inference.about_server(what)

    async def _admit(self, scope: Scope, headers: dict[str, str], name: str, weight: int) -> tuple[Caller, Endpoint]:
        address = (scope.get("client") or ("",))[0]
        return await self.predictions.admit(bearer_of(headers), name, address, weight)

    async def _ask(
        self,
        team_id: int,
        name: str,
        endpoint: Endpoint,
        question: Question,
        receive: Receive,
        version: int | None = None,
        *,
        look_after_seconds: float = LOOK_AFTER_SECONDS,
    ) -> tuple[Frame, dict[str, str]]:
        """The answer, and the headers that tell of it. Raises ClientGone where nobody waits for it any more."""
        async with WhileConnected(receive, look_after_seconds):
            return await self.predictions.ask(team_id, name, endpoint, question, version)

    async def _lines(
        self,
        scope: Scope,
        headers: dict[str, str],
        receive: Receive,
        caller: Caller,
        name: str,
        endpoint: Endpoint,
        top_k: int | None,
    ) -> AsyncGenerator[bytes, None]:
        """One line for each item, as soon as its part is answered. An error after the first part is the last line."""
        team_id = caller.team_id
        with self.predictions.room.held(team_id, declared_bytes(headers)):
            question = await self._question(scope, headers, receive, endpoint, top_k)
            number = 0
            for part in await self.predictions.in_thread(questions_of)(question):
                wait = 0 if number else LOOK_AFTER_SECONDS  # many quick parts, and nobody would ever look
                try:
                    frame, _told = await self._ask(team_id, name, endpoint, part, receive, look_after_seconds=wait)
                    lines, count = lines_of(frame, number)
                except ClientGone:
                    raise
                except Exception as error:
                    if not number:
                        raise
                    yield line_of_error(told_of(error), number)
                    return
                METER.add(team_id, PREDICTION, len(lines))
                self.predictions.count_items(caller, endpoint, frame)
                number += count
                yield lines

    async def _question(
        self, scope: Scope, headers: dict[str, str], receive: Receive, endpoint: Endpoint, top_k: int | None
    ) -> Question:
        """Reads the body."""
        body = await read_body(receive)
        content_type = headers.get("content-type", "").lower()
        if is_multipart(content_type):
            return await self.predictions.in_thread(multipart_question)(scope, endpoint.task, body, top_k)
        return to_question(endpoint.task, content_type, body, top_k)


def _tell_what_is_in_flight() -> None:
    in_flight.tell(IN_FLIGHT.take())


def _judge_what_was_answered() -> None:
    """Write the counts down, and stop the canaries that do worse."""
    stop_bad_canaries(TALLY.flush(now=time.time()))


# Reading the request


def _parse_path(path: str) -> tuple[str, str]:
    """The endpoint's name, and what is asked for: PREDICT, EXPLAIN, or "" for what it is."""
    name, slash, verb = path[len(PREFIX) :].rstrip("/").rpartition("/")
    if not slash and len(verb) <= MAX_NAME_LENGTH:
        return verb, ""
    if verb not in (PREDICT, EXPLAIN) or not name or len(name) > MAX_NAME_LENGTH:
        raise NotFound("There is no such address. Predictions are asked for at /v1/models/<name>/predict.")
    return name, verb
