"""Open connections to replicas: kept alive, the least busy replica first, one retry where one dies when asked."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence

from apps.core.errors import TooManyRequests, Unavailable
from workers.inference.framing import READ_AHEAD_BYTES, BrokenConnection, Frame, Question, ask, read_frame

MAX_IN_FLIGHT = 64  # per replica; more wait nowhere, they are told to come again
MAX_IDLE = 16
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 60.0
RETRY_AFTER_SECONDS = 1
START_RETRY_AFTER_SECONDS = 3
NOT_READY = "not_ready"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def no_replica(reason: str = "") -> Unavailable:
    """`reason` says why none will be, where that is known."""
    message = reason or "No replica of this deployment is ready. It is starting, or it was stopped: see its page."
    return Unavailable(message, code=NOT_READY, retry_after_seconds=START_RETRY_AFTER_SECONDS)


def timed_out() -> Unavailable:
    message = f"The model did not answer within {ANSWER_SECONDS:.0f} seconds."
    return Unavailable(message, code="prediction_timed_out", retry_after_seconds=RETRY_AFTER_SECONDS)


def ask_any(sockets: Sequence[str], question: Question) -> Frame:
    """Ask one replica over a connection of its own, another one if it dies. Raises Unavailable. For sync code."""
    for path in sockets[:2]:
        try:
            return ask(path, question, timeout_seconds=ANSWER_SECONDS)
        except TimeoutError as error:
            raise timed_out() from error
        except OSError:
            continue
    raise no_replica()


class ConnectionPool:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._idle: dict[str, list[Connection]] = defaultdict(list)
        self._in_flight: Counter[str] = Counter()

    async def ask(self, sockets: Sequence[str], question: Question) -> Frame:
        """Ask the least busy of the replicas at `sockets`; once more elsewhere where it dies while it is asked.

        Raises Unavailable when none answers, TooManyRequests when all are as busy as they may be.
        """
        left = list(sockets)
        for _attempt in range(2):
            if not left:
                break
            path = min(left, key=self._in_flight.__getitem__)
            if self._in_flight[path] >= MAX_IN_FLIGHT:
                message = "All replicas are busy. Send fewer requests at once, or raise the number of replicas."
                raise TooManyRequests(message, code="overloaded", retry_after_seconds=RETRY_AFTER_SECONDS)
            try:
                return await self._ask_one(path, question)
            except TimeoutError as error:
                raise timed_out() from error
            except OSError:
                left.remove(path)
                self._drop(path)
        raise no_replica()

    async def _ask_one(self, path: str, question: Question) -> Frame:
        self._in_flight[path] += 1
        try:
            reader, writer = await self._connection(path)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    frame = await _exchange(reader, writer, question)
            except BaseException:  # also when the client went away: what comes later belongs to nobody
                writer.close()
                raise
            self._keep(path, (reader, writer))
            return frame
        finally:
            self._in_flight[path] -= 1
            if not self._in_flight[path]:
                del self._in_flight[path]

    async def _connection(self, path: str) -> Connection:
        while self._idle.get(path):
            reader, writer = self._idle[path].pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        async with asyncio.timeout(CONNECT_SECONDS):
            return await asyncio.open_unix_connection(path, limit=READ_AHEAD_BYTES)

    def _keep(self, path: str, connection: Connection) -> None:
        if len(self._idle[path]) < MAX_IDLE:
            self._idle[path].append(connection)
        else:
            connection[1].close()

    def _drop(self, path: str) -> None:
        for _reader, writer in self._idle.pop(path, []):
            writer.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: Question) -> Frame:
    writer.write(question.frame().encode())
    await writer.drain()
    frame = await read_frame(reader)
    if frame is None:
        raise BrokenConnection("the replica closed the connection")
    return frame
