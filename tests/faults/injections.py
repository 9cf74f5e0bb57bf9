"""The faults: each function does to a site what its docstring says happens in the real world.

A fault gets a `Scene` and returns the seconds until it was noticed where that is not a change of the job's state.
"""

import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis
from celery import Celery
from psutil import Process

from lepton_site import embedded
from tests.faults.site import (
    END_SECONDS,
    JOB_TOKEN,
    LEASE_SECONDS,
    RUNNER_TOKEN,
    Machine,
    Site,
    Training,
    elapse,
    may_be_apart,
    send,
)
from tests.stack import wait_until

SERVICE_MANAGER_SECONDS = 1.0  # how long the machine's service manager waits before it starts an agent anew


@dataclass(frozen=True)
class Scene:
    """A training at work, the machine that the fault strikes, and whatever chance it needs."""

    site: Site
    training: Training
    machine: Machine
    chance: random.Random
    is_gang: bool = False

    def await_giving_up(self, attempt: int) -> None:
        """Until the job has gone on elsewhere; a gang needs every machine, and so waits for this one."""
        if self.is_gang:
            self.training.await_condition(
                lambda row: row["attempt"] > attempt or row["status"] == "queued",
                seconds=END_SECONDS,
                what=f"attempt {attempt} is given up",
            )
        else:
            self.training.await_attempt(attempt + 1)


@dataclass(frozen=True)
class Fault:
    """`devices` above 1 make the training a gang over all machines. `may_fall_back` is how many checkpoints before the
    newest the job may go on from; `needs_root` where only root can do it; `is_short` where it is told in every run."""

    inject: Callable[[Scene], float | None]
    devices: int = 1
    may_fall_back: int = 0
    needs_root: bool = False
    is_short: bool = False

    @property
    def name(self) -> str:
        name = self.inject.__name__.replace("_", "-")
        return f"gang-{name}" if self.devices > 1 else name

    @property
    def what(self) -> str:
        return self.inject.__doc__ or ""


def _replaced(find: Callable[[], Process | None], old: Process) -> float:
    """Seconds until another process has taken the place of one that was killed."""
    began = time.monotonic()
    wait_until(lambda: (new := find()) and new.pid != old.pid, seconds=60, what="it is started again")
    return time.monotonic() - began


# Processes of a machine


def kill_rank(scene: Scene) -> None:
    """The kernel's out-of-memory killer takes one process of the program."""
    processes = scene.machine.processes(JOB_TOKEN)
    send([max(processes, key=lambda process: len(process.parents()))], signal.SIGKILL)


def kill_program(scene: Scene) -> None:
    """All processes of the program are killed at once."""
    send(scene.machine.processes(JOB_TOKEN), signal.SIGKILL)


def kill_runner(scene: Scene) -> None:
    """The runner is killed; the program goes on without it until somebody notices."""
    runners = [process for process in scene.machine.processes(RUNNER_TOKEN) if "manage.py" in process.cmdline()]
    send(runners, signal.SIGKILL)


def kill_runner_and_program(scene: Scene) -> None:
    """A whole job is killed, and only the agent lives."""
    send(scene.machine.processes(), signal.SIGKILL)


def kill_agent(scene: Scene) -> float:
    """The agent is killed and started again: what runs there must not notice."""
    return _restart_agents([scene.machine])


def kill_both_agents(scene: Scene) -> float:
    """All agents of the pool are killed, as by an upgrade that went wrong."""
    return _restart_agents(scene.site.machines)


def kill_machine(scene: Scene) -> None:
    """A machine loses its power, and comes back only after its job has gone on elsewhere."""
    machine, attempt = scene.machine, scene.training.row()["attempt"]
    send(machine.everything(), signal.SIGKILL)
    machine.agent.wait()
    scene.await_giving_up(attempt)
    machine.start_agent()


def _restart_agents(machines: list[Machine]) -> float:
    began = time.monotonic()
    for machine in machines:
        machine.agent.kill()
        machine.agent.wait()
    elapse(SERVICE_MANAGER_SECONDS)
    for machine in machines:
        machine.start_agent()
    return time.monotonic() - began


def freeze_machine(scene: Scene) -> None:
    """Agent, runner and program stand still, as in a machine that swaps or is moved while it runs, until their job has
    gone on elsewhere; then they wake up and must change nothing."""
    machine, attempt = scene.machine, scene.training.row()["attempt"]
    frozen = machine.everything()
    send(frozen, signal.SIGSTOP)
    scene.await_giving_up(attempt)
    send(frozen, signal.SIGCONT)


def freeze_for_a_moment(scene: Scene) -> float:
    """The same for half a lease: nobody may have noticed."""
    frozen = scene.machine.everything()
    send(frozen, signal.SIGSTOP)
    elapse(LEASE_SECONDS / 2)
    send(frozen, signal.SIGCONT)
    return 0.0


