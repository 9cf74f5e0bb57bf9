"""Predictions a second over HTTP, beside other serving frameworks: ``make bench-serving``.

The same exported model and the same pictures for all; 1, 8 and 32 clients in a closed loop, in a process of their own;
rounds that alternate, medians of the rounds. Lepton answers through its whole public path, with API key and rate limit.
While one is measured, the processes of the other frameworks are stopped (SIGSTOP); Lepton's site runs all the time.
The CPU of a request is that of all processes that serve it: of Lepton also its databases, workers and agent.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.serving_model import write_model, write_pictures
from benchmarks.serving_peers import FASTAPI, FASTAPI_TUNED, PEERS

LEVELS = (1, 8, 32)
PICTURES = 24
READY_SECONDS = 120.0
ROOT = Path(__file__).resolve().parent.parent
PRODUCT = Path(os.environ.get("PY", ".venv/bin/python"))
BOUNDARY = "lepton-bench"
PATHS = {"lepton": "/v1/models/bench/predict", "torchserve": "/predictions/bench"}  # of the others "/predict"
LEPTON, BARE = "lepton", "bare model"


@dataclass(frozen=True)
class Figures:
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    errors: int


@dataclass
class Contestant:
    """A server that listens on `port`. `requests` are files with what its clients send; `home` is Lepton's folder."""

    name: str
    port: int
    process: subprocess.Popen
    requests: list[str] = field(default_factory=list)
    home: Path | None = None

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


