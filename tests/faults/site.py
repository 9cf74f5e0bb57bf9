"""A whole site with two machines of their own, and a training on it that is to survive what is done to them."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.rows import dict_row

import leptonai
from lepton_site import embedded
from lepton_site.processes import STACK_VARIABLE, stack_processes
from tests.faults.network import Bridge, Loopback, Wire, may_make_networks
from tests.faults.recording import Recorder, steps_of
from tests.site_helpers import digits, make_key, write_zip
from tests.stack import ROOT, Stack, wait_until
from workers.launcher import token_of

LEASE_SECONDS = 12
CHECKPOINT_SECONDS = 0.5
RHYTHM = {
    "LEPTON_LEASE_SECONDS": str(LEASE_SECONDS),
    "LEPTON_CHECKPOINT_SECONDS": str(CHECKPOINT_SECONDS),
}
# A trial of precision may end either way, and the undisturbed training is to compute as the disturbed one does.
TRAINING = {"batch_size": 8, "image_size": 16, "early_stopping_patience": 0, "mixed_precision": "no"}
END_SECONDS = 300
DISK_BYTES = 64 * 2**20
JOB_TOKEN, RUNNER_TOKEN, SPARE_TOKEN = "/job/", "/runner/", "/spare/"


class Machine:
    """A machine of the pool: a data folder, an agent, and its place in the network."""

    def __init__(self, name: str, network: Loopback | Wire, stack: Stack, folder: Path, *, has_own_disk: bool) -> None:
        self.name, self.home, self.has_own_disk = name, folder / name, has_own_disk
        self.network = network
        self.home.mkdir(mode=0o700)
        if has_own_disk:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(self.home)]
            subprocess.run(mount, check=True)
        database, redis = network.cables
        account = embedded.DATABASE_USER
        self.env = stack.env | {
            "LEPTON_HOME": str(self.home),
            "LEPTON_NODE_ADDRESS": network.address,
            "LEPTON_STORAGE_URL": f"file://{stack.home}/storage",
            "DATABASE_URL": f"postgresql://{account}@{database.host}:{database.port}/{embedded.DATABASE_NAME}",
            "REDIS_URL": f"redis://{redis.host}:{redis.port}/0",
            STACK_VARIABLE: str(stack.home),
        }
        self.agent: subprocess.Popen | None = None

    def start_agent(self) -> None:
        """As the machine's service manager does, at the start and after a crash."""
        command = [*self.network.prefix, sys.executable, "manage.py", "node_agent", "--name", self.name]
        with open(self.home / "agent.log", "ab") as log:
            self.agent = subprocess.Popen(
                command, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self) -> None:
        self.network.mend()
        if self.agent:
            self.agent.terminate()
            self.agent.wait(60)
        self.network.close()
        if self.has_own_disk:
            subprocess.run(["umount", str(self.home)], check=True)

    def fill_disk(self) -> Path:
        """The file that now takes all that was free on its own disk."""
        balloon = self.home / "balloon"
        with open(balloon, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(2**12))
        return balloon

    def processes(self, kind: str = "") -> list[psutil.Process]:
        """The living processes of this machine's runners (RUNNER_TOKEN) and programs (JOB_TOKEN); not its spares, which
        have no work yet."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                environment = process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
                token = token_of(process)
                is_at_work = token and SPARE_TOKEN not in token
                if is_at_work and environment.get("LEPTON_HOME") == str(self.home) and kind in token:
                    found.append(process)
        return found

    def everything(self) -> list[psutil.Process]:
        """Its agent too."""
        return [psutil.Process(self.agent.pid), *self.processes()]

    def folders(self, job: int) -> list[str]:
        """The work folders of a job's executions that are still there."""
        return sorted(path.name for path in self.home.glob(f"nodes/*/jobs/{job}-*"))

    def log(self) -> str:
        logs = [self.home / "agent.log", *sorted(self.home.glob("nodes/*/logs/runner-*.log"))[-3:]]
        return "".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in logs if path.exists())


