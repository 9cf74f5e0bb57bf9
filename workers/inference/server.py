"""The replica's server: frames in, frames out, predictions in one thread, what waits together runs together."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workers.contract import ProgramFailure
from workers.inference.aside import Aside
from workers.inference.framing import BrokenConnection, Frame, Question, read_frame

MAX_BATCH = 16
MAX_WAITING = 256
MAX_SOCKET_PATH_BYTES = 100  # 107 on Linux, 103 on macOS
STOP_SECONDS = 10

Answer = Callable[[Sequence[Question]], list[Frame]]


@dataclass(frozen=True)
class _Waiting:
    question: Question
    reply: asyncio.Future[Frame]


class Server:
    """Serves `answer`, which is called in one thread of its own, with 1 to `MAX_BATCH` questions.

    There is no artificial wait: while one batch runs, the questions that arrive become the next.
    """

    def __init__(self, answer: Answer, explain: Callable[[Question], Frame] | None = None) -> None:
        self._answer = answer
        self._aside = Aside(explain) if explain else None
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(MAX_WAITING)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._connections: set[asyncio.Task[None]] = set()
        self._in_hand = 0

    async def serve(self, socket_path: Path, stop: asyncio.Event) -> None:
        """Answer on `socket_path` until `stop` is set; then finish what was asked and remove the socket."""
        prepare_socket(socket_path)
        batches = asyncio.create_task(self._run_batches())
        listener = await asyncio.start_unix_server(self._connected, path=str(socket_path))
        try:
            await stop.wait()
        finally:
            socket_path.unlink(missing_ok=True)
            listener.close()
            await self._drain()
            batches.cancel()
            for task in self._connections:
                task.cancel()
            self._thread.shutdown(wait=False, cancel_futures=True)
            if self._aside:
                self._aside.stop()

    async def _drain(self) -> None:
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS
        while self._in_hand and asyncio.get_running_loop().time() < deadline:
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
                reply = await self._ask(frame)
                writer.write(reply.encode())
                await writer.drain()
            finally:
                self._in_hand -= 1

    async def _ask(self, frame: Frame) -> Frame:
        head = frame.head
        question = Question(head.get("content", ""), frame.body, head.get("top_k"), head.get("options") or {})
        if question.is_explanation and self._aside:
            return await self._aside.ask(question)
        waiting = _Waiting(question, asyncio.get_running_loop().create_future())
        try:
            self._waiting.put_nowait(waiting)
        except asyncio.QueueFull:
            error = b'{"error": {"code": "overloaded", "message": "Too many predictions wait. Try again in a second."}}'
            return Frame({"status": 503, "seconds": 0.0}, error)
        return await waiting.reply

    async def _run_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < MAX_BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            replies = await loop.run_in_executor(self._thread, self._answer, [item.question for item in batch])
            for item, reply in zip(batch, replies, strict=True):
                if not item.reply.done():
                    item.reply.set_result(reply)


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
