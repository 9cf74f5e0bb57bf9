"""Runs the whole of Lepton on one machine: the embedded servers, the site, the control worker, the beat and one node
agent. Restarts what crashes, stops all in order, and leaves nothing behind."""

import contextlib
import errno
import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from lepton_site import embedded, guard
from lepton_site.processes import Child, Service, end_stack, say

LOOK_SECONDS = 0.2
SERVERS_LOOK_SECONDS = 2.0
HEALTHY_SECONDS = 60.0
MAX_BACK_OFF_SECONDS = 30.0
HAND_OVER_SECONDS = 60.0
STRAY_GRACE_SECONDS = 10.0


class SupervisorError(Exception):
    """Lepton cannot be started; the message is a sentence for the user."""


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def services(address: Address, *, home: Path, node: str | None) -> list[Service]:
    """What `up` keeps running, in the order in which it is started; `node` is the agent's name, None for no agent."""
    celery = (sys.executable, "-m", "celery", "--quiet", "-A", "lepton_site")
    alone = ("--without-gossip", "--without-mingle")
    terse = ("--loglevel", "WARNING")
    listen = ("--host", address.host, "--port", str(address.port), "--http", "lepton_site.asgi:Protocol")
    quiet = ("--no-server-header", "--no-access-log", "--log-level", "warning")
    found = [
        Service("worker", (*celery, "worker", "-Q", "control", "-c", "2", "--pool", "threads", *alone, *terse), 15),
        Service("beat", (*celery, "beat", "--schedule", str(home / "beat-schedule"), *terse), 10),
    ]
    if node:
        found.append(Service("agent", (sys.executable, "manage.py", "node_agent", "--name", node, "--stop-work"), 60))
    web = (sys.executable, "-m", "uvicorn", "lepton_site.asgi:application", *listen)
    return [*found, Service("web", (*web, *quiet, "--timeout-graceful-shutdown", "5"), 10)]


STOP_ORDER = ("web", "beat", "worker", "agent")


def check_port(address: Address) -> None:
    """Raise SupervisorError when another program listens there."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise SupervisorError(
                    f"Port {address.port} is already taken by another program. "
                    f"Choose another one: make run PORT={address.port + 1}"
                ) from error
            raise SupervisorError(f"Cannot listen on {address.host}:{address.port}: {error.strerror}.") from error


@dataclass(frozen=True)
class Running:
    """An `up` that lives: its process and where its site answers."""

    pid: int
    url: str


def find_running(home: Path) -> Running | None:
    """The `up` that runs in this folder, None when there is none."""
    if not (home / "up.lock").exists():
        return None
    with open(home / "up.lock") as lock:
        return None if _try_lock(lock, fcntl.LOCK_SH) else _read_holder(lock)


@contextlib.contextmanager
def only_one(home: Path, address: Address) -> Iterator[IO[str]]:
    """Hold the folder's lock while one `up` runs; wait for the rest of one that was killed.

    Raises SupervisorError when another `up` lives.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(home / "up.lock", "a+") as lock:
        deadline = time.monotonic() + HAND_OVER_SECONDS
        while not _try_lock(lock, fcntl.LOCK_EX):
            if other := _read_holder(lock):
                raise SupervisorError(
                    f"Lepton already runs in {home} (process {other.pid}, {other.url}). "
                    "Stop it first, or choose another folder with LEPTON_HOME."
                )
            if time.monotonic() > deadline:
                raise SupervisorError(f"What a killed Lepton left in {home} does not end. Restart the machine.")
            time.sleep(LOOK_SECONDS)
        lock.truncate(0)
        lock.write(f"{os.getpid()} {address.url}\n")
        lock.flush()
        try:
            yield lock
        finally:
            lock.truncate(0)


