"""The node agent: registers the machine, beats, starts what the pool has granted to it, and supervises replicas.

It is woken by Celery (workers.tasks) and looks for itself every second, so a lost message delays a start by a second.
"""

import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils.translation import gettext as _

from apps.jobs.attempts import claim_job, leave_attempt
from apps.jobs.members import claim_member, members_to_claim
from apps.jobs.models import Job, Member
from apps.resources.models import Node
from apps.resources.nodes import retire_node
from workers import links, profiles, replicas
from workers.artifacts import is_spread, jobs_folder, node_folder, runner_log
from workers.heartbeat import Heartbeat
from workers.launcher import end_tree, find_by_token, launch
from workers.spares import Spares
from workers.tokens import program_token, runner_prefix, runner_token

logger = logging.getLogger("lepton.agent")

LOOK_SECONDS = 1.0
ORPHANS_EVERY_SECONDS = settings.BEAT_SECONDS
STOP_GRACE_SECONDS = 30


def _end_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class Agent:
    """`refusal` says why the node may not work any more, "" while it may; `end_process` is then called."""

    def __init__(self, name: str, *, end_process: Callable[[], None] = _end_process) -> None:
        self.name = name
        self.end_process = end_process
        self.folder = node_folder(name)
        self.stopping = threading.Event()
        self.refusal = ""
        self.looked_for_orphans_at = float("-inf")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.spares = Spares(name)
        self.heartbeat = Heartbeat(name, self.folder, stopping=self.stopping, on_refused=self._leave)
        # Apart, because a replica may let whoever asks it wait for ten seconds.
        looks = {"agent": self._look, "replicas": replicas.supervise, "measuring": measure_for_plans}
        self.bells = {name: threading.Event() for name in looks}
        self.threads = [
            threading.Thread(target=self._loop, args=(look, self.bells[name]), name=name, daemon=True)
            for name, look in looks.items()
        ]

    def start(self) -> None:
        self.heartbeat.start()
        for thread in self.threads:
            thread.start()

    def wake(self) -> None:
        for bell in self.bells.values():
            bell.set()

    def stop(self, *, with_work: bool) -> None:
        """Leave in order. `with_work` also ends runners (their jobs write a checkpoint and go back to the queue) and
        replicas; without it they live on and are adopted by the next agent."""
        self.stopping.set()
        self.wake()
        for thread in (*self.threads, self.heartbeat.thread):
            thread.join(timeout=10)
        self.spares.drop()
        node = self.heartbeat.node
        if node is None:
            return
        retire_node(node=node)  # first, so that no new work is sent here meanwhile
        profiles.stop(node)
        if with_work:
            end_tree(runner_prefix(self.name), grace_seconds=STOP_GRACE_SECONDS)
            replicas.stop_all(node)

    def _leave(self, reason: str) -> None:
        self.refusal = reason
        self.stopping.set()
        self.wake()
        logger.warning("%s This agent ends its work and leaves.", reason)
        self.end_process()

    def _loop(self, look: Callable[[Node], float | None], bell: threading.Event) -> None:
        """`look` may say in how many seconds to look again."""
        while not self.stopping.is_set():
            wait_seconds = None
            try:
                if self.heartbeat.node is not None:
                    wait_seconds = look(self.heartbeat.node)
            except DatabaseError as error:
                logger.warning("the database does not answer: %s", error)
            except Exception:
                logger.exception("the agent goes on after an error")
            close_old_connections()
            bell.wait(wait_seconds or LOOK_SECONDS)
            bell.clear()
        connection.close()

    def _look(self, node: Node) -> None:
        if time.monotonic() - self.looked_for_orphans_at >= ORPHANS_EVERY_SECONDS:
            recover_orphans(node)
            remove_leftovers(node)
            self.looked_for_orphans_at = time.monotonic()
        start_granted(node, self.spares)
        self.spares.keep(node)


def measure_for_plans(node: Node) -> None:
    """Models and links that somebody wants to plan with."""
    profiles.supervise(node)
    links.supervise(node)


def start_granted(node: Node, spares: Spares) -> None:
    """Claim every job that was granted to this node to lead, and its parts of the gangs that others lead; give each a
    runner."""
    granted = Job.objects.filter(
        status=Job.Status.QUEUED, allocation__node=node, allocation__status="granted", cancel_requested_at=None
    )
    for job_id in granted.values_list("id", flat=True):
        job = claim_job(job_id=job_id, node=node)
        if job is not None:
            start_runner(job.members.get(attempt=job.attempt, rank=0), spares)
    for member in members_to_claim(node):
        if claim_member(member=member):
            start_runner(member, spares)


def recover_orphans(node: Node) -> None:
    """Parts of attempts on this node whose runner is gone: end what is left of them and say so at once, without waiting
    for the lease to run out. Not of parts that were never begun here: another machine may have had this one's name."""
    for member in Member.objects.filter(node=node, claimed_at__isnull=False, ended_at=None).select_related("node"):
        facts = (node.name, member.job_id, member.attempt)
        if not runner_log(member).exists() or find_by_token(runner_token(*facts)):
            continue
        if end_tree(program_token(*facts), grace_seconds=0):
            leave_attempt(
                job_id=member.job_id,
                attempt=member.attempt,
                rank=member.rank,
                ending=Member.Ending.LOST,
                message=_("Its runner died."),
            )


def remove_leftovers(node: Node) -> None:
    """The work folders of executions that were killed before they could do so."""
    folders = jobs_folder(node.name)
    for folder in folders.iterdir() if folders.exists() else []:
        job, _dash, attempt = folder.name.partition("-")
        facts = (node.name, int(job), int(attempt))
        if not find_by_token(runner_token(*facts)) and end_tree(program_token(*facts), grace_seconds=0):
            shutil.rmtree(folder, ignore_errors=True)


def start_runner(member: Member, spares: Spares) -> None:
    runner_log(member).parent.mkdir(parents=True, exist_ok=True)
    runner_log(member).touch()  # by which recover_orphans knows that it was begun here
    name, job, attempt = member.node.name, member.job_id, member.attempt
    part = [str(job), str(attempt), str(member.rank)]
    token = runner_token(name, job, attempt)
    may_have_spare = member.job.kind == Job.Kind.TRAIN and not is_spread(member)  # torchrun starts its own processes
    if not (may_have_spare and spares.take(part, token=token, log_path=runner_log(member))):
        argv = [sys.executable, "manage.py", "run_attempt", *part]
        launch(argv, token=token, log_path=runner_log(member), cwd=settings.BASE_DIR)


_agent: Agent | None = None


def run(name: str) -> Agent:
    """Make and start the one agent of this process."""
    global _agent
    _agent = Agent(name)
    _agent.start()
    return _agent


def wake() -> None:
    if _agent is not None:
        _agent.wake()
