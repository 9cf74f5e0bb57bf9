"""The servers that ``make bench-serving`` asks: each in processes of its own, with its requests ready to be sent."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

READY_SECONDS = 120.0
REST, QUIET_SECONDS = 0.1, 10  # cores
ROOT = Path(__file__).resolve().parent.parent
PRODUCT = Path(os.environ.get("PY", ".venv/bin/python"))
BOUNDARY = "lepton-bench"
PATHS = {"torchserve": "/predictions/bench"}  # of the others "/predict"
LEPTON = "lepton"


@dataclass
class Contestant:
    """A server that listens on `port` and answers at `path`. `requests` are files with what its clients send; `home` is
    Lepton's folder and `secret` an API key."""

    name: str
    port: int
    path: str
    process: subprocess.Popen
    requests: list[str] = field(default_factory=list)
    home: Path | None = None
    secret: str = ""

    def processes(self) -> list[psutil.Process]:
        if self.home is not None:
            from lepton_site.processes import stack_processes

            return [psutil.Process(self.process.pid), *stack_processes(self.home)]
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def cpu_seconds(self) -> float:
        total = 0.0
        for process in {process.pid: process for process in self.processes()}.values():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def memory_mb(self) -> float:
        """What the processes have for themselves, and their part of what they share (PSS)."""
        total = 0
        for process in {process.pid: process for process in self.processes()}.values():
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total / 1e6

    def end(self) -> None:
        """Lepton ends in order; of the others no worker is left, whatever its parent does."""
        self.send(signal.SIGCONT)
        left = self.processes() if self.home is None else []
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60 if self.home else 5)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def send(self, number: int) -> None:
        """SIGSTOP or SIGCONT; Lepton goes on beating."""
        for process in self.processes() if self.home is None else []:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_peer(name: str, model: Path, log: Path, decoder: str) -> Contestant:
    port = free_port()
    environment = os.environ | {
        "BENCH_MODEL": str(model), "BENCH_DECODER": decoder, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
        "ORT_DISABLE_TELEMETRY": "1",
        "BENTOML_HOME": str(log.parent / "bentoml"), "BENTOML_DO_NOT_TRACK": "True",
    }  # fmt: skip
    program, _, variant = name.partition("_")
    command = [sys.executable, "-m", f"benchmarks.serving_peers.{program}", str(port), *filter(None, [variant])]
    with open(log, "wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    return Contestant(name, port, PATHS.get(name, "/predict"), process)


def start_lepton(home: Path, models: Mapping[str, Path], replicas: int = 1) -> list[Contestant]:
    """One site with a deployment of each of `models`, which gives them their names."""
    port = free_port()
    foreign = ("LEPTON_", "DATABASE_", "REDIS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environment = kept | {"LEPTON_HOME": str(home), "LEPTON_BASE_URL": f"http://127.0.0.1:{port}"}
    log = home / "up.log"
    with open(log, "wb") as file:
        command = [str(PRODUCT), "manage.py", "up", "--port", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    wait_until(lambda: "Lepton is ready at" in log.read_text(), process, log)
    named = [f"{name}={folder}" for name, folder in models.items()]
    done = subprocess.run(
        [PRODUCT, "-m", "benchmarks.serving_lepton", str(replicas), *named],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"Lepton could not deploy the model:\n{done.stdout}{done.stderr}")
    secret = done.stdout.split()[-1]
    return [Contestant(name, port, f"/v1/models/{name}/predict", process, home=home, secret=secret) for name in models]


def wait_for_rest(contestant: Contestant) -> None:
    """Until its processes have taken less than a tenth of a core for ten seconds: a site that was just started, or has
    just deployed something, goes on to load the programs that wait for the next job."""
    deadline, quiet = time.monotonic() + READY_SECONDS, 0
    while quiet < QUIET_SECONDS and time.monotonic() < deadline:
        before = contestant.cpu_seconds()
        time.sleep(1.0)
        quiet = quiet + 1 if contestant.cpu_seconds() - before < REST else 0


def wait_until(condition: Callable[[], bool], process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"A server did not start. Its log:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.2)


def write_requests(folder: Path, pictures: Sequence[Path], contestant: Contestant) -> None:
    """The bytes of each request, ready to be sent."""
    folder.mkdir(parents=True, exist_ok=True)
    is_form = contestant.name in ("litserve", "bentoml")
    field_name = "request" if contestant.name == "litserve" else "file"
    for picture in pictures:
        body, kind = picture.read_bytes(), "image/jpeg"
        if is_form:
            head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field_name}"; filename="{picture.name}"\r\n'
            body = f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + body + f"\r\n--{BOUNDARY}--\r\n".encode()
            kind = f"multipart/form-data; boundary={BOUNDARY}"
        lines = [
            f"POST {contestant.path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
        ]
        lines += [f"Authorization: Bearer {contestant.secret}"] if contestant.secret else []
        target = folder / picture.stem
        target.write_bytes("\r\n".join([*lines, "", ""]).encode() + body)
        contestant.requests.append(str(target))


def is_answering(contestant: Contestant) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", contestant.port), 2) as connection:
            connection.settimeout(20)
            connection.sendall(Path(contestant.requests[0]).read_bytes())
            return connection.recv(12).endswith(b"200")
    except OSError:
        return False
