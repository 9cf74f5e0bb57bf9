"""The runner of one machine's part of an attempt: ``manage.py run_attempt JOB ATTEMPT RANK``.

It is detached from the node agent and outlives it. It fetches the inputs, starts the program, keeps the lease, and
writes down the program's events; the one that leads ends the job with its result. When the lease is lost, or another
part of the gang has ended, it ends its program and writes nothing more of it.
"""

import contextlib
import json
import logging
import math
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import psutil
from django.conf import settings
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from apps.jobs import attempts
from apps.jobs.members import others_of
from apps.jobs.models import Job, Member
from apps.resources.accounting import add_busy_time
from workers import artifacts
from workers.busy import BusyMeter
from workers.contract import (
    EVENTS_FILE,
    EXIT_FAILED,
    EXIT_FENCED,
    EXIT_STOPPED,
    OUTPUT_FOLDER,
    CompressSpec,
    FuseSpec,
    PredictSpec,
    PrepareSpec,
    TrainSpec,
    read_events,
    write_spec,
)
from workers.fence import FENCE_VARIABLE
from workers.keeping import CandidateKeeper, CheckpointKeeper
from workers.launcher import end_tree, launch, log_tail
from workers.lease import AWAY, Lease, LeaseLost
from workers.outcomes import Outcome, Over, failure_from_event, failure_of, killed_sentence, machine_failure
from workers.parallel.launch import NodeOfGang, command, environment, visible_devices
from workers.tokens import program_token

logger = logging.getLogger("lepton.runner")

PROGRAMS = {
    Job.Kind.PREPARE: "workers.preprocessing",
    Job.Kind.TRAIN: "workers.training",
    Job.Kind.COMPRESS: "workers.compression",
    Job.Kind.FUSE: "workers.fusion",
    Job.Kind.PREDICT: "workers.predicting",
}
POLL_SECONDS = 0.3
QUICK_SECONDS = 0.02
LOOK_SECONDS = 1.0
GRACE_SECONDS = 20
FOLLOW_SECONDS = 5  # in which a program that has lost the others may say what it knows
STORAGE_SECONDS = 600  # for storage that is away to come back
START_SECONDS = 900  # for all machines of a gang to have fetched their data and started
LAST_PARTS_SECONDS = 30
LOG_FILE = "program.log"
T = TypeVar("T")
E = Member.Ending
TAKEN_ALONG = (E.FAILED, E.CRASHED, E.LOST, E.FOLLOWED)  # endings of one machine that end the others at once