def freeze_runner(scene: Scene) -> None:
    """Only the runner stands still: the program must stop by itself before its job goes on elsewhere."""
    attempt = scene.training.row()["attempt"]
    runner = scene.machine.processes(RUNNER_TOKEN)
    send(runner, signal.SIGSTOP)
    scene.await_giving_up(attempt)
    send(runner, signal.SIGCONT)


def cut_off_machine(scene: Scene) -> None:
    """A machine's network cable is pulled until its job has gone on elsewhere, and put back."""
    machine, attempt = scene.machine, scene.training.row()["attempt"]
    machine.network.cut()
    scene.await_giving_up(attempt)
    machine.network.mend()


def cut_off_for_a_moment(scene: Scene) -> float:
    """A switch restarts: the machine is cut off for a third of a lease."""
    machine = scene.machine
    machine.network.cut()
    elapse(LEASE_SECONDS / 3)
    machine.network.mend()
    return 0.0


# Processes of the site


def kill_worker(scene: Scene) -> float:
    """The control worker is killed, which schedules and reaps."""
    return _kill_service(scene, "worker", "control")


def kill_beat(scene: Scene) -> float:
    """The beat is killed, which calls for everything periodic."""
    return _kill_service(scene, "beat")


def kill_web(scene: Scene) -> float:
    """The web server is killed."""
    return _kill_service(scene, "lepton_site.asgi:application")


def _kill_service(scene: Scene, *words: str) -> float:
    old = scene.site.service(*words)
    old.kill()
    return _replaced(lambda: scene.site.service(*words), old)


def restart_valkey(scene: Scene) -> float:
    """Valkey is killed and comes back with what it had on disk."""
    old = Process(scene.site.pid_of("valkey"))
    old.kill()
    return _until_back(scene, "valkey", old)


def wipe_valkey(scene: Scene) -> float:
    """Valkey is killed and comes back empty."""
    old = Process(scene.site.pid_of("valkey"))
    with scene.site.servers_held_down():
        old.kill()
        shutil.rmtree(scene.site.stack.home / "valkey" / "appendonlydir")
    return _until_back(scene, "valkey", old)


def valkey_away(scene: Scene) -> float:
    """Valkey is away for 15 seconds, while the program dies; people can submit and cancel all the same."""
    old = Process(scene.site.pid_of("valkey"))
    with scene.site.servers_held_down():
        old.kill()
        kill_program(scene)
        until = time.monotonic() + 15
        other = scene.site.train("submitted without Valkey")
        scene.site.sdk.jobs.cancel(other.pk)
        elapse(max(0.0, until - time.monotonic()))
    return _until_back(scene, "valkey", old)


def restart_postgres(scene: Scene) -> float:
    """PostgreSQL stops at once, as at a power failure, and comes back."""
    old = Process(scene.site.pid_of("postgres"))
    old.send_signal(signal.SIGQUIT)
    return _until_back(scene, "postgres", old)


def postgres_away(scene: Scene) -> float:
    """PostgreSQL is away for 15 seconds, which is longer than a lease."""
    old = Process(scene.site.pid_of("postgres"))
    with scene.site.servers_held_down():
        old.send_signal(signal.SIGQUIT)
        elapse(15)
    return _until_back(scene, "postgres", old)


def postgres_away_for_a_moment(scene: Scene) -> float:
    """PostgreSQL is away for a third of a lease, and the job must not notice."""
    old = Process(scene.site.pid_of("postgres"))
    with scene.site.servers_held_down():
        old.send_signal(signal.SIGQUIT)
        elapse(LEASE_SECONDS / 3)
    return _until_back(scene, "postgres", old)


def restart_postgres_as_it_starts(scene: Scene) -> None:
    """The program dies, and PostgreSQL stops at the moment in which the next execution starts."""
    attempt = scene.training.row()["attempt"]
    kill_program(scene)
    scene.training.await_condition(
        lambda row: row["attempt"] > attempt and row["status"] == "starting", seconds=30, what="it starts again"
    )
    elapse(scene.chance.uniform(0, 2))
    Process(scene.site.pid_of("postgres")).send_signal(signal.SIGQUIT)


def _until_back(scene: Scene, server: str, old: Process) -> float:
    is_running = {"postgres": embedded.is_postgres_running, "valkey": embedded.is_valkey_running}[server]
    home, began = scene.site.stack.home, time.monotonic()
    wait_until(lambda: is_running(home) and scene.site.pid_of(server) != old.pid, seconds=60, what=f"{server} is back")
    return time.monotonic() - began


# Messages


def ring_many_times(scene: Scene) -> None:
    """Every message arrives twenty times, also for jobs and data that do not exist, while the job changes machines."""
    kill_program(scene)
    with Celery(broker=embedded.broker_url(embedded.redis_url(scene.site.stack.home))) as app:
        for _round in range(20):
            for task in ("tick", "schedule", "forecast_starts"):
                app.send_task(f"apps.jobs.tasks.{task}", queue="control")
            nowhere = scene.chance.randrange(10**6, 10**9)
            app.send_task("apps.jobs.tasks.prepare_version", args=[nowhere], queue="control")
            for machine in scene.site.machines:
                app.send_task("workers.tasks.start_work", queue=f"node.{machine.name}")
            elapse(scene.chance.uniform(0, 0.2))


