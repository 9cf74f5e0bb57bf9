"""A test run that is killed leaves no server, no site and no folder behind."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.stack import ROOT, wait_until

INNER = """
import os
import time


def test_inner(db):
    print("SERVERS", os.environ["LEPTON_TEST_SERVERS"], flush=True)
    time.sleep(600)
"""


def processes_about(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(folder) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


def test_a_killed_run_leaves_nothing() -> None:
    with tempfile.TemporaryDirectory() as folder:
        log, inner = Path(folder, "log"), Path(folder, "test_inner.py")
        inner.write_text(INNER)
        flags = ["-s", "-p", "no:cacheprovider", "-p", "tests.conftest", "-c", "pyproject.toml"]
        with open(log, "w") as output:
            command = [sys.executable, "-m", "pytest", *flags, str(inner)]
            env = {k: v for k, v in os.environ.items() if not k.startswith(("LEPTON_", "PYTEST_"))}
            run = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until(
                lambda: "SERVERS" in log.read_text() or run.poll() is not None, seconds=180, what="the run begins"
            )
            assert run.poll() is None, log.read_text()
            servers = Path(log.read_text().split("SERVERS ")[1].split()[0])
            assert len(processes_about(servers)) >= 2
        finally:
            run.send_signal(signal.SIGKILL)
            run.wait()
        wait_until(lambda: not processes_about(servers), seconds=60, what="its servers end")
        wait_until(lambda: not servers.exists(), seconds=20, what="its folder goes")
