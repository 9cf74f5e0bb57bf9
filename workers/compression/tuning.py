"""Fine-tuning a smaller model with the training program: in this process, or in several where there are devices."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from workers.compression.work import Tick, Work
from workers.contract import (
    EVENTS_FILE,
    EXIT_FENCED,
    EXIT_STOPPED,
    EventWriter,
    ProgramFailure,
    TrainSpec,
    read_events,
    write_spec,
)
from workers.domains import SPREADABLE
from workers.fence import Fenced
from workers.parallel.launch import NodeOfGang, command
from workers.training.hyperparameters import fields_for, resolve
from workers.training.stopping import Stopped

POLL_SECONDS = 0.2
SPEC_FILE = "spec.json"
# What is tuned is short, and interrupted it is tuned again: it needs no checkpoints of its own.
CHECKPOINT_SECONDS = 3600.0
HERE = "127.0.0.1"


class Relay(EventWriter):
    """What a fine-tuning tells, as part of a compression: its progress and its warnings."""

    def __init__(self, events: EventWriter, tick: Tick) -> None:
        super().__init__(events.path)
        self.events, self.tick = events, tick

    def progress(self, fraction: float, message: str = "", **facts: Any) -> None:
        self.tick(fraction)

    def log(self, message: str, level: str = "info", code: str = "") -> None:
        if level != "info":
            self.events.log(message, level)

    def metric(self, name: str, value: float, *, split: str, step: int, epoch: float) -> None:
        """Curves of one candidate of many are not kept."""

    def checkpoint(self, path: Path, *, step: int, epoch: float, **labels: Any) -> None:
        """It goes on from no checkpoint."""


def settings_for(work: Work, epochs: int, learning_rate: float) -> dict[str, Any]:
    """The hyper-parameters of the original's training, but for how long and how fast is learned."""
    known = {item.name for item in fields_for(work.spec.task)}
    original = {name: value for name, value in work.meta.get("hyperparameters", {}).items() if name in known}
    changes = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "scheduler": "cosine",
        "early_stopping_patience": 0,
        "ema_decay": 0.0,
        "checkpoint_every": 0,
        "compile": "off",
    }
    changes = {name: value for name, value in changes.items() if name in known}
    if "image_size" in known:
        changes["image_size"] = work.meta["input"]["height"]
    return resolve(work.spec.task, overrides=original | changes)


def tune(work: Work, folder: Path, tuning: Mapping[str, Any], hyperparameters: dict[str, Any], tick: Tick) -> list[str]:
    """Train as `tuning` says (workers/training/tuning.py) in `folder`, whose ``output/model/`` then has the
    weights; returns notes. Raises Stopped, Fenced and ProgramFailure."""
    spec = TrainSpec(
        work_dir=str(folder),
        task=work.spec.task,
        data_path=work.spec.data_path,
        index_path=work.spec.index_path,
        hyperparameters=hyperparameters,
        target=work.spec.target,
        device=work.spec.device,
        threads=work.spec.threads,
        plan=work.spec.plan if work.spec.task in SPREADABLE and "start" not in work.meta else {},
        checkpoint_seconds=CHECKPOINT_SECONDS,
        cache_dir=cache_of(work),
        tuning=dict(tuning),
    )
    relay = Relay(work.events, tick)
    if spec.plan.get("world_size", 1) > 1:
        return _tune_together(work, spec, relay)
    from workers.training.tuning import tune as tune_here  # noqa: PLC0415 (torch is loaded only where it is used)

    return tune_here(spec, relay, work.stop)["notes"]


def cache_of(work: Work) -> str:
    return work.spec.cache_dir or str(Path(work.spec.work_dir, "cache"))


def _tune_together(work: Work, spec: TrainSpec, relay: Relay) -> list[str]:
    """The same in as many processes as the plan says, all on this machine."""
    folder = Path(spec.work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_spec(spec, folder / SPEC_FILE)
    gang = NodeOfGang(folder.name, 0, 1, spec.plan["world_size"], f"{HERE}:{_free_port()}", HERE)
    process = subprocess.Popen(command(gang, ["workers.training", str(folder / SPEC_FILE)]))
    code, offset, last = None, 0, {}
    while code is None:
        code = _wait(process, work)
        for last, end in list(read_events(folder / EVENTS_FILE, offset)):
            offset = end
            if last["type"] == "progress" and code is None and not work.stop.requested:
                relay.progress(last["fraction"])
            elif last["type"] == "log":
                relay.log(last["message"], last["level"])
    if code:
        _fail(code, last, work)
    return last["summary"]["notes"]


def _fail(code: int, last: Mapping[str, Any], work: Work) -> NoReturn:
    """Raises what the processes ended with; `last` is what they said at last."""
    if code == EXIT_STOPPED or work.stop.requested:
        raise Stopped
    if code == EXIT_FENCED:
        raise Fenced
    if last.get("type") == "failure":
        told = {name: last[name] for name in ("hint", "blame", "field")}
        raise ProgramFailure(last["code"], last["message"], **told)
    message = f"Fine-tuning in several processes ended unexpectedly (exit code {code})."
    raise ProgramFailure("tuning_failed", message, hint="Compress on one device.", blame="machine")


def _wait(process: subprocess.Popen, work: Work) -> int | None:
    """The exit code, or None while it runs; the processes are asked to stop when this one is."""
    try:
        return process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        if work.stop.requested:
            process.send_signal(signal.SIGTERM)
        return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return probe.getsockname()[1]
