"""The runner of one attempt: ``manage.py run_attempt JOB ATTEMPT``.

It is detached from the node agent and outlives it. It fetches the inputs, starts the program, keeps the lease, writes
down the program's events, and ends the job. When the lease is lost it ends the program and changes nothing more.
"""

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from apps.core.errors import DomainError
from apps.core.storage import check_reachable
from apps.jobs import attempts
from apps.jobs.models import Job
from apps.resources.accounting import add_busy_time
from apps.resources.models import Allocation
from workers import artifacts
from workers.busy import BusyMeter
from workers.contract import EVENTS_FILE, EXIT_FAILED, EXIT_STOPPED, OUTPUT_FOLDER, read_events, write_spec
from workers.launcher import end_tree, launch, log_tail
from workers.tokens import program_token

logger = logging.getLogger("lepton.runner")

PROGRAMS = {
    Job.Kind.PREPARE: "workers.preprocessing",
    Job.Kind.TRAIN: "workers.training",
    Job.Kind.COMPRESS: "workers.compression",
}
AWAY = (OperationalError, InterfaceError)  # the database does not answer, as against: it refuses what was written
POLL_SECONDS = 0.3
QUICK_SECONDS = 0.02
RENEW_SECONDS = 5
GRACE_SECONDS = 20
LOG_FILE = "program.log"


class LeaseLost(Exception):
    """Another execution of the job has begun, or may have."""


@dataclass
class Lease:
    """Counts from before the renewal was sent; past the fence nothing may be written any more."""

    job_id: int
    attempt: int
    renewed_at: float = field(default_factory=time.monotonic)

    def keep(self) -> None:
        """Renew when it is time. Raises LeaseLost."""
        now = time.monotonic()
        if now - self.renewed_at < RENEW_SECONDS:
            return
        try:
            if not attempts.renew_lease(job_id=self.job_id, attempt=self.attempt):
                raise LeaseLost
            self.renewed_at = now
        except AWAY as error:
            self.tolerate(error)

    def tolerate(self, error: Exception) -> None:
        """The database is away: go on until the fence. Raises LeaseLost."""
        logger.warning("the database does not answer: %s", error)
        connection.close()
        if time.monotonic() - self.renewed_at > settings.LEPTON_LEASE_SECONDS * 2 / 3:
            raise LeaseLost from error