class Site:
    """`manage.py up` without a machine of its own, and the machines "one" and "two". `is_apart` gives each a small disk
    and a network of its own, which only root can; otherwise they share this host's. Its trainings have `epochs`, where
    nothing else is said."""

    def __init__(self, folder: Path, *, epochs: int, is_apart: bool) -> None:
        self.epochs = epochs
        home = folder / "site"
        home.mkdir(mode=0o700)
        self.stack = Stack(home, "--no-node")
        self.stack.env |= RHYTHM | {"LEPTON_SPARES": str(int(is_apart))}
        self.closing = contextlib.ExitStack()
        with contextlib.ExitStack() as opened:  # what was started ends again where the rest does not start
            opened.callback(self.stack.stop)
            self.stack.start()
            self._start(opened, folder, is_apart)
            self.closing = opened.pop_all()

    def _start(self, opened: contextlib.ExitStack, folder: Path, is_apart: bool) -> None:
        run = embedded.socket_folder(self.stack.home)
        sockets = [run / ".s.PGSQL.5432", run / "valkey.sock"]
        bridge = opened.enter_context(contextlib.closing(Bridge())) if is_apart else None
        self.machines = []
        for number, name in enumerate(("one", "two"), 1):
            network = Wire(bridge, number, sockets) if bridge else Loopback(number, sockets)
            self.machines.append(Machine(name, network, self.stack, folder, has_own_disk=is_apart))
            opened.callback(self.machines[-1].stop)
        for machine in self.machines:
            machine.start_agent()
        self.recorder = Recorder({machine.name: machine.home for machine in self.machines})
        opened.callback(self.recorder.stop)
        self.sdk = opened.enter_context(leptonai.Client(make_key(self.stack), self.stack.base_url))
        archive = write_zip(folder / "digits.zip", digits("0123", 60))
        self.dataset = self.sdk.datasets.wait(self.sdk.datasets.create("Digits", archive), timeout=60)
        wait_until(lambda: len(self.online()) == 2, seconds=60, what="both machines are online")

    def stop(self) -> None:
        self.closing.close()

    # What the database says

    def rows(self, query: str, *values: Any) -> list[dict]:
        """Raises psycopg.OperationalError while the database is away."""
        with psycopg.connect(embedded.database_url(self.stack.home), connect_timeout=3, row_factory=dict_row) as link:
            return link.execute(query, values).fetchall()

    def online(self) -> list[str]:
        beat = "SELECT name FROM resources_node WHERE last_beat_at > now() - %s * interval '1 second'"
        return [row["name"] for row in self.rows(beat, LEASE_SECONDS / 4)]

    def machine(self, name: str) -> Machine:
        return next(machine for machine in self.machines if machine.name == name)

    # Its processes

    def service(self, *words: str) -> psutil.Process | None:
        """The site's own process with all `words` on its command line."""
        for process in stack_processes(self.stack.home):
            with contextlib.suppress(psutil.Error):
                if set(words) <= set(process.cmdline()):
                    return process
        return None

    def pid_of(self, server: str) -> int:
        """Of "postgres" or "valkey"."""
        files = {"postgres": "postgres/data/postmaster.pid", "valkey": "valkey/valkey.pid"}
        return int((self.stack.home / files[server]).read_text().split()[0])

    @contextlib.contextmanager
    def servers_held_down(self) -> Iterator[None]:
        """The supervisor cannot start a server again until this ends."""
        with open(self.stack.home / "embedded.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # A training

    def train(self, name: str, devices: int = 1, strategy: str = "ddp", epochs: int | None = None) -> "Training":
        spread = {"devices": devices, "strategy": strategy} if devices > 1 else {}
        hyperparameters = TRAINING | {"epochs": epochs or self.epochs}
        choices = {"model_name": name, "preset": "fast", "hyperparameters": hyperparameters}
        return Training(self, self.sdk.jobs.train(self.dataset["id"], **choices, **spread)["id"])


class Training:
    """One job, seen through the database and through what its programs say."""

    def __init__(self, site: Site, pk: int) -> None:
        self.site, self.pk = site, pk

    def row(self) -> dict:
        query = "SELECT j.*, n.name AS machine FROM jobs_job j LEFT JOIN resources_node n ON n.id = j.node_id"
        return self.site.rows(f"{query} WHERE j.id = %s", self.pk)[0]

    def events(self) -> list[dict]:
        """Its changes of state, in order, with their time by the database's clock."""
        query = "SELECT *, extract(epoch FROM at)::float AS seconds FROM jobs_jobevent WHERE job_id = %s ORDER BY id"
        return self.site.rows(query, self.pk)

    def leases(self) -> list[dict]:
        """The log of leases: who had which part of which attempt, from when to when by the database's clock."""
        query = """
            SELECT m.attempt, m.rank, n.name AS machine, m.ending, m.runner,
                   extract(epoch FROM m.claimed_at)::float AS claimed, extract(epoch FROM m.ended_at)::float AS ended
            FROM jobs_member m JOIN resources_node n ON n.id = m.node_id WHERE m.job_id = %s ORDER BY m.attempt, m.rank
        """
        return self.site.rows(query, self.pk)

    def attempts(self) -> dict[int, list[dict]]:
        """What the programs of each attempt said."""
        return self.site.recorder.attempts(self.pk)

    def step(self) -> int:
        """The last step that any attempt has told of."""
        return max((steps[-1][0] for events in self.attempts().values() if (steps := steps_of(events))), default=0)

    def total_steps(self) -> int:
        """Of the whole training, once it has taken one."""
        told = (event["steps"] for events in self.attempts().values() for event in events if event.get("steps"))
        return next(told)

    def await_step(self, step: int) -> None:
        self._await(lambda: self.step() >= step, seconds=END_SECONDS, what=f"step {step} of job {self.pk}")

    def await_condition(self, holds: Callable[[dict], bool], *, seconds: float, what: str) -> None:
        """`holds` is asked with the job's row; a database that is away only delays the answer."""

        def holds_now() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                return holds(self.row())
            return False

        self._await(holds_now, seconds=seconds, what=what)

    def _await(self, holds: Callable[[], bool], *, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds:g} seconds: {what}\n{self.story()}")
            time.sleep(0.05)

    def await_attempt(self, attempt: int, *, seconds: float = END_SECONDS) -> None:
        """Until that attempt runs, or the job has ended."""
        self.await_condition(
            lambda row: row["attempt"] >= attempt and row["status"] not in ("queued", "starting"),
            seconds=seconds,
            what=f"attempt {attempt} of job {self.pk} runs",
        )

    def await_end(self) -> dict:
        ended = ("succeeded", "failed", "cancelled")
        self.await_condition(lambda row: row["status"] in ended, seconds=END_SECONDS, what=f"job {self.pk} ends")
        return self.row()

    def machines(self) -> list[Machine]:
        """Where it runs now; the one that leads comes first."""
        return [self.site.machine(lease["machine"]) for lease in self.leases() if not lease["ended"]]

    def story(self) -> str:
        """What has happened to it, for the message of a failure."""
        try:
            lines = [f"{row['seconds']:.1f} {row['attempt']} {row['status']} {row['message']}" for row in self.events()]
        except psycopg.OperationalError as error:
            lines = [str(error)]
        logs = "".join(machine.log() for machine in self.site.machines)
        return "\n".join(lines) + "\n" + logs


def send(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def elapse(seconds: float) -> None:
    """A fault that lasts."""
    time.sleep(seconds)


@cache
def may_be_apart() -> bool:
    """Whether machines can have disks and networks of their own here."""
    return os.geteuid() == 0 and may_make_networks()
