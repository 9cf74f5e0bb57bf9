"""Where questions come in: a Unix socket for a replica's own machine, a TCP port for the others, and the connections
made there."""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workers.contract import ProgramFailure
from workers.inference.framing import CHUNK_BYTES, BrokenConnection, Frame, FrameReader, Question, read_usual_head
from workers.inference.reaching import NONCE_BYTES, PROOF_BYTES, proof_of, watch_other_end
from workers.sockets import listen

BACKLOG = 512
MAX_SOCKET_PATH_BYTES = 100  # 107 on Linux, 103 on macOS
SEND_SECONDS = 30  # until who asked has room for the answer


class Connection:
    """Brings questions, one after the other. With a `token` it has to prove first that it knows it."""

    def __init__(self, connected: socket.socket, token: str = "") -> None:
        """Raises OSError."""
        connected.setblocking(False)
        self.descriptor, self.since = connected.fileno(), time.monotonic()
        self._socket, self._reader = connected, FrameReader(read_usual_head)
        self._wanted, self._shown = b"", b""
        if token:
            nonce = secrets.token_bytes(NONCE_BYTES)
            self._wanted = proof_of(token, nonce)
            watch_other_end(connected)
            connected.send(nonce)

    @property
    def is_proven(self) -> bool:
        return not self._wanted

    def read(self) -> Question | None:
        """None while a part is still on its way. Raises OSError; BrokenConnection for what is no question, and for a
        wrong proof."""
        try:
            while data := self._socket.recv(CHUNK_BYTES):
                if self._wanted:
                    data = self._past_proof(data)
                if data and (frame := self._reader.feed(data)):
                    return Question.of(frame)
        except BlockingIOError:
            return None
        raise BrokenConnection("the other end closed the connection")

    def _past_proof(self, data: bytes) -> bytes:
        """What comes after the proof. Raises BrokenConnection where it is wrong."""
        self._shown += data
        if len(self._shown) < PROOF_BYTES:
            return b""
        shown, data = self._shown[:PROOF_BYTES], self._shown[PROOF_BYTES:]
        if not hmac.compare_digest(shown, self._wanted):
            raise BrokenConnection("the other end does not know the token")
        self._wanted = self._shown = b""
        return data

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


class Door:
    """Listens; who comes in by one with a `token` has to know it."""

    def __init__(self, listener: socket.socket, token: str = "") -> None:
        listener.setblocking(False)
        self.descriptor, self._listener, self._token = listener.fileno(), listener, token

    def accept(self) -> Connection | None:
        """The next who has come; None where nobody waits."""
        try:
            connected, _address = self._listener.accept()
        except OSError:  # all have been accepted, or the system has no room for more
            return None
        try:
            return Connection(connected, self._token)
        except OSError:  # gone again
            connected.close()
            return self.accept()


@contextmanager
def unix_door(path: Path) -> Iterator[Door]:
    """At `path`, in a folder private to this account, which is made. The socket is removed at the end. Raises
    ProgramFailure."""
    _prepare(path)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(path))
            listener.listen(BACKLOG)
            yield Door(listener)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def tcp_door(address: str, token: str) -> Iterator[tuple[Door, int]]:
    """At a free port of `address`, and that port. Raises ProgramFailure."""
    try:
        listener = listen(address, BACKLOG)
    except OSError as error:
        message = f"This machine cannot listen for the others of the pool at {address}: {error.strerror}."
        hint = "Set LEPTON_NODE_ADDRESS on this machine to an address of its own that the others reach."
        raise ProgramFailure("cannot_listen", message, hint=hint, blame="machine") from error
    with listener:
        yield Door(listener, token), listener.getsockname()[1]


def _prepare(path: Path) -> None:
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
