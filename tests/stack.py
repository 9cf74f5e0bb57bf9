"""The whole site as a user starts it: ``manage.py up`` in a folder of its own, for tests that talk to it over HTTP."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lepton_site import embedded
from lepton_site.processes import STACK_VARIABLE, stack_processes

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 180
STOP_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition: Callable[[], object], *, seconds: float, what: str) -> None:
    """Return as soon as `condition` holds; fail the test, saying `what` was awaited, when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} seconds: {what}")
        time.sleep(0.05)


class Stack:
    """One running `manage.py up`: `base_url`, `home`, `manage(...)` for management commands against it."""

    def __init__(self, home: Path, *flags: str) -> None:
        self.home = home
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.log_path = home / "up.log"
        self.flags = flags
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LEPTON_") or k == STACK_VARIABLE}
        self.env = {k: v for k, v in kept.items() if k not in {"DATABASE_URL", "REDIS_URL"}}
        self.env |= {"LEPTON_HOME": str(home), "LEPTON_BASE_URL": self.base_url, "PYTHONUNBUFFERED": "1"}
        self.env["LEPTON_SPEED_SECONDS"] = "0.2"  # how fast a model is depends on what else the machine does
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        command = [sys.executable, "manage.py", "up", "--port", str(self.port), *self.flags]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(
            lambda: "Lepton is ready at" in self.log() or self.process.poll() is not None,
            seconds=READY_SECONDS,
            what=f"the site answers. Its log:\n{self.log()}",
        )
        if self.process.poll() is not None:
            pytest.fail(f"manage.py up ended with code {self.process.returncode}:\n{self.log()}")

    def manage(self, *args: str) -> str:
        """Run a management command against this site and return what it printed."""
        command = [sys.executable, "manage.py", *args]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.fail(f"manage.py {' '.join(args)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def stop(self) -> None:
        """SIGTERM, and the proof that it ended well and left nothing."""
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"manage.py up did not stop within {STOP_SECONDS} seconds:\n{self.log()}")
        assert code == 0, self.log()
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        assert stack_processes(self.home) == []
        assert not embedded.is_postgres_running(self.home)
        assert not embedded.is_valkey_running(self.home)


@pytest.fixture(scope="session")
def live_stack() -> Iterator[Stack]:
    """The whole site, shared by all tests of this worker that ask for it (all of them run on one worker)."""
    with tempfile.TemporaryDirectory(prefix="lepton-stack-") as folder:
        stack = Stack(Path(folder).resolve())
        stack.start()
        yield stack
        stack.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure of a test on the whole site shows the end of the site's log."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("live_stack")
    if report.failed and stack is not None:
        report.sections.append(("the end of the site's log", stack.log()[-6000:]))
    return report