class Runner:
    def __init__(self, member: Member, launch: Callable[..., subprocess.Popen] = launch) -> None:
        self.member, self.job, self.launch = member, member.job, launch
        self.attempt = member.attempt
        self.folder = artifacts.job_folder(member)
        self.token = program_token(member.node.name, member.job_id, member.attempt)
        self.allocation_id = self.job.allocation_id  # a claim is of one attempt, so it fences too
        self.lease: Lease | None = None
        self.began_at, self.looked_at = time.monotonic(), float("-inf")
        self.offset = 0
        self.is_offset_sure = True
        self.keeper = CheckpointKeeper(member, self.folder)
        self.candidates = CandidateKeeper(member, self.folder)
        self.failure: dict | None = None
        self.has_stepped = False
        self.has_result = False
        self.asked_to_stop = False
        self.must_stop = False
        self.others: list[Member] = []
        self.busy_seconds = 0.0

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._on_term)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        self.lease = Lease(self.member, self.folder)
        try:
            self.lease.take()
            self.lease.keep()
            self._say(self._work_and_tidy())
        except LeaseLost:
            logger.warning("%s was given up", self.member)
        finally:
            self.lease.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _on_term(self, *_args: object) -> None:
        self.asked_to_stop = True

    def _work_and_tidy(self) -> Outcome:
        """How it ended, with the proof that no process of it is left: until then the lease is kept."""
        try:
            return self._work()
        except Over as over:
            return over.outcome
        except LeaseLost:
            message = _("The machine %(node)s lost touch with the site.") % {"node": self.member.node.name}
            return Outcome(E.LOST, message)
        except (*AWAY, OSError) as error:  # our machines' fault: another try may do better
            logger.exception("%s", self.member)
            message = _("The machine %(node)s could not run it: %(error)s")
            return Outcome(E.LOST, message % {"node": self.member.node.name, "error": error})
        except Exception as error:
            logger.exception("%s", self.member)
            return Outcome(E.FAILED, failure=failure_of(error))
        finally:
            while not end_tree(self.token, grace_seconds=0):
                logger.error("programs of %s do not end", self.member)

    def _work(self) -> Outcome:
        self._look()
        process = self._start()
        code = self._follow(process)
        self._drain()
        if code == EXIT_STOPPED or self.must_stop:
            self._add_last_parts()
        if code != 0 and not self.has_result:
            return self._outcome(code)
        if not self.member.leads:
            return Outcome(E.SUCCEEDED)
        self._with_storage(self.candidates.store)
        result, outputs = self._read_result(), self._with_storage(artifacts.store_outputs, self.folder)
        self._await_others()
        return Outcome(E.SUCCEEDED, result=result, outputs=outputs)

    # Starting

    def _start(self) -> subprocess.Popen:
        """Raises Over when it does not come to it."""
        try:
            spec = self._with_storage(self._fetch)
        except (OSError, KeyError) as error:
            message = _("The data could not be brought to the machine %(node)s: %(error)s")
            names = {"node": self.member.node.name, "error": error}
            raise Over(Outcome(E.LOST, message % names)) from error
        write_spec(spec, self.folder / "spec.json")
        program = [PROGRAMS[self.job.kind], str(self.folder / "spec.json")]
        gang = self._gang() if artifacts.is_spread(self.member) else None
        process = self.launch(
            command(gang, program) if gang else [sys.executable, "-m", *program],
            token=self.token,
            log_path=self.folder / LOG_FILE,
            cwd=settings.BASE_DIR,
            env={
                **artifacts.python_environment(spec.threads),
                **(environment(gang, _interfaces()) if gang else visible_devices(artifacts.own_gpus(self.member))),
                FENCE_VARIABLE: str(self.lease.path),
            },
            withheld=artifacts.SECRETS,
        )
        self._write(
            attempts.mark_running,
            job=self.job,
            attempt=self.attempt,
            rank=self.member.rank,
            endpoint=gang.endpoint if gang else "",
        )
        return process

    def _fetch(self) -> PrepareSpec | TrainSpec | CompressSpec | FuseSpec | PredictSpec:
        """What the program needs is brought here, and what it will measure again is forgotten. Raises OSError."""
        checkpoint = artifacts.restore_checkpoint(self.job, self.folder)
        spec = artifacts.build_spec(self.member, self.folder, resume=checkpoint is not None)
        if self.member.leads:
            attempts.drop_metrics_after(job=self.job, step=checkpoint.step if checkpoint else -1)
        return spec

    def _with_storage(self, verb: Callable[..., T], *values: Any) -> T:
        """What `verb` returns; storage that is away is waited for. Raises StorageAway when it stays away."""
        deadline = time.monotonic() + STORAGE_SECONDS
        while True:
            self._look()
            try:
                return verb(*values)
            except artifacts.StorageAway as error:
                if self.must_stop or self._is_to_follow() or time.monotonic() > deadline:
                    raise
                logger.warning("storage does not answer: %s", error)
                time.sleep(LOOK_SECONDS)

    def _gang(self) -> NodeOfGang:
        """Where its processes meet those of the other machines: the one that leads opens the place."""
        address = self.member.node.address or "127.0.0.1"
        gang = NodeOfGang(
            name=f"{self.job.pk}-{self.attempt}",
            rank=self.member.rank,
            nodes=others_of(self.member).count() + 1,
            processes=len(artifacts.held_devices(self.member)),
            endpoint=_free_endpoint(address) if self.member.leads else self._await_endpoint(),
            address=address,
            indexes=artifacts.own_gpus(self.member),
        )
        where = f"{gang.processes} processes at {address}"
        logger.info(
            "%s is node %d of %d, %s; they meet at %s", self.member, gang.rank, gang.nodes, where, gang.endpoint
        )
        return gang

    def _await_endpoint(self) -> str:
        """Raises Over when the gang comes to nothing before the one that leads has started."""
        while True:
            self._look()
            if self.must_stop:
                raise Over(Outcome(E.STOPPED))
            if self._is_to_follow():
                raise Over(Outcome(E.FOLLOWED))
            self._give_up_when_late()
            lead = next(other for other in self.others if other.leads)
            if lead.endpoint:
                return lead.endpoint
            time.sleep(POLL_SECONDS)

    # Following

    def _follow(self, process: subprocess.Popen) -> int:
        """Until the program has ended; returns its exit code."""
        is_asked, deadline = False, math.inf
        held = artifacts.held_devices(self.member)
        meter = BusyMeter(held, artifacts.threads(self.member), now=time.monotonic(), pid=process.pid)
        while process.poll() is None:
            self.lease.check()
            self._apply_events()
            self._add_busy(meter.sample(process.pid, now=time.monotonic()))
            self._look()
            self._store_missing_parts()
            self._give_up_when_late()
            if not is_asked and self.must_stop:
                is_asked = True
                process.send_signal(signal.SIGTERM)
                deadline = time.monotonic() + (GRACE_SECONDS if self._has_begun() else 0)
            if self._is_to_follow():
                deadline = min(deadline, time.monotonic() + FOLLOW_SECONDS)
            if time.monotonic() > deadline:
                end_tree(self.token, grace_seconds=0)
            self._pause(process)
        self._add_busy(meter.finish(now=time.monotonic()))
        return process.returncode

    def _pause(self, process: subprocess.Popen) -> None:
        """Until the next look, which comes early with the program's end and with its first step."""
        until = time.monotonic() + POLL_SECONDS
        while time.monotonic() < until and process.poll() is None:
            pending = () if self.has_stepped else read_events(self.folder / EVENTS_FILE, self.offset)
            if _has_metric(event for event, _offset in pending):
                self.has_stepped = True
                return
            time.sleep(QUICK_SECONDS)

    def _look(self) -> None:
        """What the site wants of this part, and how the others do."""
        self.lease.check()
        if time.monotonic() - self.looked_at < LOOK_SECONDS and not self.asked_to_stop:
            return
        self.looked_at = time.monotonic()
        try:
            asked = attempts.is_to_stop(job_id=self.job.pk, attempt=self.attempt)
            self.others = list(others_of(self.member).select_related("node"))
        except AWAY as error:
            self.lease.tolerate(error)
            return
        one_has_stopped = any(other.ending == E.STOPPED for other in self.others)
        self.must_stop = self.must_stop or asked or one_has_stopped or self.asked_to_stop

    def _has_begun(self) -> bool:
        """Else there is nothing to keep, and the programs still wait for each other, deaf to signals."""
        return all(other.running_at for other in self.others)

    def _is_to_follow(self) -> bool:
        return any(other.ending in TAKEN_ALONG for other in self.others)

    def _give_up_when_late(self) -> None:
        """Raises Over when a machine has not started its part for too long."""
        late = next((other for other in self.others if not other.running_at and not other.ended_at), None)
        if late and time.monotonic() - self.began_at > START_SECONDS:
            message = _("The machine %(node)s did not start its part of the work.") % {"node": late.node.name}
            raise Over(Outcome(E.LOST, message))

    def _await_others(self) -> None:
        """The result is there: until no machine of the gang works any more."""
        while self.others and not all(other.ended_at for other in self.others):
            self._look()
            time.sleep(POLL_SECONDS)

    def _add_busy(self, seconds: float) -> None:
        """Write down how long the devices were at work; what cannot be written now is added to the next."""
        self.busy_seconds += seconds
        if not self.busy_seconds:
            return
        try:
            add_busy_time(allocation_id=self.allocation_id, device_seconds=self.busy_seconds)
            self.busy_seconds = 0.0
        except AWAY as error:
            self.lease.tolerate(error)

    # Events

    def _apply_events(self) -> None:
        try:
            if self.member.leads and not self.is_offset_sure:
                self.offset = attempts.bytes_read(job_id=self.job.pk, attempt=self.attempt)
                self.is_offset_sure = True
            self._record_events()
            self.candidates.store_patiently()
            self.keeper.store()
        except AWAY as error:
            self.is_offset_sure = False  # a batch may have been written whose receipt was lost
            self.lease.tolerate(error)

    def _record_events(self) -> None:
        batch = list(read_events(self.folder / EVENTS_FILE, self.offset))
        if not batch:
            return
        events, read_bytes = [event for event, _offset in batch], batch[-1][1]
        self.failure = next((event for event in events if event["type"] == "failure"), self.failure)
        self.has_result = self.has_result or any(event["type"] == "result" for event in events)
        if self.member.leads:
            self.keeper.hear(events)
            self.candidates.hear(events)
            if not attempts.record_events(
                job_id=self.job.pk, attempt=self.attempt, events=events, read_bytes=read_bytes
            ):
                raise LeaseLost
        self.offset = read_bytes

    def _store_missing_parts(self) -> None:
        try:
            self.keeper.add_missing_parts()
        except AWAY as error:
            self.lease.tolerate(error)

    def _drain(self) -> None:
        """The last events; they matter, so a database that is away is waited for until the fence."""
        while not self.is_offset_sure or list(read_events(self.folder / EVENTS_FILE, self.offset)):
            self.lease.check()
            self._apply_events()

    def _add_last_parts(self) -> None:
        """The checkpoint with which a gang stops is told of at the very end: until the member that leads has ended."""
        until = time.monotonic() + LAST_PARTS_SECONDS
        while not self.member.leads and time.monotonic() < until:
            self._look()
            self._store_missing_parts()
            if any(other.leads and other.ended_at for other in self.others):
                return
            time.sleep(POLL_SECONDS)

    # The end

    def _outcome(self, code: int) -> Outcome:
        """What a program that has no result has come to."""
        if code == EXIT_FAILED and self.failure:
            return Outcome(E.FAILED, failure=failure_from_event(self.failure))
        if code == EXIT_STOPPED or self.must_stop or self.asked_to_stop:
            return Outcome(E.STOPPED)
        if self._is_to_follow():
            return Outcome(E.FOLLOWED)
        if code == EXIT_FENCED:
            raise LeaseLost
        if code < 0:
            return Outcome(E.LOST, killed_sentence(-code, self._tail()))
        message = _("The program ended unexpectedly (exit code %(code)d).") % {"code": code}
        return Outcome(E.CRASHED, failure=machine_failure("program_crashed", message, self._tail()))

    def _read_result(self) -> dict:
        name = "report.json" if self.job.kind == Job.Kind.PREPARE else "result.json"
        result = _read_json(self.folder / OUTPUT_FOLDER / name)
        meta = self.folder / OUTPUT_FOLDER / "model" / "meta.json"
        if meta.exists():
            result["meta"] = _read_json(meta)
        return result

    def _say(self, outcome: Outcome) -> None:
        """The last write, tried until the fence. What cannot be taken over fails the job."""
        facts = {"attempt": self.attempt}
        if outcome.ending != E.SUCCEEDED or not self.member.leads:
            told = {"ending": outcome.ending, "message": outcome.message, "failure": outcome.failure}
            self._write(attempts.leave_attempt, job_id=self.job.pk, rank=self.member.rank, **facts, **told)
            return
        try:
            self._write(attempts.finish_attempt, job=self.job, **facts, result=outcome.result, outputs=outcome.outputs)
        except LeaseLost:
            raise
        except Exception as error:
            logger.exception("%s", self.member)
            self._say(Outcome(E.FAILED, failure=failure_of(error)))

    def _write(self, verb, **values) -> None:
        """Raises LeaseLost when the attempt was given up, or the database is away until the fence."""
        while True:
            try:
                if not verb(**values):
                    raise LeaseLost
                return
            except AWAY as error:
                self.lease.tolerate(error)
                time.sleep(POLL_SECONDS)

    def _tail(self) -> str:
        return log_tail(self.folder / LOG_FILE)