def lose_messages(scene: Scene) -> None:
    """All messages under way are lost, again and again for five seconds, while the job changes machines."""
    kill_program(scene)
    queues = ["control", *(f"node.{machine.name}" for machine in scene.site.machines)]
    until = time.monotonic() + 5
    with redis.Redis.from_url(embedded.redis_url(scene.site.stack.home)) as valkey:
        while time.monotonic() < until:
            valkey.delete(*queues)
            elapse(scene.chance.uniform(0, 0.05))


# Disks and storage


def corrupt_checkpoint(scene: Scene) -> None:
    """A disk returns other bytes than were written of the newest checkpoint, and the program dies."""
    program = scene.machine.processes(JOB_TOKEN)
    send(program, signal.SIGSTOP)
    path = _blob(scene, max(_settled_checkpoint(scene)["files"].values(), key=lambda blob: blob["bytes"]))
    body = bytearray(path.read_bytes())
    body[scene.chance.randrange(len(body) // 2, len(body))] ^= 0xFF
    path.write_bytes(body)
    send(program, signal.SIGKILL)


def lose_checkpoint(scene: Scene) -> None:
    """The newest checkpoint is gone from storage, and the program dies."""
    program = scene.machine.processes(JOB_TOKEN)
    send(program, signal.SIGSTOP)
    for blob in _settled_checkpoint(scene)["files"].values():
        _blob(scene, blob).unlink()
    send(program, signal.SIGKILL)


def _blob(scene: Scene, blob: dict) -> Path:
    return scene.site.stack.home / "storage" / "blobs" / blob["sha256"][:2] / blob["sha256"]


def _settled_checkpoint(scene: Scene) -> dict:
    """The newest of a program that stands still, once its runner has stored all that it wrote."""
    elapse(1)
    query = "SELECT * FROM jobs_checkpoint WHERE job_id = %s AND missing = '[]' ORDER BY id DESC LIMIT 1"
    return scene.site.rows(query, scene.training.pk)[0]


def lose_storage(scene: Scene) -> float:
    """The shared folder is not there for 10 seconds."""
    storage = scene.site.stack.home / "storage"
    away = storage.rename(storage.with_name("storage-away"))
    storage.touch()
    elapse(10)
    storage.unlink()
    away.rename(storage)
    return 0.0


def lose_storage_as_it_ends(scene: Scene) -> float:
    """The shared folder is not there for 10 seconds, in which the training wants to store its model."""
    scene.training.await_step(scene.training.total_steps() - 5)
    return lose_storage(scene)


def fill_disk(scene: Scene) -> float:
    """The disk of the machine is full for 4 seconds, in which checkpoints are due."""
    machine = scene.machine
    balloon = machine.fill_disk()
    elapse(4)
    balloon.unlink()
    return 0.0


FAULTS = (
    Fault(kill_rank),
    Fault(kill_program),
    Fault(kill_runner, is_short=True),
    Fault(kill_runner_and_program),
    Fault(kill_agent),
    Fault(kill_both_agents),
    Fault(kill_machine),
    Fault(freeze_machine),
    Fault(freeze_for_a_moment),
    Fault(freeze_runner),
    Fault(cut_off_machine, is_short=True),
    Fault(cut_off_for_a_moment),
    Fault(kill_worker),
    Fault(kill_beat),
    Fault(kill_web),
    Fault(restart_valkey),
    Fault(wipe_valkey),
    Fault(valkey_away),
    Fault(restart_postgres),
    Fault(postgres_away),
    Fault(postgres_away_for_a_moment),
    Fault(restart_postgres_as_it_starts),
    Fault(ring_many_times),
    Fault(lose_messages),
    Fault(corrupt_checkpoint, may_fall_back=1),
    Fault(lose_checkpoint, may_fall_back=1),
    Fault(lose_storage),
    Fault(lose_storage_as_it_ends),
    Fault(fill_disk, needs_root=True),
    Fault(kill_rank, devices=2),
    Fault(kill_program, devices=2),
    Fault(kill_runner, devices=2),
    Fault(kill_agent, devices=2),
    Fault(kill_both_agents, devices=2),
    Fault(kill_machine, devices=2),
    Fault(freeze_machine, devices=2),
    Fault(freeze_runner, devices=2),
    Fault(cut_off_machine, devices=2),
    Fault(postgres_away_for_a_moment, devices=2),
    Fault(corrupt_checkpoint, devices=2, may_fall_back=1),
)


def why_not(fault: Fault) -> str:
    """Why this fault cannot be done here; "" where it can."""
    return "only root may give a machine a small disk" if fault.needs_root and not may_be_apart() else ""
