"""The replica's server: frames in, frames out, predictions in a few threads, what waits together runs together."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from workers.contract import ProgramFailure
from workers.inference.aside import Aside
from workers.inference.framing import READ_AHEAD_BYTES, BrokenConnection, Frame, Question, read_frame

MAX_WAITING = 256
MAX_SOCKET_PATH_BYTES = 100  # 107 on Linux, 103 on macOS
STOP_SECONDS = 10

Answer = Callable[[Sequence[Question]], list[Frame]]


@dataclass(frozen=True)
class _Waiting:
    """`is_wanted` turns False when whoever asked has closed the connection."""

    question: Question
    reply: asyncio.Future[Frame]
    is_wanted: Callable[[], bool]


class Server:
    """Serves `answer`, which is called in `lanes` threads of its own, with 1 to `at_once` questions in each.

    There is no artificial wait: while all lanes compute, the questions that arrive become the next batches. What nobody
    waits for any more is not computed.
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
        self._waiting: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._connections: set[asyncio.Task[None]] = set()
        self._in_hand = 0

    async def serve(self, socket_path: Path, stop: asyncio.Event) -> None:
        """Answer on `socket_path` until `stop` is set; then finish what was asked and remove the socket."""
        prepare_socket(socket_path)
        self._loop = asyncio.get_running_loop()
        for number in range(self._lanes):
            Thread(target=self._run_batches, name=f"predict {number}", daemon=True).start()
        listener = await asyncio.start_unix_server(self._connected, path=str(socket_path), limit=READ_AHEAD_BYTES)
        try:
            await stop.wait()
        finally:
            socket_path.unlink(missing_ok=True)
            listener.close()
            await self._drain()
            for _lane in range(self._lanes):
                self._waiting.put(None)
            for task in self._connections:
                task.cancel()
            if self._aside:
                self._aside.stop()

    async def _drain(self) -> None:
        deadline = self._loop.time() + STOP_SECONDS
        while self._in_hand and self._loop.time() < deadline:
            await asyncio.sleep(0.01)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._connections.add(task)
        try:
            with suppress(BrokenConnection, ConnectionError, asyncio.CancelledError):
                await self._converse(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while frame := await read_frame(reader):
            self._in_hand += 1
            try:
                reply = await self._ask(frame, lambda: not reader.at_eof())
                writer.write(reply.encode())
                await writer.drain()
            finally:
                self._in_hand -= 1

    async def _ask(self, frame: Frame, is_wanted: Callable[[], bool]) -> Frame:
        head = frame.head
        question = Question(head.get("content", ""), frame.body, head.get("top_k"), head.get("options") or {})
        if question.is_explanation and self._aside:
            return await self._aside.ask(question)
        if self._in_hand > MAX_WAITING:
            error = b'{"error": {"code": "overloaded", "message": "Too many predictions wait. Try again in a second."}}'
            return Frame({"status": 503, "seconds": 0.0}, error)
        waiting = _Waiting(question, self._loop.create_future(), is_wanted)
        self._waiting.put(waiting)
        return await waiting.reply

    # In the threads that predict

    def _run_batches(self) -> None:
        while batch := self._next_batch():
            wanted = [item for item in batch if item.is_wanted()]
            replies = self._safely([item.question for item in wanted]) if wanted else []
            found = {id(item): reply for item, reply in zip(wanted, replies, strict=True)}
            self._loop.call_soon_threadsafe(_tell, batch, found)

    def _safely(self, questions: Sequence[Question]) -> list[Frame]:
        """Whatever happens, this thread lives on."""
        try:
            return self._answer(questions)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            error = b'{"error": {"code": "prediction_failed", "message": "The reason stands in the replica\'s log."}}'
            return [Frame({"status": 500, "seconds": 0.0}, error)] * len(questions)

    def _next_batch(self) -> list[_Waiting]:
        """Empty at the end."""
        batch: list[_Waiting] = []
        item = self._waiting.get()
        with suppress(Empty):
            while item is not None:
                batch.append(item)
                if len(batch) == self._at_once:
                    return batch
                item = self._waiting.get_nowait()
            if batch:  # the end of this lane comes after this batch
                self._waiting.put(None)
        return batch


def _tell(batch: Sequence[_Waiting], found: Mapping[int, Frame]) -> None:
    """Each its reply; whom none waits for is told nothing, and its connection ends."""
    for item in batch:
        reply = found.get(id(item))
        if item.reply.done():
            continue
        if reply is None:
            item.reply.cancel()
        else:
            item.reply.set_result(Frame(reply.head | {"batch": len(found)}, reply.body))


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
