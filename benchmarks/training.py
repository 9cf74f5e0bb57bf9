"""Speed of a training beside a loop by hand, Lightning and the Trainer of Hugging Face, on the same images and network.

``make bench-training`` makes JPEGs, lets the contestants train on them in turns, each in a process of its own, then
shares one training among two processes, then asks a site for the time from submission to the first step. Medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from benchmarks.submit_to_first_step import measure_submit_to_first_step
from benchmarks.training_contestants import CONTESTANTS, Options
from benchmarks.training_data import write_images
from benchmarks.training_scaling import measure_scaling
from workers.parallel.plan import OWN, WHOLE

ROOT = Path(__file__).resolve().parents[1]
BARE, MEMORY, PEERS = "bare_loop", "memory_loop", ("lightning", "trainer")
SAMPLE_SECONDS = 0.25


@dataclass(frozen=True)
class Run:
    """What one training took. `seconds` and `cpu_seconds` from the first look at the data on; `whole_seconds` with the
    start of the interpreter and all imports; `peak_bytes` of the process and its children together (PSS)."""

    seconds: float
    cpu_seconds: float
    whole_seconds: float
    peak_bytes: int
    accuracy: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000, help="to train on; a fifth more to validate with")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--augmentation", default="light")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(CONTESTANTS))
    parser.add_argument("--without-scaling", action="store_true")
    parser.add_argument("--without-site", action="store_true")
    choices = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        write_images(data, choices.images, choices.images // 5)
        options = Options(
            folder=str(data), work="", epochs=choices.epochs, batch_size=choices.batch_size, side=choices.side,
            threads=choices.threads, workers=choices.threads, augmentation=choices.augmentation,
        )  # fmt: skip
        print(f"{choices.images} images, {options}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        found = _alternate(choices.only, options, choices.rounds, Path(folder))
        _report(found, choices.images * choices.epochs)
        scaling = {} if choices.without_scaling else measure_scaling(options, Path(folder))
    start = None if choices.without_site else statistics.median(measure_submit_to_first_step())
    _last_line(found, scaling, start)


def _alternate(names: list[str], options: Options, rounds: int, folder: Path) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            work = folder / f"{name}-{number}"
            work.mkdir()
            run = _train(name, replace(options, work=str(work)))
            found[name].append(run)
            print(
                f"round {number + 1}, {name}: {run.seconds:.1f} s, {run.cpu_seconds:.1f} s of CPU, "
                f"{run.peak_bytes / 2**20:.0f} MB, accuracy {run.accuracy:.3f}",
                flush=True,
            )
    return found


def _train(name: str, options: Options) -> Run:
    path = Path(options.work) / "options.json"
    path.write_text(json.dumps(asdict(options)))
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    if name.startswith("lepton"):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"  # what the program sets for itself before it loads torch
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.training_contestants", name, str(path)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    peak = 0
    while True:
        try:
            said, complaints = process.communicate(timeout=SAMPLE_SECONDS)
            break
        except subprocess.TimeoutExpired:
            peak = max(peak, _memory_of(process.pid))
    if process.returncode:
        raise SystemExit(f"{name} failed:\n{complaints[-3000:]}")
    facts = json.loads(said.strip().splitlines()[-1])
    return Run(whole_seconds=time.perf_counter() - begin, peak_bytes=peak, **facts)


def _memory_of(pid: int) -> int:
    """Bytes of the process and its children; what they share counts once."""
    total = 0
    try:
        for process in (root := psutil.Process(pid), *root.children(recursive=True)):
            total += process.memory_full_info().pss
    except psutil.Error:
        return 0  # one of them has just ended
    return total


def _report(found: dict[str, list[Run]], samples: int) -> None:
    print("\n| contestant | samples/s | samples per second of CPU | whole program, s | peak memory, MB | accuracy |")
    print("|---|---|---|---|---|---|")
    for name, runs in found.items():
        print(
            f"| `{name}` | {samples / _median(runs, 'seconds'):.0f} | {samples / _median(runs, 'cpu_seconds'):.0f} | "
            f"{_median(runs, 'whole_seconds'):.1f} | {_median(runs, 'peak_bytes') / 2**20:.0f} | "
            f"{_median(runs, 'accuracy'):.3f} |"
        )
    if "lepton" not in found:
        return
    for name in found:
        times, cpu, memory = (_ratio(found, name, what) for what in ("seconds", "cpu_seconds", "peak_bytes"))
        print(f"lepton beside {name}: {times:.2f} times as fast, {cpu:.2f} by CPU, memory of it {1 / memory:.2f} times")


def _median(runs: list[Run], what: str) -> float:
    return statistics.median(getattr(run, what) for run in runs)


def _ratio(found: dict[str, list[Run]], name: str, what: str = "seconds") -> float:
    return _median(found[name], what) / _median(found["lepton"], what)


def _last_line(found: dict[str, list[Run]], scaling: dict[str, float], start: float | None) -> None:
    bare = _ratio(found, BARE) if {BARE, "lepton"} <= found.keys() else None
    ratios = [_ratio(found, name) for name in PEERS if {name, "lepton"} <= found.keys()]
    print(
        f"training: ratio_to_bare_loop={_in_words(bare)} ratio_to_best_peer={_in_words(min(ratios, default=None))} "
        f"scaling_2={_in_words(scaling.get(OWN))} scaling_2_exact={_in_words(scaling.get(WHOLE))} "
        f"submit_to_first_step_seconds={_in_words(start)}"
    )


def _in_words(figure: float | None) -> str:
    return "none" if figure is None else f"{figure:.2f}"


if __name__ == "__main__":
    main()
