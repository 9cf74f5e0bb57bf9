import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from lepton_site import embedded
from lepton_site.processes import stack_processes
from lepton_site.supervisor import Running, find_running
from tests.stack import ROOT, Stack, wait_until

STOP_SECONDS = 60


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A site of its own that the test may maltreat."""
    with tempfile.TemporaryDirectory(prefix="lepton-up-") as folder:
        made = Stack(Path(folder).resolve(), "--no-node")
        yield made
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
        wait_until(lambda: not stack_processes(made.home), seconds=STOP_SECONDS, what="all processes end")
        embedded.stop(made.home)


def answers(stack: Stack) -> bool:
    try:
        return httpx.get(stack.base_url, follow_redirects=True, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def find_service(stack: Stack, *words: str) -> psutil.Process:
    """The process of the stack that has all `words` on its command line."""
    for process in stack_processes(stack.home):
        if set(words) <= set(process.cmdline()):
            return process
    pytest.fail(f"no process with {words} in {stack.log()}")


def readable_by_others(folder: Path) -> Iterator[Path]:
    """What another account of this machine could list or read, reached through folders it may pass."""
    for path in folder.iterdir():
        mode = path.lstat().st_mode
        if mode & 0o004 and path.name != "up.log":  # the test's own
            yield path
        if path.is_dir() and mode & 0o001:
            yield from readable_by_others(path)


def is_lock_free(home: Path) -> bool:
    with open(home / "up.lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def try_up(stack: Stack, port: int) -> subprocess.CompletedProcess:
    command = [sys.executable, "manage.py", "up", "--no-node", "--port", str(port)]
    return subprocess.run(command, cwd=ROOT, env=stack.env, capture_output=True, text=True, timeout=60)


def test_it_says_where_it_is_and_refuses_a_second_one_and_a_taken_port(stack: Stack) -> None:
    stack.start()
    link = re.search(r"it works once: (\S+)", stack.log())
    assert link and httpx.get(link[1]).status_code == 200
    assert stack.log().count(f"Lepton is ready at {stack.base_url}") == 1
    assert find_running(stack.home) == Running(stack.process.pid, stack.base_url)
    second = try_up(stack, stack.port + 1)
    assert second.returncode == 1
    assert f"Lepton already runs in {stack.home} (process {stack.process.pid}, {stack.base_url})" in second.stderr
    taken = try_up(stack, stack.port)
    assert taken.returncode == 1
    assert f"Port {stack.port} is already taken" in taken.stderr
    assert "Traceback" not in second.stderr + taken.stderr
    assert answers(stack)
    assert list(readable_by_others(stack.home)) == []
    stack.stop()
    assert find_running(stack.home) is None


def test_a_service_or_a_server_that_dies_is_started_again(stack: Stack) -> None:
    stack.start()
    find_service(stack, "uvicorn").kill()
    wait_until(lambda: "web ended with code -9" in stack.log(), seconds=20, what="the crash is noticed")
    os.kill(int((stack.home / "postgres/data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    wait_until(lambda: "PostgreSQL has ended" in stack.log(), seconds=20, what="the dead server is noticed")
    wait_until(lambda: answers(stack), seconds=40, what="the site answers again")
    stack.stop()


def test_ctrl_c_stops_the_site_first_and_the_servers_last(stack: Stack) -> None:
    stack.flags = ()
    stack.start()
    names = {
        "web": find_service(stack, "uvicorn"),
        "beat": find_service(stack, "beat"),
        "worker": find_service(stack, "worker", "control"),
        "agent": find_service(stack, "node_agent"),
        "postgres": psutil.Process(int((stack.home / "postgres/data/postmaster.pid").read_text().split()[0])),
    }
    stack.process.send_signal(signal.SIGINT)
    ended: dict[str, float] = {}
    deadline = time.monotonic() + STOP_SECONDS
    while len(ended) < len(names) and time.monotonic() < deadline:
        for name, process in names.items():
            if name not in ended and (not process.is_running() or process.status() == psutil.STATUS_ZOMBIE):
                ended[name] = time.monotonic()
        time.sleep(0.01)
    assert list(ended) == ["web", "beat", "worker", "agent", "postgres"], stack.log()
    assert stack.process.wait(STOP_SECONDS) == 0
    stack.assert_nothing_left()


def test_nothing_is_left_when_the_supervisor_itself_is_killed(stack: Stack) -> None:
    stack.start()
    assert len(stack_processes(stack.home)) == 3
    stack.process.kill()
    stack.process.wait()
    wait_until(lambda: not stack_processes(stack.home), seconds=STOP_SECONDS, what="all services end")
    wait_until(lambda: not embedded.is_postgres_running(stack.home), seconds=20, what="PostgreSQL ends")
    wait_until(lambda: not embedded.is_valkey_running(stack.home), seconds=20, what="Valkey ends")
    wait_until(lambda: is_lock_free(stack.home), seconds=20, what="the folder can be used again")