class Runner:
    def __init__(self, job: Job, launch: Callable[..., subprocess.Popen] = launch) -> None:
        self.job = job
        self.launch = launch
        self.attempt = job.attempt
        self.folder = artifacts.job_folder(job)
        self.lease = Lease(job.pk, job.attempt)
        self.token = program_token(job.pk, job.attempt)
        self.offset = 0
        self.failure: dict | None = None
        self.has_stepped = False
        self.asked_to_stop = False
        self.is_cancelled = False
        self.leave_code = ""
        self.allocation_id = job.allocation_id  # a claim is of one attempt, so it fences too
        self.busy_seconds = 0.0

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._on_term)
        try:
            process = self._start()
            if process is not None:
                code = self._follow(process)
                self._drain()
                self._finish(code)
        except LeaseLost:
            logger.warning("job %s attempt %s was given up", self.job.pk, self.attempt)
        except DomainError as error:
            self._end(attempts.fail_job, failure=_machine_failure(error.code, error.message, ""))
        except Exception as error:
            logger.exception("job %s attempt %s", self.job.pk, self.attempt)
            message = _("The result could not be taken over.")
            self._end(attempts.fail_job, failure=_machine_failure("runner_failed", message, repr(error)))
        finally:
            end_tree(self.token, grace_seconds=0)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _on_term(self, *_args: object) -> None:
        self.asked_to_stop = True

    def _start(self) -> subprocess.Popen | None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        try:
            spec = artifacts.build_spec(self.job, self.folder)
        except (OSError, KeyError) as error:
            message = _("The data could not be brought to this machine: %(error)s") % {"error": error}
            self._end(attempts.requeue_job, message=message, is_strike=True)
            return None
        write_spec(spec, self.folder / "spec.json")
        if checkpoint := artifacts.newest_checkpoint(self.job):
            attempts.drop_metrics_after(job=self.job, step=checkpoint.step)
        process = self.launch(
            [sys.executable, "-m", PROGRAMS[self.job.kind], str(self.folder / "spec.json")],
            token=self.token,
            log_path=self.folder / LOG_FILE,
            cwd=settings.BASE_DIR,
            env=artifacts.python_environment(spec.threads),
            withheld=artifacts.SECRETS,
        )
        if not attempts.mark_running(job=self.job, attempt=self.attempt):
            raise LeaseLost
        return process

    def _follow(self, process: subprocess.Popen) -> int:
        """Until the program has ended; returns its exit code."""
        deadline = None
        meter = self._busy_meter(process)
        while process.poll() is None:
            self.lease.keep()
            self._apply_events()
            self._add_busy(meter.sample(process.pid, now=time.monotonic()))
            if deadline is None and self._must_stop():
                process.send_signal(signal.SIGTERM)
                deadline = time.monotonic() + GRACE_SECONDS
            if deadline and time.monotonic() > deadline:
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

    def _busy_meter(self, process: subprocess.Popen) -> BusyMeter:
        held = self.job.allocation.devices.filter(node=self.job.node).values_list("kind", "index")
        return BusyMeter(list(held), artifacts.threads(self.job), now=time.monotonic(), pid=process.pid)

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

    def _must_stop(self) -> bool:
        try:
            self.is_cancelled = attempts.is_cancel_requested(job_id=self.job.pk, attempt=self.attempt)
            self.leave_code = attempts.reason_to_leave(job_id=self.job.pk, attempt=self.attempt)
        except AWAY as error:
            self.lease.tolerate(error)
        return self.is_cancelled or bool(self.leave_code) or self.asked_to_stop

    def _apply_events(self) -> None:
        batch = list(read_events(self.folder / EVENTS_FILE, self.offset))
        if not batch:
            return
        events = [event for event, _offset in batch]
        try:
            if not attempts.record_events(job_id=self.job.pk, attempt=self.attempt, events=events):
                raise LeaseLost
            self._store_newest_checkpoint(events)
        except AWAY as error:
            self.lease.tolerate(error)
            return
        self.failure = next((event for event in events if event["type"] == "failure"), self.failure)
        self.offset = batch[-1][1]

    def _store_newest_checkpoint(self, events: list[dict]) -> None:
        """Of several since the last look only the newest is kept; one that the program has replaced meanwhile is
        skipped, because the next is on its way."""
        newest = next((event for event in reversed(events) if event["type"] == "checkpoint"), None)
        if newest is None:
            return
        try:
            files = artifacts.store_checkpoint(self.folder, newest)
        except FileNotFoundError:
            return
        if files:
            attempts.record_checkpoint(job_id=self.job.pk, attempt=self.attempt, event=newest, files=files)

    def _drain(self) -> None:
        """The last events; they matter, so a database that is away is waited for until the fence."""
        while list(read_events(self.folder / EVENTS_FILE, self.offset)):
            self.lease.keep()
            self._apply_events()

    def _finish(self, code: int) -> None:
        if code == 0:
            self._succeed()
        elif self.is_cancelled:
            self._end(attempts.end_cancelled, message=_("Stopped."))
        elif code == EXIT_STOPPED or self.asked_to_stop or self.leave_code:
            self._end(attempts.requeue_job, message=_why_it_left(self.leave_code), is_strike=False)
        elif code == EXIT_FAILED and self.failure:
            self._end(attempts.fail_job, failure=_from_event(self.failure))
        elif code < 0:
            self._end(attempts.requeue_job, message=_killed_sentence(-code, self._tail()), is_strike=True)
        else:
            message = _("The program ended unexpectedly (exit code %(code)d).") % {"code": code}
            self._end(attempts.fail_job, failure=_machine_failure("program_crashed", message, self._tail()))

    def _succeed(self) -> None:
        name = "report.json" if self.job.kind == Job.Kind.PREPARE else "result.json"
        result = _read_json(self.folder / OUTPUT_FOLDER / name)
        meta = self.folder / OUTPUT_FOLDER / "model" / "meta.json"
        if meta.exists():
            result["meta"] = _read_json(meta)
        self._end(attempts.succeed_job, result=result, outputs=artifacts.store_outputs(self.folder))

    def _end(self, verb, **values) -> None:
        """The last write, tried until the fence."""
        while True:
            self.lease.keep()
            try:
                verb(job=self.job, attempt=self.attempt, **values)
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


def _why_it_left(leave_code: str) -> str:
    if not leave_code:
        return _("The machine was stopped.")
    return _("Made room: %(reason)s.") % {"reason": Allocation.Leave(leave_code).label}


def _from_event(event: dict) -> dict:
    return {key: event.get(key, "") for key in ("code", "message", "hint", "blame", "field", "evidence")}


def _machine_failure(code: str, message: str, evidence: str) -> dict:
    hint = _("Try again. If it happens again, send the log to whoever looks after this site.")
    return {"code": code, "message": str(message), "hint": hint, "blame": "machine", "evidence": evidence}


def _killed_sentence(number: int, tail: str) -> str:
    sentence = _("The program was killed by signal %(number)d.") % {"number": number}
    if number == signal.SIGKILL:
        sentence += " " + _("The machine may have run out of memory.")
    return f"{sentence} {tail[-500:]}".strip()


def run_attempt(job_id: int, attempt: int, *, launch: Callable[..., subprocess.Popen] = launch) -> None:
    """Run the attempt to its end, unless it has been given up before it began."""
    job = _jobs().get(pk=job_id)
    if job.attempt == attempt and job.status == Job.Status.STARTING:
        Runner(job, launch).run()


def warm_up() -> None:
    """Use once what only the first use loads: the database's driver and its storage's."""
    _jobs().first()
    check_reachable(settings.LEPTON_STORAGE_URL)


def _jobs() -> QuerySet[Job]:
    return Job.objects.select_related("node", "allocation", "dataset_version", "base_version", "team")