def _has_metric(events: Iterable[dict]) -> bool:
    return any(event["type"] == "metric" for event in events)


def _read_json(path: Path) -> dict:
    """Python writes NaN and Infinity, which are no JSON and which PostgreSQL refuses: they become null."""
    return json.loads(path.read_text(), parse_constant=lambda _name: None)


def _interfaces() -> dict[str, list[str]]:
    return {name: [item.address for item in items] for name, items in psutil.net_if_addrs().items()}


def _free_endpoint(address: str) -> str:
    """A port of this machine that is free now. Should another program be faster, the start fails and is tried again."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        return f"{address}:{probe.getsockname()[1]}"


def run_attempt(job_id: int, attempt: int, rank: int, *, launch: Callable[..., subprocess.Popen] = launch) -> None:
    """Run one machine's part of the attempt to its end, unless it has been given up before it began."""
    member = _members().get(job=job_id, attempt=attempt, rank=rank)
    if member.ended_at is None:
        Runner(member, launch).run()


def warm_up() -> None:
    """Use once what only the first use loads: the database's driver and storage's, even where that is not there yet."""
    _members().first()
    with contextlib.suppress(artifacts.StorageAway):
        artifacts.require_storage()


def _members() -> QuerySet[Member]:
    related = ("job__node", "job__allocation", "job__dataset_version", "job__base_version", "job__team", "node")
    return Member.objects.select_related(*related)
