"""A lane's server: frames in, frames out. The thread that predicts reads and answers itself, so that a question passes
through no other."""

from __future__ import annotations

import socket
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from workers.inference.aside import Aside
from workers.inference.doors import Connection, Door
from workers.inference.framing import Frame, Question
from workers.inference.readiness import Readiness

MAX_CONNECTIONS = 512  # one question at a time comes over each; who comes beyond is hung up on
STOP_SECONDS = 10
PROOF_SECONDS = 5.0

Answer = Callable[[Sequence[Question]], list[Frame]]


class Server:
    """Serves `answer`, which is called with 1 to `at_once` questions, in the thread that serves.

    There is no artificial wait: while it computes, the questions that arrive wait in their sockets and become the next
    batch. What nobody waits for any more is not computed.
    """

    def __init__(self, answer: Answer, explain: Callable[[Question], Frame] | None = None, *, at_once: int = 1) -> None:
        self._answer, self._at_once = answer, at_once
        self._aside = Aside(explain) if explain else None
        self._connections: dict[int, Connection] = {}
        self._ready = Readiness()

    def serve(self, doors: Iterable[Door], bells: Collection[socket.socket]) -> None:
        """Answer who comes in by `doors` until one of `bells` has something to read or is closed at its other end; then
        finish what was asked."""
        self._doors = {door.descriptor: door for door in doors}
        for door in self._doors:
            self._ready.add(door)
        try:
            self._run({bell.fileno() for bell in bells})
        finally:
            if self._aside:
                self._aside.stop()

    def _run(self, bells: set[int]) -> None:
        for bell in bells:
            self._ready.add(bell)
        while not self._answer_next(bells):
            pass
        for bell in bells:
            self._ready.remove(bell)
        deadline = time.monotonic() + STOP_SECONDS
        while self._answer_next(seconds=0) is not None and time.monotonic() < deadline:
            pass

    def _answer_next(self, bells: Collection[int] = (), seconds: float | None = None) -> bool | None:
        """Whatever is there next. Whether one of `bells` was rung; None where nothing came within `seconds`."""
        ready = self._ready.wait(self._at_once, seconds)
        if not ready:
            return None
        is_over = False
        asked: list[tuple[Connection, Question]] = []
        for descriptor, is_closed in ready:
            if connection := self._connections.get(descriptor):
                if question := self._read(connection, is_closed):
                    asked.append((connection, question))
            elif descriptor in bells:
                is_over = True
            else:
                self._accept(self._doors[descriptor])
        if asked:
            self._answer_together(asked)
        return is_over

    def _accept(self, door: Door) -> None:
        while connection := door.accept():
            if len(self._connections) >= MAX_CONNECTIONS:
                self._drop_unproven()
            if len(self._connections) >= MAX_CONNECTIONS:
                connection.close()
                continue
            self._connections[connection.descriptor] = connection
            self._ready.add(connection.descriptor)

    def _drop_unproven(self) -> None:
        """Whoever had the time to show that it knows the token, and did not."""
        latest = time.monotonic() - PROOF_SECONDS
        for connection in list(self._connections.values()):
            if not connection.is_proven and connection.since <= latest:
                self._drop(connection)

    def _read(self, connection: Connection, is_closed: bool) -> Question | None:
        """What is to be predicted: no explanation, which is worked on aside, and nothing that nobody waits for."""
        try:
            question = None if is_closed else connection.read()
        except OSError:
            is_closed = True
        if is_closed:
            self._drop(connection)
        elif question and question.is_explanation and self._aside:
            self._aside.ask(question, partial(_reply, connection))
        else:
            return question
        return None

    def _answer_together(self, asked: Sequence[tuple[Connection, Question]]) -> None:
        replies = self._safely([question for _connection, question in asked])
        for (connection, _question), reply in zip(asked, replies, strict=True):
            _reply(connection, Frame(reply.head | {"batch": len(asked)}, reply.body))

    def _safely(self, questions: Sequence[Question]) -> list[Frame]:
        """Whatever happens, this thread lives on."""
        try:
            return self._answer(questions)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            error = b'{"error": {"code": "prediction_failed", "message": "The reason stands in the replica\'s log."}}'
            return [Frame({"status": 500, "seconds": 0.0}, error)] * len(questions)

    def _drop(self, connection: Connection) -> None:
        del self._connections[connection.descriptor]
        connection.close()


def _reply(connection: Connection, reply: Frame) -> None:
    """Also in the thread that explains."""
    try:
        connection.send(reply)
    except OSError:
        connection.hang_up()
