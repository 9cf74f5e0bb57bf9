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
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving_compressed import write_compressed
from benchmarks.serving_contestants import (
    LEPTON,
    ROOT,
    Contestant,
    is_answering,
    start_lepton,
    start_peer,
    wait_for_rest,
    wait_until,
    write_requests,
)
from benchmarks.serving_model import write_model, write_pictures
from benchmarks.serving_peers import FASTAPI, FASTAPI_TUNED, PEERS

LEVELS = (1, 8, 32)
PICTURES = 24
BARE = "bare model"


@dataclass(frozen=True)
class Figures:
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    errors: int


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
    folder: Path, models: dict[str, Path], pictures: list[Path], names: list[str], decoder: str
) -> Iterator[list[Contestant]]:
    """Lepton with all of `models`, and the peers `names` with the first of them."""
    started: list[Contestant] = []
    try:
        home = folder / "site"
        home.mkdir(mode=0o700)
        started += start_lepton(home, models)
        for ours in started:
            write_requests(folder / "requests" / ours.name, pictures, ours)
        for name in names:
            peer = start_peer(name, models[LEPTON], folder / f"{name}.log", decoder)
            started.append(peer)
            write_requests(folder / "requests" / name, pictures, peer)
            wait_until(lambda peer=peer: is_answering(peer), peer.process, folder / f"{name}.log")
            peer.send(signal.SIGSTOP)
        wait_for_rest(started[0])
        yield started
    finally:
        for contestant in started:
            contestant.end()


def write_models(folder: Path, pictures: list[Path], choices: argparse.Namespace) -> dict[str, Path]:
    """The model, and what compressions leave of it, by the names under which Lepton serves them."""
    models = {LEPTON: folder / "model"}
    write_model(models[LEPTON], choices.model, choices.side, pictures[0])
    for share in choices.compressed:
        name = f"{LEPTON}-{share:.0%}-int8".replace("%", "") if share else f"{LEPTON}-int8"
        models[name] = folder / name
        print(f"{name}: {write_compressed(models[LEPTON], pictures, share, models[name])}", flush=True)
    return models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="resnet_tiny", help="the architecture; also resnet18")
    parser.add_argument("--side", type=int, default=64, help="pixels")
    parser.add_argument(
        "--compressed", type=float, nargs="*", default=[], metavar="SHARE",
        help="Lepton also serves the model in int8 with this share of its channels removed; 0 removes none",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--clients", type=int, nargs="*", default=LEVELS, help="at once; the last number is compared")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--decoder", default="pillow", choices=("pillow", "lepton"), help="what the peers decode with")
    choices = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "lepton_site.settings"
    found: dict[tuple[str, int], list[Figures]] = defaultdict(list)
    bare: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as name:
        folder = Path(name).resolve()
        pictures = write_pictures(folder / "pictures", PICTURES)
        models = write_models(folder, pictures, choices)
        with servers(folder, models, pictures, choices.peers, choices.decoder) as started:
            clients = Clients()
            for _round in range(choices.rounds):
                bare.append(measure_bare(models[LEPTON], pictures, choices.seconds / 2))
                for count in choices.clients:
                    for contestant in started:
                        found[contestant.name, count].append(measure(clients, contestant, count, choices.seconds))
            memory = {contestant.name: contestant.memory_mb() for contestant in started}
            clients.process.stdin.close()
            clients.process.wait(10)
    medians_of = {key: medians(rounds) for key, rounds in found.items()}
    report(choices, medians_of, medians(bare), memory)
    for name in models:
        print(last_line(name, choices, medians_of, medians(bare)))


def report(
    choices: argparse.Namespace, found: dict[tuple[str, int], Figures], bare: Figures, memory: dict[str, float]
) -> None:
    print(f"{choices.model}, {choices.side} pixels; the peers decode with {choices.decoder}")
    print(f"medians of {choices.rounds} rounds of {choices.seconds:g} s")
    print(f"{'':<16}{'clients':>8}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'errors':>8}{'MB':>8}")
    rows = [((BARE, 1), bare), *sorted(found.items(), key=lambda item: (item[0][1], item[0][0]))]
    for (name, count), item in rows:
        print(
            f"{name:<16}{count:>8}{item.per_second:>12.1f}{item.p50_ms:>9.2f}{item.p99_ms:>9.2f}{item.cpu_ms:>9.2f}"
            f"{item.errors:>8}{memory.get(name, 0):>8.0f}"
        )


def last_line(name: str, choices: argparse.Namespace, found: dict[tuple[str, int], Figures], bare: Figures) -> str:
    """How what Lepton serves under `name` compares at the last number of clients."""
    most = choices.clients[-1]
    ours = found[name, most]
    peers = [found[peer, most] for peer in choices.peers if peer not in (FASTAPI, FASTAPI_TUNED)]
    best = max((peer.per_second for peer in peers), default=0.0)
    lowest_p99 = min((peer.p99_ms for peer in peers), default=0.0)
    fastapi = found[FASTAPI, most].per_second if (FASTAPI, most) in found else 0.0
    return (
        f"serving{name.removeprefix(LEPTON)}: rps_ratio_to_best_peer={_ratio(ours.per_second, best)} "
        f"rps_ratio_to_fastapi={_ratio(ours.per_second, fastapi)} "
        f"p99_ratio_to_best_peer={_ratio(ours.p99_ms, lowest_p99)} "
        f"cpu_ms_per_request={ours.cpu_ms:.2f} ratio_to_bare_model={_ratio(ours.cpu_ms, bare.cpu_ms)}"
    )


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}" if theirs else "none"


if __name__ == "__main__":
    main()
