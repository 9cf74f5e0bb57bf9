"""Start a program in a session of its own, and end it with everything it has started, proved to be gone.

A process group is not enough: a child may open a session of its own. So every process carries a token in its
environment, and all that carry it are found by it. A process that was started before its work was known carries the
path of its claim instead: a file that holds the token of that work as soon as it is to get it.
"""

import os
import signal
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

import psutil

TOKEN_VARIABLE = "LEPTON_PROCESS_TOKEN"
CLAIM_VARIABLE = "LEPTON_PROCESS_CLAIM"


def launch(
    argv: list[str],
    *,
    token: str,
    log_path: Path,
    cwd: Path,
    env: dict[str, str] | None = None,
    withheld: Collection[str] = (),
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen:
    """Start `argv` detached, its output appended to `log_path`. `withheld` are variables that it must not see."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if name not in {*withheld, CLAIM_VARIABLE}}
    with open(log_path, "ab") as log:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env={**inherited, **(env or {}), TOKEN_VARIABLE: token},
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def find_by_token(prefix: str) -> list[psutil.Process]:
    """All living processes of ours whose token starts with `prefix`."""
    return [process for process in psutil.process_iter() if token_of(process).startswith(prefix)]


def token_of(process: psutil.Process) -> str:
    """Of the work that the process does, or is about to get; "" for one that is not ours or has ended."""
    environment = _environment(process)
    try:
        return Path(environment[CLAIM_VARIABLE]).read_text()
    except (KeyError, OSError):
        return environment.get(TOKEN_VARIABLE, "")


def living_claims() -> set[str]:
    """The paths of the claims of all living processes."""
    found = (_environment(process).get(CLAIM_VARIABLE) for process in psutil.process_iter())
    return {path for path in found if path}


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return {} if process.status() == psutil.STATUS_ZOMBIE else process.environ()
    except (psutil.Error, OSError):
        return {}


def is_alive(pid: int | None, started_at: float | None) -> bool:
    """Whether the process is the one that was started then, not a later one with the same number."""
    if not pid:
        return False
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - (started_at or 0)) < 2
    except psutil.Error:
        return False


def end_tree(token: str, *, grace_seconds: float) -> bool:
    """TERM to every process with `token`, KILL after the grace period; True once none is left."""
    _signal(find_by_token(token), signal.SIGTERM)
    if _wait_gone(token, grace_seconds):
        return True
    for _round in range(3):
        _signal(find_by_token(token), signal.SIGKILL)
        if _wait_gone(token, 3):
            return True
    return False


def _signal(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.Error:
            continue


def _wait_gone(token: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while find_by_token(token):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def log_tail(path: Path, size_bytes: int = 4000) -> str:
    """The end of a log, whole lines."""
    if not path.exists():
        return ""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - size_bytes))
        return file.read().decode(errors="replace").strip()
