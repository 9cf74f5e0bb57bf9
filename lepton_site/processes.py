"""Child processes of the supervisor: start them with prefixed logs, end them in order, find what is left of them."""

import contextlib
import logging.handlers
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

# Every process that `up` starts carries the data folder in its environment, and hands it on to what it starts itself.
STACK_VARIABLE = "LEPTON_STACK"
# Data, models and logs are for this account alone. The folder's own mode is not enough: where PostgreSQL runs under
# another account, every account may pass through it.
PRIVATE_UMASK = 0o077
LOG_BYTES = 10 * 2**20
LOG_FILES = 2
KILL_SECONDS = 5


@dataclass(frozen=True)
class Service:
    """A program that `up` keeps running; `stop_seconds` is how long it may take to end after SIGTERM."""

    name: str
    argv: tuple[str, ...]
    stop_seconds: float


class Child:
    """One running instance of a service. Its output goes to our own, prefixed, and to ``logs/<name>.log``."""

    def __init__(self, service: Service, *, home: Path, cwd: Path) -> None:
        self.service = service
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            service.argv,
            cwd=cwd,
            env={**os.environ, STACK_VARIABLE: str(home), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then stops all in order
        )
        self._pump = threading.Thread(target=self._copy_output, args=(home / "logs",), daemon=True)
        self._pump.start()

    def _copy_output(self, logs: Path) -> None:
        log = logging.handlers.RotatingFileHandler(
            logs / f"{self.service.name}.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES
        )
        with contextlib.closing(log), self.process.stdout as output:
            for line in output:
                log.emit(logging.makeLogRecord({"msg": line.rstrip("\n")}))
                say(f"{self.service.name:<7}| {line.rstrip()}")

    def exit_code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self.process.poll()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL when it takes longer than the service may."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.terminate()
            self.process.wait(self.service.stop_seconds)
        if self.process.poll() is None:
            say(f"{self.service.name} did not end within {self.service.stop_seconds:g} seconds and was killed.")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._pump.join(1)  # a grandchild may hold the pipe open; its output is not worth waiting for


def say(line: str) -> None:
    """Print a line; a reader who has gone away must not end the supervisor."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


def stack_processes(home: Path) -> list[psutil.Process]:
    """All living processes that an `up` of this folder has started, however deep."""
    return [process for process in psutil.process_iter() if _stack_of(process) == str(home)]


def _stack_of(process: psutil.Process) -> str | None:
    with contextlib.suppress(psutil.Error, OSError):
        if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
            return process.environ().get(STACK_VARIABLE)
    return None


def end_stack(home: Path, *, grace_seconds: float) -> None:
    """SIGTERM to every process of the stack, SIGKILL to what is left after the grace period."""
    for process in stack_processes(home):
        with contextlib.suppress(psutil.Error):
            process.terminate()
    if _becomes_empty(home, grace_seconds):
        return
    for process in stack_processes(home):
        with contextlib.suppress(psutil.Error):
            process.kill()
    if not _becomes_empty(home, KILL_SECONDS):
        print(f"Could not end {[process.pid for process in stack_processes(home)]}.", file=sys.stderr)


def _becomes_empty(home: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while stack_processes(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
