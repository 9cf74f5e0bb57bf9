"""Seconds from a submit to the first training step on a live site: ``python -m benchmarks.submit_to_first_step``.

Starts a whole site in a temporary folder (`manage.py up`), uploads scikit-learn's handwritten digits, trains once so
that everything has been used, and then submits trainings one after the other through the SDK. Each is submitted once
the node has its spare interpreter ready, as on a site that is used now and then, and is cancelled after its first step.
Both ends are times of the database: ``Job.created_at`` and ``Job.first_step_at``. With ``--trace`` each hand-over is
shown too.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

import leptonai
from lepton_site import embedded
from lepton_site.supervisor import Address, is_answering

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 180.0
LOOK_SECONDS = 0.05
MAKE_KEY = """
from apps.accounts.models import Team, User
from apps.accounts.services import create_api_key
user = User.objects.filter(is_superuser=True).first()
print("KEY", create_api_key(team=Team.objects.filter(memberships__user=user).first(), user=user, name="bench")[1])
"""
TIMES = """
SELECT extract(epoch FROM job.created_at)::float8 AS submitted,
       extract(epoch FROM claim.granted_at)::float8 AS granted,
       (SELECT extract(epoch FROM min(at))::float8 FROM jobs_jobevent WHERE job_id = job.id AND status = 'starting')
           AS claimed,
       extract(epoch FROM job.started_at)::float8 AS running,
       extract(epoch FROM job.first_step_at)::float8 AS first_step
FROM jobs_job job JOIN resources_allocation claim ON claim.id = job.allocation_id WHERE job.id = %s
"""


@dataclass(frozen=True)
class Start:
    """One training: seconds from its submit to its first step, and to each hand-over before."""

    seconds: float
    hand_overs: dict[str, float]


def measure_submit_to_first_step(count: int = 5, *, environment: dict[str, str] | None = None) -> list[float]:
    """Seconds from submit to first step of `count` trainings on a site of its own, started with `environment` too."""
    return [start.seconds for start in measure_starts(count, environment=environment)]


def measure_starts(count: int, *, environment: dict[str, str] | None = None) -> list[Start]:
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as folder:
        home = Path(folder).resolve()
        with _site(home, environment or {}) as (url, key), leptonai.Client(key, url) as client:
            archive = home / "digits.zip"
            _run([sys.executable, "-m", "workers.examples", "digits", str(archive)])
            dataset = client.datasets.wait(client.datasets.create("Digits", archive), timeout=PATIENCE_SECONDS)
            has_spares = (environment or {}).get("LEPTON_SPARES", "1") != "0"
            starts = [_start_once(client, dataset, home, has_spares) for _number in range(count + 1)]
            return starts[1:]  # the first one warms up


@contextmanager
def _site(home: Path, environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(address, API key) of a site that runs in `home` for as long as the context."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", probe.getsockname()[1])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LEPTON_")}
    clean = {name: value for name, value in clean.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    env = clean | {"LEPTON_HOME": str(home)} | environment
    log_path = home / "up.log"
    with open(log_path, "wb") as log:
        command = [sys.executable, "manage.py", "up", "--port", str(address.port)]
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait(lambda: is_answering(address) or process.poll() is not None, "the site answers")
        if process.poll() is not None:
            raise SystemExit(f"The site did not start:\n{log_path.read_text(errors='replace')[-2000:]}")
        printed = _run([sys.executable, "manage.py", "shell", "-v", "0", "-c", MAKE_KEY], env=env)
        yield address.url, next(line.split()[1] for line in printed.splitlines() if line.startswith("KEY"))
    finally:
        process.terminate()
        process.wait()


def _run(command: list[str], env: dict[str, str] | None = None) -> str:
    return subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout


def _wait(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"Not within {PATIENCE_SECONDS:g} seconds: {what}.")
        time.sleep(LOOK_SECONDS)


def _start_once(client: leptonai.Client, dataset: leptonai.Record, home: Path, has_spares: bool) -> Start:
    if has_spares:
        _wait(lambda: list(home.glob("nodes/*/spares/*/program.ready")), "a spare interpreter waits")
    job = client.jobs.train(dataset["id"], model_name="digits")
    _wait(lambda: client.jobs.get(job)["seconds_to_first_step"], "the first step is taken")
    hand_overs = _hand_overs(home, job["id"])
    client.jobs.cancel(job)
    _wait(lambda: client.jobs.get(job)["status"] == "cancelled", "the training has ended")
    return Start(hand_overs["first step known"], hand_overs)


def _hand_overs(home: Path, job_id: int) -> dict[str, float]:
    """Seconds after the submit: from the database, and from what the program itself wrote down."""
    with psycopg.connect(embedded.database_url(home), row_factory=dict_row) as connection:
        row = connection.execute(TIMES, [job_id]).fetchone()
    submitted = row["submitted"]
    moments = {"granted": row["granted"], "claimed": row["claimed"], "marked running": row["running"]}
    (path,) = home.glob(f"nodes/*/jobs/{job_id}-*/events.jsonl")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    for name, kind in {"program speaks": "progress", "data read": "log", "first step taken": "metric"}.items():
        moments[name] = next(event["at"] for event in events if event["type"] == kind)
    moments["first step known"] = row["first_step"]
    return {name: moment - submitted for name, moment in sorted(moments.items(), key=lambda pair: pair[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5, help="how many trainings are measured")
    parser.add_argument("--trace", action="store_true", help="show each hand-over")
    parser.add_argument("--without-spares", action="store_true", help="start every interpreter anew, for comparison")
    choices = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that the site is stopped
    environment = {"LEPTON_SPARES": "0"} if choices.without_spares else {}
    starts = measure_starts(choices.count, environment=environment)
    for start in starts if choices.trace else []:
        print("; ".join(f"{name} {seconds:.3f}" for name, seconds in start.hand_overs.items()))
    seconds = [start.seconds for start in starts]
    print(
        f"submit_to_first_step_seconds: median={statistics.median(seconds):.2f} min={min(seconds):.2f} "
        f"max={max(seconds):.2f} count={len(seconds)}"
    )


if __name__ == "__main__":
    main()
