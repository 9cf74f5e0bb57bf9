"""Seconds from handing in a training to its first step, on a site of its own whose agent has been left to warm up.

Measured by the site's own clock: `seconds_to_first_step` of the job, from its row's creation to the first step's event.
"""

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import leptonai

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5
READY_SECONDS, STEP_SECONDS, PAUSE_SECONDS = 120, 120, 15
SETTINGS = {"epochs": 1, "image_size": 16}
MAKE_KEY = """
from apps.accounts.models import Team, User
from apps.accounts.services import create_api_key
user = User.objects.filter(is_superuser=True).first()
print("KEY", create_api_key(team=Team.objects.filter(memberships__user=user).first(), user=user, name="bench")[1])
"""


def measure_starts() -> float:
    """The median over a few jobs, with a pause before each in which a waiting process can be made ready."""
    with _site() as (folder, url, key), leptonai.Client(key, url) as client:
        archive = folder / "digits.zip"
        subprocess.run([sys.executable, "-m", "workers.examples", "digits", str(archive)], cwd=ROOT, check=True)
        dataset = client.datasets.wait(client.datasets.create("Digits", archive), timeout=READY_SECONDS)
        found = []
        for number in range(RUNS):
            time.sleep(PAUSE_SECONDS)
            job = client.jobs.train(dataset["id"], model_name="digits", preset="fast", hyperparameters=SETTINGS)
            done = client.jobs.wait(job, timeout=STEP_SECONDS)
            found.append(client.jobs.get(done)["seconds_to_first_step"])
            print(f"start {number + 1}: {found[-1]:.2f} s from handing in to the first step", flush=True)
    return statistics.median(found)


@contextmanager
def _site() -> Iterator[tuple[Path, str, str]]:
    """A temporary folder, the address of a site in it, and an API key."""
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        url, log = f"http://127.0.0.1:{port}", Path(folder) / "up.log"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("LEPTON_")}
        ours = {name: value for name, value in ours.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        ours |= {"LEPTON_HOME": folder, "LEPTON_BASE_URL": url, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "manage.py", "up", "--port", str(port)]
        with open(log, "wb") as out:
            process = subprocess.Popen(command, cwd=ROOT, env=ours, stdout=out, stderr=subprocess.STDOUT)
        try:
            _wait_until_ready(process, log)
            shell = [sys.executable, "manage.py", "shell", "-v", "0", "-c", MAKE_KEY]
            said = subprocess.run(shell, cwd=ROOT, env=ours, capture_output=True, text=True, check=True).stdout
            yield Path(folder), url, next(line.split()[1] for line in said.splitlines() if line.startswith("KEY"))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(READY_SECONDS)


def _wait_until_ready(process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while "Lepton is ready at" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"The site does not start:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)
