"""Replicas of this node: start the processes that serve, prove that they predict, watch them, end them.

The rows say what should run; a folder per process says what may run. `supervise` is one pass that brings the two
together and never waits long. Processes are detached and carry a token in their environment, so that an agent that was
started again adopts them, and a process whose row is gone is found and ended.
"""

import json
import logging
import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.deployments.autoscaling import scale_deployments
from apps.deployments.models import Replica
from apps.deployments.placing import reconcile
from apps.resources.joining import LOCAL_HOSTS
from apps.resources.models import Node
from workers.artifacts import SECRETS, fetch_model, node_folder, python_environment
from workers.contract import EVENTS_FILE, ServeSpec, read_events, read_ports, write_spec
from workers.devices import usable_cpus
from workers.inference.doors import MAX_SOCKET_PATH_BYTES
from workers.inference.framing import PING, SAMPLE, Question, ask
from workers.inference.pinging import answering
from workers.inference.reaching import LANE_SEPARATOR, MOST_LANES, lane_sockets, most_lanes
from workers.launcher import end_tree, find_by_token, is_alive, launch, log_tail
from workers.pulse import Pulse
from workers.tokens import replica_prefix, replica_token, site_prefix

logger = logging.getLogger("lepton.replicas")

START_SECONDS = 120.0
START_LOOK_SECONDS = 0.1
SAMPLE_SECONDS = 10.0
GRACE_SECONDS = 12.0
PING_SECONDS = 0.5
PING_EVERY_SECONDS = 3.0
QUICK_SECONDS = 60.0
LOG_TAIL_BYTES = 2000

ON_NODE = (*Replica.LIVE, Replica.Status.STOPPING)

_children: dict[int, subprocess.Popen] = {}  # by replica: to learn the exit code, and to leave no zombie
_ending: dict[str, float] = {}  # by token: when it was first asked to end
_pulses: dict[int, list[Pulse]] = {}  # by replica: one for each lane


def supervise(node: Node) -> float | None:
    """One pass over the replicas of `node`. Returns in how many seconds to look again, where one is starting: somebody
    may wait for it."""
    scale_deployments()
    reconcile()
    for replica in _of(node, *ON_NODE).select_related("version", "deployment", "node"):
        try:
            _advance(replica)
        except (OSError, psutil.Error) as error:
            logger.exception("replica %s", replica.pk)
            _fail(replica, _("The machine could not run it: %(error)s.") % {"error": error}, strikes=1)
    _clean_up(node)
    is_starting = _of(node, Replica.Status.PENDING, Replica.Status.STARTING).exists()
    return START_LOOK_SECONDS if is_starting else None


def stop_all(node: Node) -> None:
    """End every replica process of `node` and wait until it is gone. What is wanted comes back with the next start."""
    active = _of(node, *ON_NODE)
    ids = list(active.values_list("pk", flat=True))
    active.update(status=Replica.Status.STOPPING)
    if end_tree(replica_prefix(node.name), grace_seconds=GRACE_SECONDS):
        stopped = Replica.objects.filter(pk__in=ids, status=Replica.Status.STOPPING)
        stopped.update(
            status=Replica.Status.STOPPED, ended_at=timezone.now(), pid=None, reason=_("The site was stopped.")
        )
    for child in _children.values():
        child.poll()
    _children.clear()
    _clean_up(node)


def _of(node: Node, *statuses: str) -> QuerySet[Replica]:
    return Replica.objects.filter(node=node, status__in=statuses)


def _advance(replica: Replica) -> None:
    match replica.status:
        case Replica.Status.PENDING:
            _start(replica)
        case Replica.Status.STARTING:
            _look_whether_ready(replica)
        case Replica.Status.READY:
            _watch(replica)
        case Replica.Status.STOPPING:
            _stop(replica)


# Where things lie


def _folder(node_name: str, replica_id: int) -> Path:
    return node_folder(node_name) / "replicas" / str(replica_id)


def _models_folder(node_name: str) -> Path:
    return node_folder(node_name) / "models"


def socket_path(node_name: str, replica_id: int) -> Path:
    """In the node's folder, or under the temporary folder where that path is too long for a socket."""
    path = node_folder(node_name) / "sockets" / f"{replica_id}.sock"
    if len(os.fsencode(lane_sockets(str(path), MOST_LANES)[-1])) <= MAX_SOCKET_PATH_BYTES:
        return path
    folder = Path(tempfile.gettempdir()) / f"lepton-{os.geteuid()}-{site_prefix()}"
    return folder / f"{node_name[:20]}-{replica_id}.sock"


# Start


