"""uvicorn's protocol, which answers the usual prediction itself: a ``POST /v1/models/<name>/predict`` of up to a
megabyte, by a key and for a deployment that are known for the moment.

Such a request passes through no ASGI and no task: no scope, no messages, one call when the last byte of it has come and
one when a replica has answered. All others, and all that are refused, go through uvicorn's own cycle to the gateway,
which asks the same `Predictions`: what has to be looked up first, forms, explanations, lines, larger bodies, and other
paths.
"""

import asyncio
import re
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from apps.core.errors import DomainError
from apps.deployments.admission import Caller
from apps.deployments.connections import Asked, timed_out
from apps.deployments.endpoints import Endpoint
from apps.deployments.in_flight import IN_FLIGHT
from apps.deployments.requests import is_multipart, to_question
from apps.deployments.streaming import wants_lines
from lepton_site import messages
from lepton_site.messages import Answer, body_too_slow, encoded, refusal, secret_in
from lepton_site.predictions import Predictions, metered, note_answer, told_of
from workers.inference.framing import Frame

USUAL_PATH = re.compile(rb"/v1/models/([\w.~-]{1,200})/predict")
MOST_BYTES = 2**20
UNUSUAL_HEADERS = frozenset((b"expect", b"transfer-encoding", b"upgrade"))


class Exchange:
    """A prediction that is asked for, until it is answered. To uvicorn it looks like a cycle of its own."""

    message_event = asyncio.Event()  # uvicorn sets it where a client is gone, which `connection_lost` tells as well

    def __init__(
        self,
        protocol: "PredictionProtocol",
        caller: Caller,
        name: str,
        endpoint: Endpoint,
        content_type: str,
        room: int,
    ) -> None:
        """`room` bytes are taken for it."""
        self._protocol, self._predictions = protocol, protocol.predictions
        self._caller, self._name, self._endpoint = caller, name, endpoint
        self._content_type, self._room = content_type, room
        self.parts: list[bytes] = []
        self.keep_alive, self.response_complete, self.disconnected = True, False, False
        self.is_whole = False
        self.timer: asyncio.TimerHandle | None = None
        self._asked: Asked | None = None
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """The body is there."""
        self.is_whole = True
        self._question = to_question(self._endpoint.task, self._content_type, b"".join(self.parts), None)
        self._started = time.perf_counter()
        found = self._predictions.ask_at_once(self._endpoint, self._question, self._replied)
        if found:
            self._route, self._asked = found
            IN_FLIGHT.change(self._endpoint.deployment_id, 1)
        else:
            self._ask_in_task()

    def _replied(self, outcome: Frame | OSError) -> None:
        IN_FLIGHT.change(self._endpoint.deployment_id, -1)
        asked, self._asked = self._asked, None
        if isinstance(outcome, Frame):
            told = note_answer(self._endpoint, self._route, self._question, self._started, outcome)
            self._answer(outcome, told)
        elif isinstance(outcome, TimeoutError):
            error = timed_out()
            self._predictions.note_failure(
                self._caller.team_id, self._name, self._route, self._question, self._started, error
            )
            self._protocol.end(refusal(error))
        else:
            self._predictions.drop(asked.path)
            self._ask_in_task(asked.path)

    def _ask_in_task(self, died: str = "") -> None:
        self._task = self._protocol.loop.create_task(self._ask(died))

    async def _ask(self, died: str) -> None:
        """A connection is to be opened, another replica to be found, or one to be woken."""
        try:
            frame, told = await self._predictions.ask(
                self._caller.team_id, self._name, self._endpoint, self._question, died=died
            )
        except Exception as error:
            self._protocol.end(refusal(told_of(error)))
        else:
            self._answer(frame, told)

    def _answer(self, frame: Frame, told: dict[str, str]) -> None:
        self._predictions.count_items(self._caller, self._endpoint, frame)
        self._protocol.end(metered(self._caller.team_id, Answer(frame.status, frame.body, told)))

    def finish(self) -> None:
        """It is answered, or nobody waits for it any more."""
        self.response_complete = True
        self._predictions.room.give_back(self._caller.team_id, self._room)
        if self.timer:
            self.timer.cancel()

    def cancel(self) -> None:
        self.finish()
        if self._asked:
            self._asked.cancel()
            IN_FLIGHT.change(self._endpoint.deployment_id, -1)
        if self._task:
            self._task.cancel()


class PredictionProtocol(HttpToolsProtocol):
    """A subclass has the site's `predictions`."""

    predictions: Predictions

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._exchange: Exchange | None = None

    # What the connection brings

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        exchange = self._exchange
        if exchange and not exchange.is_whole and not exchange.timer:
            exchange.timer = self.loop.call_later(messages.BODY_SECONDS, self._cut_off)

    def connection_lost(self, exc: Exception | None) -> None:
        if exchange := self._exchange:
            self._exchange = None
            exchange.cancel()
        super().connection_lost(exc)

    # What the parser finds in it

    def on_headers_complete(self) -> None:
        if exchange := self._begin():
            self.cycle = self._exchange = exchange
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self.cycle is self._exchange:
            self._exchange.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.cycle is self._exchange:
            self._exchange.ask()
        else:
            super().on_message_complete()

    # A prediction

    def _begin(self) -> Exchange | None:
        """None for what is not usual. Nothing has been counted of it then."""
        path = USUAL_PATH.fullmatch(self.url)
        if not path or self.access_log or self.flow.write_paused or (self.cycle and not self.cycle.response_complete):
            return None
        headers, parser = dict(self.headers), self.parser
        declared = headers.get(b"content-length", b"")
        if not declared.isdigit() or int(declared) > MOST_BYTES or not UNUSUAL_HEADERS.isdisjoint(headers):
            return None
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return None
        content_type = headers.get(b"content-type", b"").decode("latin-1").lower()
        if is_multipart(content_type) or wants_lines(headers.get(b"accept", b"").decode("latin-1")):
            return None
        try:
            return self._admit(headers, path[1].decode(), content_type, int(declared))
        except DomainError:
            return None

    def _admit(self, headers: dict[bytes, bytes], name: str, content_type: str, size_bytes: int) -> Exchange | None:
        """Raises DomainError for what is refused."""
        found = self.predictions.known(secret_in(headers.get(b"authorization", b"").decode("latin-1")), name)
        if not found:
            return None
        caller, endpoint = found
        if endpoint.networks and b"x-forwarded-for" in headers:  # uvicorn's cycle knows which to believe
            return None
        room = self.predictions.room.take(caller.team_id, size_bytes)
        try:
            self.predictions.let_in(caller, endpoint, self.client[0] if self.client else "", 1)
        except DomainError:
            self.predictions.room.give_back(caller.team_id, room)
            raise
        return Exchange(self, caller, name, endpoint, content_type, room)

    def _cut_off(self) -> None:
        """The body does not come."""
        self._exchange.keep_alive = False
        self.end(refusal(body_too_slow()))

    def end(self, answer: Answer) -> None:
        """Send the answer to the prediction that was asked for."""
        exchange, self._exchange = self._exchange, None
        exchange.finish()
        self.transport.write(encoded(answer, self.server_state.default_headers, is_last=not exchange.keep_alive))
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()
