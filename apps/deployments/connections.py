"""Open connections to the lanes of replicas: kept alive, the least busy lane first, one retry where one dies when
asked."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from apps.core.errors import TooManyRequests, Unavailable
from workers.inference.framing import BrokenConnection, Frame, FrameReader, Question, ask
from workers.inference.reaching import CONNECT_SECONDS, NONCE_BYTES, proof_of, replica_at, tcp_place, watch_other_end

MAX_IN_FLIGHT = 64  # per replica; more wait nowhere, they are told to come again
MAX_IDLE = 16
ANSWER_SECONDS = 60.0
RETRY_AFTER_SECONDS = 1
START_RETRY_AFTER_SECONDS = 3
NOT_READY = "not_ready"

Done = Callable[[Frame | OSError], None]


def no_replica(reason: str = "") -> Unavailable:
    """`reason` says why none will be, where that is known."""
    message = reason or "No replica of this deployment is ready. It is starting, or it was stopped: see its page."
    return Unavailable(message, code=NOT_READY, retry_after_seconds=START_RETRY_AFTER_SECONDS)


def timed_out() -> Unavailable:
    message = f"The model did not answer within {ANSWER_SECONDS:.0f} seconds."
    return Unavailable(message, code="prediction_timed_out", retry_after_seconds=RETRY_AFTER_SECONDS)


def ask_any(sockets: Sequence[str], question: Question) -> Frame:
    """Ask one lane over a connection of its own, one of another replica if it dies. Raises Unavailable. For sync
    code."""
    left = sockets
    for _attempt in range(2):
        if not left:
            break
        try:
            return ask(left[0], question, timeout_seconds=ANSWER_SECONDS)
        except TimeoutError as error:
            raise timed_out() from error
        except OSError:
            left = elsewhere(left, left[0])
    raise no_replica()


def elsewhere(sockets: Sequence[str], died: str) -> Sequence[str]:
    """Where else to ask when the lane at `died` has died: of other replicas, as its own is about to end, or of that one
    where there is no other."""
    left = [path for path in sockets if path != died]
    return [path for path in left if replica_at(path) != replica_at(died)] or left


class Connection(asyncio.Protocol):
    """To a lane: carries one question after the other. With a `token` it is `usable` once it has proved that it knows
    it."""

    def __init__(self, token: str = "") -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._done: Done | None = None
        self.is_closed = False
        self.kept_by: Callable[[Connection], None] | None = None
        self._token, self._nonce = token, b""
        self.usable = asyncio.Event()

    async def ask(self, question: Question) -> Frame:
        """Raises OSError (BrokenConnection, TimeoutError) when no answer comes. Only an answer leaves it usable."""
        if self.is_closed:  # between being opened and being used
            raise BrokenConnection("the replica closed the connection")
        reply = self._loop.create_future()
        self.send(question, partial(_settle, reply))
        return await reply

    def send(self, question: Question, done: Done) -> None:
        """Calls `done` once with the answer, or with the OSError that `ask` raises; never after `close`."""
        self._done = done
        self._timer = self._loop.call_later(ANSWER_SECONDS, self._time_out)
        self._transport.writelines((question.prefix(), question.body))

    def close(self) -> None:
        if self._done:
            self._done = None
            self._timer.cancel()
        self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        if not self._token:
            self.usable.set()

    def data_received(self, data: bytes) -> None:
        if self._token:
            self._prove(data)
            return
        try:
            frame = self._reader.feed(data)
        except BrokenConnection:
            self._transport.abort()
            return
        if frame:
            self._end(frame)

    def _prove(self, data: bytes) -> None:
        self._nonce += data
        if len(self._nonce) >= NONCE_BYTES:
            self._transport.write(proof_of(self._token, self._nonce[:NONCE_BYTES]))
            self._token = ""
            self.usable.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_closed = True
        self.usable.set()
        if self.kept_by:
            self.kept_by(self)
        self._end(BrokenConnection("the replica closed the connection"))

    def _time_out(self) -> None:
        self._end(TimeoutError())

    def _end(self, outcome: Frame | OSError) -> None:
        if done := self._done:
            self._done = None
            self._timer.cancel()
            done(outcome)


def _settle(reply: asyncio.Future[Frame], outcome: Frame | OSError) -> None:
    if reply.done():  # who asked has gone
        return
    if isinstance(outcome, Frame):
        reply.set_result(outcome)
    else:
        reply.set_exception(outcome)


class Asked:
    """A question that a replica has been sent, and the connection that it has for itself until `done` is called."""

    __slots__ = ("_connection", "_done", "_pool", "path")

    def __init__(self, pool: "ConnectionPool", path: str, connection: Connection, question: Question, done: Done):
        self._pool, self.path, self._connection, self._done = pool, path, connection, done
        pool.enter(path)
        connection.send(question, self._end)

    def _end(self, outcome: Frame | OSError) -> None:
        self._pool.leave(self.path)
        if isinstance(outcome, Frame):
            self._pool.keep(self.path, self._connection)
        else:
            self._connection.close()
        self._done(outcome)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._pool.leave(self.path)
        self._connection.close()


class ConnectionPool:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._idle: dict[str, list[Connection]] = defaultdict(list)
        self._in_flight: dict[str, int] = defaultdict(int)

    async def ask(self, sockets: Sequence[str], question: Question, died: str = "", most: int = MAX_IN_FLIGHT) -> Frame:
        """Ask the least busy of the lanes at `sockets`, of which each may have `most` questions; once more elsewhere
        where it dies while it is asked, unless one `died` of it before.

        Raises Unavailable when none answers, TooManyRequests when all are as busy as they may be.
        """
        left = elsewhere(sockets, died) if died else sockets
        for _attempt in range(1 if died else 2):
            if not left:
                break
            path = self._least_busy(left)
            if self._in_flight.get(path, 0) >= most:
                message = "All replicas are busy. Send fewer requests at once, or raise the number of replicas."
                raise TooManyRequests(message, code="overloaded", retry_after_seconds=RETRY_AFTER_SECONDS)
            try:
                return await self._ask_one(path, question)
            except TimeoutError as error:
                raise timed_out() from error
            except OSError:
                left = elsewhere(left, path)
                self.drop(path)
        raise no_replica()

    def ask_at_once(
        self, sockets: Sequence[str], question: Question, done: Done, most: int = MAX_IN_FLIGHT
    ) -> Asked | None:
        """The same without a task, and one lane only; `done` gets what `Connection.send` gives. None where that lane
        cannot be asked, or not at once."""
        path = self._least_busy(sockets)
        if self._in_flight.get(path, 0) >= most:
            return None
        connection = self._idle_one(path)
        return Asked(self, path, connection, question, done) if connection else None

    def _least_busy(self, sockets: Sequence[str]) -> str:
        return sockets[0] if len(sockets) == 1 else min(sockets, key=lambda path: self._in_flight.get(path, 0))

    async def _ask_one(self, path: str, question: Question) -> Frame:
        self.enter(path)
        try:
            connection = self._idle_one(path) or await _connect(path)
            try:
                frame = await connection.ask(question)
            except BaseException:  # also when the client went away: what comes later belongs to nobody
                connection.close()
                raise
            self.keep(path, connection)
            return frame
        finally:
            self.leave(path)

    def enter(self, path: str) -> None:
        """One more is asked at `path`."""
        self._in_flight[path] += 1

    def leave(self, path: str) -> None:
        """One less."""
        if self._in_flight[path] > 1:
            self._in_flight[path] -= 1
        else:
            del self._in_flight[path]

    def _idle_one(self, path: str) -> Connection | None:
        idle = self._idle[path]
        while idle:
            connection = idle.pop()
            if not connection.is_closed:
                return connection
        return None

    def keep(self, path: str, connection: Connection) -> None:
        """It was answered, and can be asked again."""
        if len(self._idle[path]) < MAX_IDLE:
            self._idle[path].append(connection)
            connection.kept_by = connection.kept_by or partial(self._forget, path)
        else:
            connection.close()

    def _forget(self, path: str, connection: Connection) -> None:
        """It was closed at its other end, while nothing was asked perhaps: who asks a lane that is gone?"""
        idle = self._idle.get(path, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(path, None)

    def drop(self, path: str) -> None:
        """The lane at `path` died."""
        for connection in self._idle.pop(path, []):
            connection.close()


async def _connect(lane: str) -> Connection:
    """Raises OSError."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await _connected(lane)
    except TimeoutError as error:  # its machine is gone: not to be taken for a model that takes long
        raise BrokenConnection("the replica's machine does not answer") from error


async def _connected(lane: str) -> Connection:
    loop, place = asyncio.get_running_loop(), tcp_place(lane)
    if place is None:
        _transport, connection = await loop.create_unix_connection(Connection, lane)
    else:
        to_port = partial(Connection, place.token)
        transport, connection = await loop.create_connection(to_port, place.host, place.port)
        watch_other_end(transport.get_extra_info("socket"))
    await connection.usable.wait()
    return connection
