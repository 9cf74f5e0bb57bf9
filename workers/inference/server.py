"""The replica's server: frames in, frames out. The threads that predict read and answer themselves, so that a question
wakes one thread and passes through no other."""

from __future__ import annotations

import os
import socket
import stat
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread

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

    def close(self) -> None:
        self._socket.close()


class Server:
    """Serves `answer`, which is called in `lanes` threads of its own, with 1 to `at_once` questions in each.

    There is no artificial wait: while all lanes compute, the questions that arrive wait in their sockets and become the
    next batches. What nobody waits for any more is not computed.
    """

    def __init__(
        self,
        answer: Answer,
        explain: Callable[[Question], Frame] | None = None,
        *,
        at_once: int = 1,
        lanes: int = 1,
    ) -> None:
        self._answer, self._at_once, self._lanes = answer, at_once, lanes
        self._aside = Aside(explain) if explain else None
        self._connections: dict[int, Connection] = {}
        self._ready = Readiness()

    def serve(self, socket_path: Path, wait_for_end: Callable[[], object]) -> None:
        """Answer on `socket_path` until `wait_for_end` returns; then finish what was asked and remove the socket."""
        prepare_socket(socket_path)
        self._bell, ringer = socket.socketpair()
        with socket.socket(socket.AF_UNIX) as self._listener, self._bell, ringer:
            self._listener.setblocking(False)
            self._listener.bind(os.fspath(socket_path))
            self._listener.listen(MAX_CONNECTIONS)
            self._ready.add(self._listener.fileno())
            self._ready.add(self._bell.fileno())
            lanes = [Thread(target=self._run, name=f"predict {number}", daemon=True) for number in range(self._lanes)]
            for lane in lanes:
                lane.start()
            try:
                wait_for_end()
            finally:
                socket_path.unlink(missing_ok=True)
                ringer.send(b"!")
                deadline = time.monotonic() + STOP_SECONDS
                for lane in lanes:
                    lane.join(max(0.0, deadline - time.monotonic()))
                if self._aside:
                    self._aside.stop()

    # In the threads that predict

    def _run(self) -> None:
        is_ending = False
        while (ready := self._ready.wait(self._at_once, 0 if is_ending else None)) or not is_ending:
            asked: list[tuple[Connection, Question]] = []
            for descriptor, is_closed in ready:
                if descriptor == self._bell.fileno():
                    is_ending = True
                elif descriptor == self._listener.fileno():
                    self._accept()
                elif question := self._read(self._connections[descriptor], is_closed):
                    asked.append((self._connections[descriptor], question))
            if asked:
                self._answer_together(asked)
        self._ready.arm(self._bell.fileno())  # the next lane hears it

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
        self._ready.arm(self._listener.fileno())

    def _read(self, connection: Connection, is_closed: bool) -> Question | None:
        """What is to be predicted: no explanation, which is worked on aside, and nothing that nobody waits for."""
        try:
            question = None if is_closed else connection.read()
        except OSError:
            is_closed = True
        if is_closed:
            self._drop(connection)
        elif question is None:
            self._ready.arm(connection.descriptor)
        elif question.is_explanation and self._aside:
            self._aside.ask(question, partial(self._reply, connection))
        else:
            return question
        return None

    def _answer_together(self, asked: Sequence[tuple[Connection, Question]]) -> None:
        replies = self._safely([question for _connection, question in asked])
        for (connection, _question), reply in zip(asked, replies, strict=True):
            self._reply(connection, Frame(reply.head | {"batch": len(asked)}, reply.body))

    def _safely(self, questions: Sequence[Question]) -> list[Frame]:
        """Whatever happens, this thread lives on."""
        try:
            return self._answer(questions)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            error = b'{"error": {"code": "prediction_failed", "message": "The reason stands in the replica\'s log."}}'
            return [Frame({"status": 500, "seconds": 0.0}, error)] * len(questions)

    def _reply(self, connection: Connection, reply: Frame) -> None:
        """Also in the thread that explains."""
        try:
            connection.send(reply)
            self._ready.arm(connection.descriptor)
        except OSError:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        del self._connections[connection.descriptor]  # first: another thread may be given the same number
        connection.close()


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