def _start(replica: Replica) -> None:
    node_name = replica.node.name
    path = socket_path(node_name, replica.pk)
    if not _move(replica, Replica.Status.STARTING, socket_path=str(path)):
        return
    model_dir = fetch_model(replica.version, _models_folder(node_name) / str(replica.version_id))
    model_bytes = sum(path.stat().st_size for path in model_dir.iterdir())
    replica.lanes = most_lanes(model_bytes, _cores_of(replica))
    replica.token = secrets.token_hex(32) if is_reached_from_outside(replica.node) else ""
    Replica.objects.filter(pk=replica.pk).update(lanes=replica.lanes, token=replica.token)
    child = _launch(replica, model_dir, path)
    _children[replica.pk] = child
    _note_process(replica, child.pid)


def is_reached_from_outside(node: Node) -> bool:
    """Whether other machines ask what serves on `node`: not where the site and its servers have this machine alone."""
    return node.address not in LOCAL_HOSTS


def _cores_of(replica: Replica) -> int:
    """As many as people set aside for it; without a figure it may use whatever is idle."""
    wanted = replica.deployment.replica_cpu
    return usable_cpus() if wanted is None else min(usable_cpus(), max(1, math.ceil(wanted)))


def _launch(replica: Replica, model_dir: Path, path: Path) -> subprocess.Popen:
    folder = _folder(replica.node.name, replica.pk)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    threads = max(1, _cores_of(replica) // min(replica.lanes, 2))
    address = replica.node.address if replica.token else ""
    spec = ServeSpec(str(folder), str(model_dir), str(path), threads, replica.lanes, address, replica.token)
    write_spec(spec, folder / "spec.json")
    return launch(
        [sys.executable, "-m", "workers.inference", str(folder / "spec.json")],
        token=replica_token(replica.node.name, replica.pk),
        log_path=folder / "log",
        cwd=settings.BASE_DIR,
        env=python_environment(threads),
        withheld=SECRETS,
    )


def _note_process(replica: Replica, pid: int) -> None:
    try:
        started_at = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        started_at = time.time()
    replica.pid, replica.process_started_at = pid, started_at
    Replica.objects.filter(pk=replica.pk).update(pid=pid, process_started_at=started_at)


def _look_whether_ready(replica: Replica) -> None:
    """Ready only when each of its lanes has answered the model's own sample."""
    if replica.pid is None and not _adopt(replica):
        return
    if not is_alive(replica.pid, replica.process_started_at):
        _died(replica)
        return
    try:
        replies = [ask(path, Question(SAMPLE), timeout_seconds=SAMPLE_SECONDS) for path in replica.sockets]
        replica.ports = read_ports(_folder(replica.node.name, replica.pk), replica.lanes) if replica.token else []
        for lane in replica.remote_sockets:
            ask(lane, Question(PING), timeout_seconds=SAMPLE_SECONDS)
    except OSError:  # not listening yet
        if time.time() - replica.process_started_at > START_SECONDS:
            _fail(replica, _("It did not answer within %(n)d seconds of its start.") % {"n": START_SECONDS}, strikes=1)
        return
    wrong = [reply for reply in replies if reply.status != 200]
    if wrong:
        _fail(replica, _cannot_predict(wrong[0].body), strikes=1)
    else:
        _move(replica, Replica.Status.READY, ready_at=timezone.now(), ports=replica.ports)


def _adopt(replica: Replica) -> bool:
    """Find the process of a replica whose agent died before it could note it."""
    found = find_by_token(replica_token(replica.node.name, replica.pk))
    if found:
        _note_process(replica, found[0].pid)
        return True
    _fail(replica, _("The machine's agent stopped while it started this replica."), strikes=1)
    return False


def _cannot_predict(body: bytes) -> str:
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace")[:300]
    return _("It could not answer the model's own sample: %(message)s") % {"message": message}


# Watch


def _watch(replica: Replica) -> None:
    if not is_alive(replica.pid, replica.process_started_at):
        _died(replica)
        return
    pulses = _pulses.get(replica.pk)
    if pulses is None:
        _pulses[replica.pk] = [Pulse.begin(time.monotonic(), seconds) for seconds in _cpu_seconds(replica)]
    elif time.monotonic() - pulses[0].asked_at >= PING_EVERY_SECONDS:
        answered = answering(replica.sockets, PING_SECONDS)
        for pulse, path, seconds in zip(pulses, replica.sockets, _cpu_seconds(replica), strict=True):
            pulse.note(time.monotonic(), is_answered=path in answered, cpu_seconds=seconds)
        if any(pulse.hangs() for pulse in pulses):
            _fail(replica, _("Its process lives but no longer answers."), strikes=_strikes(replica))


def _cpu_seconds(replica: Replica) -> list[float]:
    """Processor time that each lane has taken so far; 0 of one that has just ended."""
    try:
        first = psutil.Process(replica.pid)
        lanes = [first, *sorted(first.children(), key=psutil.Process.create_time)]
    except psutil.Error:
        lanes = []
    found = [_processor_seconds(process) for process in lanes[: replica.lanes]]
    return [*found, *[0.0] * (replica.lanes - len(found))]


def _processor_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def _died(replica: Replica) -> None:
    """The process is gone: keep why, so that the page can say it."""
    child = _children.pop(replica.pk, None)
    exit_code = _exit_code(child) if child else None
    folder = _folder(replica.node.name, replica.pk)
    reason = _failure_message(folder) or _ending_in_words(exit_code)
    tail = log_tail(folder / "log", LOG_TAIL_BYTES)
    _fail(replica, f"{reason}\n{tail}".strip(), exit_code=exit_code, strikes=_strikes(replica))


def _strikes(replica: Replica) -> int:
    """A replica that served well for a while has not failed quickly: its count starts again."""
    served = (timezone.now() - replica.ready_at).total_seconds() if replica.ready_at else 0.0
    return 1 if served < QUICK_SECONDS else -replica.strikes


def _failure_message(folder: Path) -> str:
    """What the program itself said was wrong."""
    failures = [event for event, _offset in read_events(folder / EVENTS_FILE) if event["type"] == "failure"]
    return f"{failures[-1]['message']} {failures[-1]['hint']}".strip() if failures else ""


def _exit_code(child: subprocess.Popen) -> int | None:
    """Of a process that is gone or just going: for a moment it is neither alive nor has a code yet."""
    try:
        return child.wait(timeout=2)
    except subprocess.TimeoutExpired:
        return None


def _ending_in_words(exit_code: int | None) -> str:
    if exit_code is None:
        return _("Its process ended.")
    if exit_code >= 0:
        return _("Its process ended with exit code %(code)d.") % {"code": exit_code}
    name = signal.Signals(-exit_code).name
    if -exit_code == signal.SIGKILL:
        return _("Its process was killed (SIGKILL), perhaps because the machine ran out of memory.")
    return _("Its process was ended by %(signal)s.") % {"signal": name}


# End


def _stop(replica: Replica) -> None:
    if _end_gently(replica_token(replica.node.name, replica.pk)):
        child = _children.pop(replica.pk, None)
        _move(replica, Replica.Status.STOPPED, ended_at=timezone.now(), exit_code=child.poll() if child else None)


def _end_gently(token: str) -> bool:
    """True once no process with `token` is left: TERM on the first call, KILL on a later one after the grace period."""
    processes = find_by_token(token)
    if not processes:
        _ending.pop(token, None)
        return True
    is_first = token not in _ending
    asked_at = _ending.setdefault(token, time.monotonic())
    is_over = time.monotonic() - asked_at > GRACE_SECONDS
    for process in processes if is_first or is_over else []:
        try:
            process.send_signal(signal.SIGKILL if is_over else signal.SIGTERM)
        except psutil.Error:
            continue
    return False


def _clean_up(node: Node) -> None:
    """End processes and remove folders that no active replica has: of failed ones, and of deleted deployments."""
    root = _folder(node.name, 0).parent
    found = {int(path.name) for path in root.iterdir()} if root.exists() else set()
    active = set(_of(node, *ON_NODE).values_list("pk", flat=True))
    for replica_id in found - active:
        if _end_gently(replica_token(node.name, replica_id)):
            _forget(node, replica_id)


def _forget(node: Node, replica_id: int) -> None:
    child = _children.pop(replica_id, None)
    if child:
        child.poll()
    _pulses.pop(replica_id, None)
    path = socket_path(node.name, replica_id)
    for each in (path, *path.parent.glob(f"{path.name}{LANE_SEPARATOR}*")):
        each.unlink(missing_ok=True)
    shutil.rmtree(_folder(node.name, replica_id), ignore_errors=True)
    used = {str(pk) for pk in _of(node, *ON_NODE).values_list("version_id", flat=True)}
    for folder in _models_folder(node.name).iterdir() if _models_folder(node.name).exists() else []:
        if folder.name not in used:
            shutil.rmtree(folder, ignore_errors=True)


# Writing it down


def _fail(replica: Replica, reason: str, *, exit_code: int | None = None, strikes: int = 0) -> None:
    logger.warning("replica %s of %s failed: %s", replica.pk, replica.deployment, reason.partition("\n")[0])
    _move(
        replica,
        Replica.Status.FAILED,
        reason=reason,
        exit_code=exit_code,
        strikes=replica.strikes + strikes,
        ended_at=timezone.now(),
    )


def _move(replica: Replica, status: str, **fields: object) -> bool:
    """Change the status where it is still what was read; False when somebody else was quicker."""
    if not Replica.objects.filter(pk=replica.pk, status=replica.status).update(status=status, **fields):
        return False
    replica.status = status
    return True
