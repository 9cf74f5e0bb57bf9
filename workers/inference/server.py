"""A lane's server: frames in, frames out. The thread that predicts reads and answers itself, so that a question passes
through no other."""

from __future__ import annotations

import os
import socket
import stat
import sys
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from workers.contract import ProgramFailure
from workers.inference.aside import Aside
from workers.inference.framing import CHUNK_BYTES, BrokenConnection, Frame, FrameReader, Question, read_usual_head
from workers.inference.readiness import Readiness

MAX_CONNECTIONS = 512  # one question at a time comes over each; who comes beyond is hung up on
MAX_SOCKET_PATH_BYTES = 100  # 107 on Linux, 103 on macOS
STOP_SECONDS = 10
SEND_SECONDS = 30  # until who asked has room for the answer

Answer = Callable[[Sequence[Question]], list[Frame]]


class Connection:
    """Brings questions, one after the other."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self.descriptor = connected.fileno()
        self._socket, self._reader = connected, FrameReader(read_usual_head)

    def read(self) -> Question | None:
        """None while a part is still on its way. Raises OSError; BrokenConnection for what is no question."""
        try:
            while data := self._socket.recv(CHUNK_BYTES):
                if frame := self._reader.feed(data):
                    return Question.of(frame)
        except BlockingIOError:
            return None
        raise BrokenConnection("the other end closed the connection")

    def send(self, reply: Frame) -> None:
        """Raises OSError, also where nobody takes it."""
        data = reply.encode()
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._socket.settimeout(SEND_SECONDS)
            self._socket.sendall(memoryview(data)[sent:])
            self._socket.setblocking(False)

    def hang_up(self) -> None:
        """Whoever reads finds it closed."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


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

    def serve(self, socket_path: Path, bells: Collection[socket.socket]) -> None:
        """Answer on `socket_path` until one of `bells` has something to read or is closed at its other end; then finish
        what was asked, and remove the socket."""
        prepare_socket(socket_path)
        try:
            with socket.socket(socket.AF_UNIX) as self._listener:
                self._listener.setblocking(False)
                self._listener.bind(os.fspath(socket_path))
                self._listener.listen(MAX_CONNECTIONS)
                self._ready.add(self._listener.fileno())
                self._run({bell.fileno() for bell in bells})
        finally:
            socket_path.unlink(missing_ok=True)
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
                self._accept()
        if asked:
            self._answer_together(asked)
        return is_over

    def _accept(self) -> None:
        with suppress(OSError):  # all have been accepted, or the system has no room for more
            while True:
                connected, _address = self._listener.accept()
                if len(self._connections) >= MAX_CONNECTIONS:
                    connected.close()
                    continue
                connection = Connection(connected)
                self._connections[connection.descriptor] = connection
                self._ready.add(connection.descriptor)

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


def prepare_socket(path: Path) -> None:
    """Make the socket's folder, private to this account, and clear the way. Raises ProgramFailure."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        message = f"The socket's path has {len(os.fsencode(path))} bytes; the system allows {MAX_SOCKET_PATH_BYTES}."
        raise ProgramFailure("socket_path_too_long", message, hint="Use a shorter folder.", blame="machine")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = path.parent.lstat()
    if not stat.S_ISDIR(folder.st_mode) or folder.st_uid != os.geteuid() or folder.st_mode & 0o077:
        message = f"The socket's folder {path.parent} is open to other accounts."
        raise ProgramFailure("socket_folder_not_private", message, hint="Remove it and start again.", blame="machine")
    path.unlink(missing_ok=True)
