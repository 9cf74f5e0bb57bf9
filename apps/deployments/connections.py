"""Open connections to replicas: kept alive, the least busy replica first, one retry where one dies when asked."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence

from apps.core.errors import TooManyRequests, Unavailable
from workers.inference.framing import BrokenConnection, Frame, FrameReader, Question, ask

MAX_IN_FLIGHT = 64  # per replica; more wait nowhere, they are told to come again
MAX_IDLE = 16
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 60.0
RETRY_AFTER_SECONDS = 1
START_RETRY_AFTER_SECONDS = 3
NOT_READY = "not_ready"


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


class Connection(asyncio.Protocol):
    """To a replica: carries one question after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._reply: asyncio.Future[Frame] | None = None
        self.is_closed = False

    async def ask(self, question: Question) -> Frame:
        """Raises OSError (BrokenConnection, TimeoutError) when no answer comes. Only an answer leaves it usable."""
        if self.is_closed:  # between being opened and being used
            raise BrokenConnection("the replica closed the connection")
        self._reply = self._loop.create_future()
        timer = self._loop.call_later(ANSWER_SECONDS, self._fail, TimeoutError())
        frame = question.frame()
        self._transport.writelines((frame.prefix(), frame.body))
        try:
            return await self._reply
        finally:
            timer.cancel()
            self._reply = None

    def close(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            frame = self._reader.feed(data)
        except BrokenConnection:
            self.close()
            return
        if frame and self._reply and not self._reply.done():
            self._reply.set_result(frame)

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_closed = True
        self._fail(BrokenConnection("the replica closed the connection"))

    def _fail(self, error: OSError) -> None:
        if self._reply and not self._reply.done():
            self._reply.set_exception(error)


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
            connection = self._idle_one(path) or await _connect(path)
            try:
                frame = await connection.ask(question)
            except BaseException:  # also when the client went away: what comes later belongs to nobody
                connection.close()
                raise
            self._keep(path, connection)
            return frame
        finally:
            self._in_flight[path] -= 1
            if not self._in_flight[path]:
                del self._in_flight[path]

    def _idle_one(self, path: str) -> Connection | None:
        idle = self._idle[path]
        while idle:
            connection = idle.pop()
            if not connection.is_closed:
                return connection
        return None

    def _keep(self, path: str, connection: Connection) -> None:
        if len(self._idle[path]) < MAX_IDLE:
            self._idle[path].append(connection)
        else:
            connection.close()

    def _drop(self, path: str) -> None:
        for connection in self._idle.pop(path, []):
            connection.close()


async def _connect(path: str) -> Connection:
    async with asyncio.timeout(CONNECT_SECONDS):
        _transport, connection = await asyncio.get_running_loop().create_unix_connection(Connection, path)
        return connection
