"""Spares: processes that have loaded everything and wait, so that a training begins at once.

The agent keeps one: a runner with Django set up (``manage.py await_attempt``), which keeps a training program with
torch loaded as its child (``python -m workers.waiting``). Both are used for one attempt and then replaced, once the
machine has time for it.

What holds at every moment, whoever is killed:

- One that waits ends when the process that started it is gone, because its standard input closes.
- One that has work is found and ended by the token of that work: the claim is written before the work is handed over.
- What cannot be handed over is started anew, as without spares.
"""

import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.conf import settings

from apps.resources.models import Node
from workers.artifacts import SECRETS, node_folder, node_threads, python_environment
from workers.launcher import CLAIM_VARIABLE, TOKEN_VARIABLE, end_tree, launch, living_claims
from workers.tokens import spare_token
from workers.waiting import Work, ready_path

TRAINING = "workers.training"
RUNNER, PROGRAM = "runner", "program"  # the names of their claims
LOOK_SECONDS = 5.0
REST_SECONDS = 10.0  # the job that has just begun comes first
ROOM_BYTES = 2 * 10**9  # both together hold half a gigabyte
NEEDED_BYTES = 10**9
CODE_FOLDERS = ("apps", "lepton_site", "workers")


@dataclass
class Spare:
    """A process that waits for its work, and the file that will say whose it is."""

    process: subprocess.Popen
    claim: Path

    def is_ready(self) -> bool:
        return self.process.poll() is None and ready_path(self.claim).exists()

    def hand_over(self, work: Work) -> bool:
        """False where it has died; it is then gone and its claim with it."""
        _write_whole(self.claim, work.token)
        try:
            with self.process.stdin as pipe:
                pipe.write(json.dumps(dataclasses.asdict(work)).encode() + b"\n")
        except OSError:
            self.end()
            return False
        return True

    def end(self) -> None:
        """Only while it waits: it has nothing to put in order."""
        self.process.kill()
        self.process.wait()
        self.claim.unlink(missing_ok=True)


def _write_whole(path: Path, text: str) -> None:
    """Whole or not at all. It need not survive the machine, because no process does."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def _start(
    argv: list[str], claim: Path, *, token: str, env: dict[str, str] | None = None, withheld: Collection[str] = ()
) -> Spare:
    process = launch(
        argv,
        token=token,
        log_path=claim.with_suffix(".log"),
        cwd=settings.BASE_DIR,
        env={**(env or {}), CLAIM_VARIABLE: str(claim)},
        withheld=withheld,
        stdin=subprocess.PIPE,
    )
    return Spare(process, claim)


class SpareProgram:
    """The training program that a waiting runner keeps for the attempt it will get."""

    def __init__(self, threads: int) -> None:
        self.env = python_environment(threads)
        folder, token = Path(os.environ[CLAIM_VARIABLE]).parent, os.environ[TOKEN_VARIABLE]
        argv = [sys.executable, "-m", "workers.waiting", TRAINING]
        self.spare = _start(argv, folder / PROGRAM, token=token, env=self.env, withheld=SECRETS)

    def is_alive(self) -> bool:
        return self.spare.process.poll() is None

    def launch(
        self, argv: list[str], *, token: str, log_path: Path, cwd: Path, env: dict[str, str], withheld: Collection[str]
    ) -> subprocess.Popen:
        """The same as `launcher.launch`, by the process that waits where it was started as it is wanted. Variables that
        it lacks come with the work: what is read when torch is loaded it has."""
        *program, path = argv
        is_same = (program, cwd, withheld) == ([sys.executable, "-m", TRAINING], settings.BASE_DIR, SECRETS)
        is_wanted = is_same and self.env.items() <= env.items() and self.spare.is_ready()
        if is_wanted and self.spare.hand_over(Work([path], token, str(log_path), env)):
            return self.spare.process
        self.spare.end()
        return launch(argv, token=token, log_path=log_path, cwd=cwd, env=env, withheld=withheld)


class Spares:
    """The agent's side: keeps one spare runner on this node."""

    def __init__(
        self, node_name: str, *, rest_seconds: float = REST_SECONDS, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self.node_name, self.rest_seconds, self.look_seconds = node_name, rest_seconds, look_seconds
        self.folder = node_folder(node_name) / "spares"
        self.token = ""
        self.spare: Spare | None = None
        self.made_from: object = None
        self.looked_at, self.wanted_since = float("-inf"), time.monotonic()

    def keep(self, node: Node) -> None:
        """Drop a spare that is of no use any more; make one where none is there and the machine has room for it."""
        if not settings.LEPTON_SPARES or time.monotonic() - self.looked_at < self.look_seconds:
            return
        self.looked_at = time.monotonic()
        free = psutil.virtual_memory().available
        if self.spare and not (self._is_of_use() and free > NEEDED_BYTES):
            self.drop()
        has_rested = time.monotonic() - self.wanted_since >= self.rest_seconds
        if not self.spare and has_rested and free > ROOM_BYTES:
            self._make(node)

    def is_ready(self) -> bool:
        """Whether both have loaded everything and wait."""
        return bool(self.spare and self.spare.is_ready() and ready_path(self.spare.claim.with_name(PROGRAM)).exists())

    def take(self, arguments: list[str], *, token: str, log_path: Path) -> bool:
        """Give the attempt to the runner that waits; False where none does and one has to be started."""
        if not self.is_ready():
            return False
        is_taken = self._is_of_use() and self.spare.hand_over(Work(arguments, token, str(log_path)))
        if not is_taken:
            self.drop()
        self.spare, self.wanted_since = None, time.monotonic()
        return is_taken

    def drop(self) -> None:
        """End the one that waits, with its program."""
        if self.spare:
            end_tree(self.token, grace_seconds=0)
            self.spare.process.wait()
            self.spare, self.wanted_since = None, time.monotonic()

    def _is_of_use(self) -> bool:
        """It lives, and a process started now would be of the same code."""
        return self.spare.process.poll() is None and self.made_from == code_on_disk()

    def _make(self, node: Node) -> None:
        _forget_gone(self.folder)
        name = uuid.uuid4().hex[:12]
        self.token, self.made_from = spare_token(self.node_name, name), code_on_disk()
        (self.folder / name).mkdir(parents=True)
        argv = [sys.executable, "manage.py", "await_attempt", str(node_threads(node))]
        self.spare = _start(argv, self.folder / name / RUNNER, token=self.token)


def _forget_gone(folder: Path) -> None:
    """Remove what is left of spares that have ended. What is found first and claimed by nobody afterwards is old."""
    found = list(folder.iterdir()) if folder.exists() else []
    living = {str(Path(claim).parent) for claim in living_claims()}
    for path in found:
        if str(path) not in living:
            shutil.rmtree(path, ignore_errors=True)


def code_on_disk() -> list[tuple[str, int]]:
    """Every source file and the folder of installed packages, each with the time it was last changed at."""
    roots = [settings.BASE_DIR / name for name in CODE_FOLDERS]
    packages = [Path(path) for path in sys.path if path.endswith("-packages")]
    files = itertools.chain.from_iterable(_sources(root) for root in roots)
    return sorted((str(path), path.stat().st_mtime_ns) for path in itertools.chain(files, packages) if path.exists())


def _sources(root: Path) -> Iterator[Path]:
    return root.rglob("*.py")
