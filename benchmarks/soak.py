"""Whether serving stays right and up while its replicas are killed: ``make soak-serving``.

A deployment with two replicas of a small model is asked by clients in a closed loop; every few seconds one replica's
process is ended by SIGKILL, as long as another one lives. Every answer is held against what the model itself says, and
the memory of the web server and of the node's agent is written down. Exits with 1 where an answer was wrong or lost.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.serving_contestants import LEPTON, PRODUCT, Contestant, start_lepton, write_requests
from benchmarks.serving_model import write_model, write_pictures
from lepton_site.processes import stack_processes
from workers.inference.predictor import load_predictor

PICTURES, REPLICAS = 24, 2
KILL_SECONDS = (20.0, 50.0)
LOOK_SECONDS = 5.0
TOLERANCE = 1e-4  # of a probability
WATCHED = {"web": "uvicorn", "agent": "node_agent"}
RIGHT, WRONG, LOST, REFUSED = "right", "wrong", "lost", "refused"

Expected = dict[str, float | str]


@dataclass
class Soak:
    """`requests` are (bytes to send, what the answer must say); `memory` is in MB by what is watched."""

    port: int
    home: Path
    requests: list[tuple[bytes, Expected]]
    ends_at: float
    answers: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    kills: int = 0
    memory: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "lepton_site.settings"
    with tempfile.TemporaryDirectory(prefix="lepton-soak-") as name:
        folder = Path(name).resolve()
        pictures = write_pictures(folder / "pictures", PICTURES)
        write_model(folder / "model", "resnet_tiny", 64, pictures[0])
        home = folder / "lepton"
        home.mkdir(mode=0o700)
        (lepton,) = start_lepton(home, {LEPTON: folder / "model"}, replicas=REPLICAS)
        try:
            write_requests(folder / "requests", pictures, lepton)
            soak = Soak(lepton.port, home, requests_of(lepton, folder / "model", pictures), 0.0)
            soak.ends_at = time.monotonic() + 60 * asked.minutes
            asyncio.run(run(soak, asked.clients, random.Random(asked.seed)))
        finally:
            lepton.end()
    print(last_line(soak, asked.minutes))
    return 1 if soak.answers[WRONG] or soak.answers[LOST] else 0


def requests_of(lepton: Contestant, model: Path, pictures: list[Path]) -> list[tuple[bytes, Expected]]:
    predictor = load_predictor(model, threads=1)
    expected = [predictor.outcome(predictor.predict([picture.read_bytes()])[0]) for picture in pictures]
    return [(Path(path).read_bytes(), said) for path, said in zip(lepton.requests, expected, strict=True)]


async def run(soak: Soak, clients: int, draw: random.Random) -> None:
    tasks = [ask_for_ever(soak, number) for number in range(clients)]
    await asyncio.gather(*tasks, kill_for_ever(soak, draw), watch(soak))


async def ask_for_ever(soak: Soak, number: int) -> None:
    """One client: a connection that is kept, and another one where it breaks."""
    while not soak.is_over:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", soak.port)
            while not soak.is_over:
                number += 1
                body, expected = soak.requests[number % len(soak.requests)]
                began = time.monotonic()
                writer.write(body)
                soak.answers[judge(*await read_answer(reader), expected)] += 1
                soak.slowest = max(soak.slowest, time.monotonic() - began)
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            soak.answers[LOST] += 1
            await asyncio.sleep(0.1)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    length = next(int(line.partition(b":")[2]) for line in head if line.startswith(b"content-length:"))
    return int(head[0].split()[1]), await reader.readexactly(length)


def judge(status: int, body: bytes, expected: Expected) -> str:
    if status in (429, 503):
        return REFUSED
    if status != 200:
        return LOST
    said = json.loads(body)
    is_right = said["class"] == expected["class"] and abs(said["probability"] - expected["probability"]) < TOLERANCE
    return RIGHT if is_right else WRONG


async def kill_for_ever(soak: Soak, draw: random.Random) -> None:
    while not soak.is_over:
        await asyncio.sleep(min(draw.uniform(*KILL_SECONDS), max(0.0, soak.ends_at - time.monotonic())))
        ready = await asyncio.to_thread(ready_replicas, soak.home)
        if len(ready) >= REPLICAS and not soak.is_over:
            with suppress(psutil.NoSuchProcess):
                draw.choice(lanes_of(draw.choice(ready))).kill()
                soak.kills += 1


def lanes_of(pid: int) -> list[psutil.Process]:
    """The processes of a replica whose first has this number. Raises psutil.NoSuchProcess."""
    first = psutil.Process(pid)
    return [first, *first.children()]


def ready_replicas(home: Path) -> list[int]:
    """Process ids of the replicas that have answered their sample, as the site knows them."""
    code = (
        "import django; django.setup(); from apps.deployments.models import Replica; "
        "print(*Replica.objects.filter(status='ready').values_list('pid', flat=True))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", "REDIS_"))}
    done = subprocess.run(
        [PRODUCT, "-c", code], env=kept | {"LEPTON_HOME": str(home)}, capture_output=True, text=True, check=True
    )
    return [int(pid) for pid in done.stdout.split()]


async def watch(soak: Soak) -> None:
    while not soak.is_over:
        for name, size in (await asyncio.to_thread(memory_of, soak.home)).items():
            soak.memory[name].append(size)
        await asyncio.sleep(LOOK_SECONDS)


def memory_of(home: Path) -> dict[str, float]:
    """Resident megabytes of what is watched."""
    found: dict[str, float] = defaultdict(float)
    for process in stack_processes(home):
        with suppress(psutil.Error):
            command = process.cmdline()
            for name, word in WATCHED.items():
                if word in command:
                    found[name] += process.memory_info().rss / 1e6
    return found


def last_line(soak: Soak, minutes: float) -> str:
    answered = soak.answers[RIGHT] + soak.answers[WRONG]
    grown = []
    for name, sizes in sorted(soak.memory.items()):
        part = max(1, len(sizes) // 5)  # the first fifth is warming up
        first, last = statistics.median(sizes[part : 2 * part] or sizes), statistics.median(sizes[-part:])
        grown.append(f"{name}_mb={first:.0f}->{last:.0f}")
    return (
        f"soak: minutes={minutes:g} answers={answered} per_second={answered / (60 * minutes):.0f} kills={soak.kills} "
        f"wrong={soak.answers[WRONG]} lost={soak.answers[LOST]} refused={soak.answers[REFUSED]} "
        f"slowest_seconds={soak.slowest:.2f} {' '.join(grown)}"
    )


if __name__ == "__main__":
    sys.exit(main())
