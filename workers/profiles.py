"""The node measures models for plans: one program at a time, only on a device that nobody holds, and never for long."""

import json
import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from apps.resources.models import LayerProfile, Node
from apps.resources.profiles import record_profile, record_profile_error, wanted_of_node
from workers.artifacts import SECRETS, node_folder, python_environment
from workers.contract import write_spec
from workers.launcher import end_tree, launch, log_tail
from workers.parallel.shapes import ProfileSpec
from workers.tokens import profile_prefix

logger = logging.getLogger("lepton.profiles")

LIMIT_SECONDS = 120.0
GRACE_SECONDS = 2.0
RESULT_FILE = "profile.json"


@dataclass
class _Running:
    row: LayerProfile
    folder: Path
    program: subprocess.Popen
    started: float


_running: _Running | None = None
_has_looked = False


def supervise(node: Node) -> None:
    """One pass: look after the program that measures, or start the next one. Never waits long."""
    if _running is None:
        _start_next(node)
    elif not _is_idle(node, _running.row):
        _end(node)  # work comes first; what is wanted is measured later
    elif (code := _running.program.poll()) is not None:
        _collect(code)
    elif time.monotonic() - _running.started > LIMIT_SECONDS:
        row = _running.row
        _end(node)
        record_profile_error(row=row, error=_("It took longer than %(n)d seconds.") % {"n": LIMIT_SECONDS})


def stop(node: Node) -> None:
    """End what measures; it is measured when the agent is back."""
    if _running is not None:
        _end(node)


def _start_next(node: Node) -> None:
    global _running
    end_left_over(node)
    row = next((row for row in wanted_of_node(node) if _is_idle(node, row)), None)
    if row is None:
        return
    folder = node_folder(node.name) / "profiles" / row.shape_key
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / RESULT_FILE).unlink(missing_ok=True)
    (folder / "log").unlink(missing_ok=True)
    spec = ProfileSpec(str(folder), row.shape, _device(node, row), row.threads)
    write_spec(spec, folder / "spec.json")
    program = launch(
        [sys.executable, "-m", "workers.parallel", str(folder / "spec.json")],
        token=profile_prefix(node.name),
        log_path=folder / "log",
        cwd=settings.BASE_DIR,
        env=python_environment(row.threads),
        withheld=SECRETS,
    )
    _running = _Running(row, folder, program, time.monotonic())


def end_left_over(node: Node) -> None:
    """Once: an agent that was killed may have left a program that measures for nobody."""
    global _has_looked
    if not _has_looked:
        end_tree(profile_prefix(node.name), grace_seconds=0)
        _has_looked = True


def _free_device(node: Node, row: LayerProfile):
    return node.devices.filter(kind=row.device_kind, name=row.device_name, allocation=None).first()


def _is_idle(node: Node, row: LayerProfile) -> bool:
    return _free_device(node, row) is not None


def _device(node: Node, row: LayerProfile) -> str:
    device = _free_device(node, row)
    return f"cuda:{device.index}" if device is not None and device.kind == "cuda" else row.device_kind


def _collect(code: int) -> None:
    global _running
    done, _running = _running, None
    try:
        if code:
            raise ValueError(log_tail(done.folder / "log") or f"exit code {code}")
        record_profile(row=done.row, result=json.loads((done.folder / RESULT_FILE).read_text()))
    except (OSError, ValueError) as error:
        logger.warning("the profile %s could not be measured: %s", done.row.pk, error)
        record_profile_error(row=done.row, error=str(error))


def _end(node: Node) -> None:
    global _running
    ended, _running = _running, None
    end_tree(profile_prefix(node.name), grace_seconds=GRACE_SECONDS)
    ended.program.poll()