def _try_lock(lock: IO[str], how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(lock: IO[str]) -> Running | None:
    """Who holds the lock; None where it is only the guard of one that was killed."""
    lock.seek(0)
    pid, _, url = lock.read().strip().partition(" ")
    return Running(int(pid), url) if pid.isdigit() and psutil.pid_exists(int(pid)) else None


class Supervisor:
    """Keeps services running until it is asked to stop.

    `prepare` is called between the start of the servers and that of the services; it returns lines to print once the
    site answers.
    """

    def __init__(
        self,
        address: Address,
        *,
        home: Path,
        root: Path,
        services: list[Service],
        embedded_servers: dict[str, tuple[Callable[[Path], bool], Callable[[Path], None]]],
        prepare: Callable[[], list[str]],
    ) -> None:
        self.address, self.home, self.root = address, home, root
        self.services, self.embedded_servers, self.prepare = services, embedded_servers, prepare
        self.children: dict[str, Child] = {}
        self.crashes: dict[str, int] = {}
        self.restart_at: dict[str, float] = {}
        self.servers_looked_at = 0.0
        self.is_stopping = False
        self.guard: subprocess.Popen | None = None

    def run(self) -> None:
        """Start all, stay until SIGINT, SIGTERM or SIGHUP, stop all. Raises SupervisorError or EmbeddedServerError."""
        check_port(self.address)
        with only_one(self.home, self.address) as lock:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, self._ask_to_stop)
            end_stack(self.home, grace_seconds=STRAY_GRACE_SECONDS)
            self._start_guard(lock)
            try:
                self._start_servers()
                self._serve(self.prepare() if not self.is_stopping else [])
            finally:
                self._stop_all()

    def _ask_to_stop(self, _number: int, _frame: object) -> None:
        self.is_stopping = True

    def _start_guard(self, lock: IO[str]) -> None:
        """It holds the lock with us, so that nobody starts anew in this folder before it has tidied up."""
        self.guard = subprocess.Popen(
            [sys.executable, "-m", guard.__name__, str(self.home)],
            cwd=self.root,
            stdin=subprocess.PIPE,
            pass_fds=(lock.fileno(),),
            start_new_session=True,
        )

    def _start_servers(self) -> None:
        for _is_running, start in self.embedded_servers.values():
            start(self.home)
        self.servers_looked_at = time.monotonic()

    def _serve(self, lines: list[str]) -> None:
        for service in self.services:
            if not self.is_stopping:
                self.children[service.name] = Child(service, home=self.home, cwd=self.root)
        is_ready = False
        while not self.is_stopping:
            if not is_ready and is_answering(self.address):
                is_ready = True
                for line in (*lines, f"Lepton is ready at {self.address.url}"):
                    say(line)
            self._restart_crashed()
            self._restart_servers()
            time.sleep(LOOK_SECONDS)

    def _restart_crashed(self) -> None:
        for service in self.services:
            child = self.children[service.name]
            if child.exit_code() is None:
                continue
            if service.name not in self.restart_at:
                self._plan_restart(child)
            elif time.monotonic() >= self.restart_at[service.name]:
                del self.restart_at[service.name]
                self.children[service.name] = Child(service, home=self.home, cwd=self.root)

    def _plan_restart(self, child: Child) -> None:
        name = child.service.name
        is_fresh = time.monotonic() - child.started_at < HEALTHY_SECONDS
        self.crashes[name] = self.crashes.get(name, 0) + 1 if is_fresh else 1
        delay = min(MAX_BACK_OFF_SECONDS, 2.0 ** (self.crashes[name] - 1))
        self.restart_at[name] = time.monotonic() + delay
        say(f"{name} ended with code {child.exit_code()}; starting it again in {delay:g} s.")

    def _restart_servers(self) -> None:
        if time.monotonic() - self.servers_looked_at < SERVERS_LOOK_SECONDS:
            return
        self.servers_looked_at = time.monotonic()
        for name, (is_running, start) in self.embedded_servers.items():
            if not is_running(self.home):
                say(f"{name} has ended; starting it again.")
                with contextlib.suppress(embedded.EmbeddedServerError):  # tried again at the next look
                    start(self.home)

    def _stop_all(self) -> None:
        for name in STOP_ORDER:
            if name in self.children:
                self.children[name].stop()
        end_stack(self.home, grace_seconds=STRAY_GRACE_SECONDS)
        if self.embedded_servers:
            embedded.stop(self.home)
        with contextlib.suppress(OSError):
            self.guard.communicate(guard.DONE, timeout=10)
        say("Lepton has stopped.")


def is_answering(address: Address) -> bool:
    """Whether the site gives any answer that is not an internal error."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