# Starting


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_peer(name: str, model: Path, log: Path, decoder: str) -> Contestant:
    port = free_port()
    environment = os.environ | {
        "BENCH_MODEL": str(model), "BENCH_DECODER": decoder, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
        "BENTOML_HOME": str(log.parent / "bentoml"), "BENTOML_DO_NOT_TRACK": "True",
    }  # fmt: skip
    program, _, variant = name.partition("_")
    command = [sys.executable, "-m", f"benchmarks.serving_peers.{program}", str(port), *filter(None, [variant])]
    with open(log, "wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    return Contestant(name, port, process)


def start_lepton(home: Path, model: Path, replicas: int = 1) -> tuple[Contestant, str]:
    """Also the secret of an API key."""
    port = free_port()
    foreign = ("LEPTON_", "DATABASE_", "REDIS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environment = kept | {"LEPTON_HOME": str(home), "LEPTON_BASE_URL": f"http://127.0.0.1:{port}"}
    with open(home / "up.log", "wb") as file:
        command = [str(PRODUCT), "manage.py", "up", "--port", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    contestant = Contestant(LEPTON, port, process, home=home)
    wait_until(lambda: "Lepton is ready at" in (home / "up.log").read_text(), process, home / "up.log")
    done = subprocess.run(
        [PRODUCT, "-m", "benchmarks.serving_lepton", str(model), str(replicas)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"Lepton could not deploy the model:\n{done.stdout}{done.stderr}")
    return contestant, done.stdout.split()[-1]


def wait_until(condition, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"A server did not start. Its log:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.2)


def write_requests(folder: Path, pictures: list[Path], contestant: Contestant, secret: str = "") -> None:
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
            f"POST {PATHS.get(contestant.name, '/predict')} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
        ]
        lines += [f"Authorization: Bearer {secret}"] if secret else []
        target = folder / picture.stem
        target.write_bytes("\r\n".join([*lines, "", ""]).encode() + body)
        contestant.requests.append(str(target))


# Measuring


class Clients:
    """The process that asks."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving_client"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, contestant: Contestant, clients: int, seconds: float) -> dict:
        asked = {"port": contestant.port, "requests": contestant.requests, "clients": clients, "seconds": seconds}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def measure(clients: Clients, contestant: Contestant, count: int, seconds: float) -> Figures:
    contestant.send(signal.SIGCONT)
    clients.ask(contestant, count, min(0.5, seconds / 4))  # connections, caches, page faults
    cpu = contestant.cpu_seconds()
    found = clients.ask(contestant, count, seconds)
    cpu = contestant.cpu_seconds() - cpu
    contestant.send(signal.SIGSTOP)
    latencies = sorted(found["latencies"])
    answered = max(1, len(latencies))
    return Figures(
        per_second=len(latencies) / found["seconds"],
        p50_ms=1000 * latencies[len(latencies) // 2],
        p99_ms=1000 * latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
        cpu_ms=1000 * cpu / answered,
        errors=found["errors"],
    )


def measure_bare(model: Path, pictures: list[Path], seconds: float) -> Figures:
    """Decoding and the graph, one after the other in this process."""
    from workers.inference.predictor import load_predictor

    predictor = load_predictor(model, threads=1)
    bodies = [picture.read_bytes() for picture in pictures]
    latencies: list[float] = []
    cpu, ends_at = time.process_time(), time.perf_counter() + seconds
    while (began := time.perf_counter()) < ends_at:
        predictor.predict([bodies[len(latencies) % len(bodies)]])
        latencies.append(time.perf_counter() - began)
    cpu = time.process_time() - cpu
    latencies.sort()
    rank = int(len(latencies) * 0.99)
    return Figures(
        len(latencies) / sum(latencies), 1000 * latencies[len(latencies) // 2], 1000 * latencies[rank],
        1000 * cpu / len(latencies), 0,
    )  # fmt: skip


def medians(rounds: list[Figures]) -> Figures:
    def middle(name: str) -> float:
        return statistics.median(getattr(item, name) for item in rounds)

    names = ("per_second", "p50_ms", "p99_ms", "cpu_ms")
    return Figures(**{name: middle(name) for name in names}, errors=sum(item.errors for item in rounds))


# The whole


@contextlib.contextmanager
def servers(
    folder: Path, model: Path, pictures: list[Path], names: list[str], decoder: str
) -> Iterator[list[Contestant]]:
    started: list[Contestant] = []
    try:
        home = folder / "lepton"
        home.mkdir(mode=0o700)
        lepton, secret = start_lepton(home, model)
        started.append(lepton)
        write_requests(folder / "requests" / LEPTON, pictures, lepton, secret)
        for name in names:
            peer = start_peer(name, model, folder / f"{name}.log", decoder)
            started.append(peer)
            write_requests(folder / "requests" / name, pictures, peer)
            wait_until(lambda peer=peer: is_answering(peer), peer.process, folder / f"{name}.log")
            peer.send(signal.SIGSTOP)
        yield started
    finally:
        for contestant in started:
            contestant.end()


def is_answering(contestant: Contestant) -> bool:
    import socket

    try:
        with socket.create_connection(("127.0.0.1", contestant.port), 2) as connection:
            connection.settimeout(20)
            connection.sendall(Path(contestant.requests[0]).read_bytes())
            return connection.recv(12).endswith(b"200")
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="resnet_tiny", help="the architecture")
    parser.add_argument("--side", type=int, default=64, help="pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--decoder", default="pillow", choices=("pillow", "lepton"), help="what the peers decode with")
    choices = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "lepton_site.settings"
    found: dict[tuple[str, int], list[Figures]] = defaultdict(list)
    bare: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as name:
        folder = Path(name).resolve()
        pictures = write_pictures(folder / "pictures", PICTURES)
        write_model(folder / "model", choices.model, choices.side, pictures[0])
        with servers(folder, folder / "model", pictures, choices.peers, choices.decoder) as started:
            clients = Clients()
            for _round in range(choices.rounds):
                bare.append(measure_bare(folder / "model", pictures, choices.seconds / 2))
                for count in LEVELS:
                    for contestant in started:
                        found[contestant.name, count].append(measure(clients, contestant, count, choices.seconds))
            memory = {contestant.name: contestant.memory_mb() for contestant in started}
            clients.process.stdin.close()
            clients.process.wait(10)
    report(choices, {key: medians(rounds) for key, rounds in found.items()}, medians(bare), memory)


def report(
    choices: argparse.Namespace, found: dict[tuple[str, int], Figures], bare: Figures, memory: dict[str, float]
) -> None:
    print(f"{choices.model}, {choices.side} pixels; the peers decode with {choices.decoder}")
    print(f"medians of {choices.rounds} rounds of {choices.seconds:g} s")
    print(f"{'':<14}{'clients':>8}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'errors':>8}{'MB':>8}")
    rows = [((BARE, 1), bare), *sorted(found.items(), key=lambda item: (item[0][1], item[0][0]))]
    for (name, count), item in rows:
        print(
            f"{name:<14}{count:>8}{item.per_second:>12.0f}{item.p50_ms:>9.2f}{item.p99_ms:>9.2f}{item.cpu_ms:>9.2f}"
            f"{item.errors:>8}{memory.get(name, 0):>8.0f}"
        )
    ours, most = found[LEPTON, LEVELS[-1]], LEVELS[-1]
    peers = [name for name in choices.peers if name not in (FASTAPI, FASTAPI_TUNED)]
    best = max((found[name, most].per_second for name in peers), default=0.0)
    lowest_p99 = min((found[name, most].p99_ms for name in peers), default=0.0)
    fastapi = found[FASTAPI, most].per_second if (FASTAPI, most) in found else 0.0
    print(
        f"serving: rps_ratio_to_best_peer={_ratio(ours.per_second, best)} "
        f"rps_ratio_to_fastapi={_ratio(ours.per_second, fastapi)} "
        f"p99_ratio_to_best_peer={_ratio(ours.p99_ms, lowest_p99)} "
        f"cpu_ms_per_request={ours.cpu_ms:.2f} ratio_to_bare_model={_ratio(ours.cpu_ms, bare.cpu_ms)}"
    )


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}" if theirs else "none"


if __name__ == "__main__":
    main()
