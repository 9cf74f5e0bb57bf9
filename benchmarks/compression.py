"""How small and how fast Lepton's search makes a trained model, beside what other libraries make of the same one.

``make bench-compression``: trains one model for each data set, hands it to every contestant, then asks them all for the
test split (accuracy) and, in turns, one item at a time on one thread (latency of the model alone, medians).
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.compression_peers import Contestant, float_model, make_peers
from benchmarks.data_sets import DataSet, prepared_paths, read_sets
from benchmarks.training_data import write_images
from workers.compression.measuring import serving_bytes
from workers.compression.program import compress
from workers.compression.recipes import resolve
from workers.compression.samples import Samples, load_samples
from workers.compression.work import Work
from workers.contract import IMAGE_CLASSIFICATION, CompressSpec, EventWriter, TrainSpec
from workers.inference.files import read_meta
from workers.inference.predictor import Predictor, load_predictor
from workers.preprocessing.__main__ import prepare
from workers.training.__main__ import run as train
from workers.training.hyperparameters import resolve as resolve_training
from workers.training.stopping import Stop

ROUNDS, SINGLES = 7, 60
BATCH = 64


@dataclass(frozen=True)
class Result:
    name: str
    size_bytes: int
    accuracy: float
    latency_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with a sets.json that lists data sets")
    parser.add_argument("--sets", nargs="*", default=[], help="names in sets.json; none are images that are made here")
    parser.add_argument("--model", default="resnet_small", help="the network that image sets are trained with")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--limit", type=float, default=1.0, help="points of accuracy that may be lost")
    parser.add_argument("--seconds", type=int, default=900, help="of each search")
    parser.add_argument("--trials", type=int, default=12)
    choices = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as folder:
        sets = _sets(choices)
        lines = [_compare(entry, choices, Path(folder, entry.name)) for entry in sets]
    _last_line(lines)


# The model


def _sets(choices: argparse.Namespace) -> list[DataSet]:
    if not choices.sets:
        return [DataSet("made_images", IMAGE_CLASSIFICATION, "accuracy", {})]
    return read_sets(choices.data, choices.sets)


def _prepare(entry: DataSet, folder: Path, events: EventWriter) -> dict[str, str]:
    if not entry.files:
        write_images(folder, 1600, 400)
        return {"data_path": str(folder / "data.zip"), "index_path": str(folder / "index.jsonl")}
    prepare(entry.without_ignored(folder / "without").spec(folder), events)
    return prepared_paths(folder)


def _train(entry: DataSet, choices: argparse.Namespace, paths: dict[str, str], folder: Path) -> Path:
    changes = {"epochs": choices.epochs, "model": choices.model} if entry.task == IMAGE_CLASSIFICATION else {}
    spec = TrainSpec(
        str(folder), entry.task, hyperparameters=resolve_training(entry.task, "balanced", changes),
        target=entry.target, threads=os.cpu_count() or 1, cache_dir=str(folder / "cache"), **paths,
    )  # fmt: skip
    train(spec, EventWriter(folder / "events.jsonl"), Stop())
    return folder / "output" / "model"


# The contestants


def _compare(entry: DataSet, choices: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train, compress, measure and print; returns the ratios of this set."""
    for name in ("data", "train", "search", "peers"):
        (folder / name).mkdir(parents=True)
    events = EventWriter(folder / "events.jsonl")
    paths = _prepare(entry, folder / "data", events)
    begin = time.monotonic()
    source = _train(entry, choices, paths, folder / "train")
    print(f"\n{entry.name}: trained in {time.monotonic() - begin:.0f} s", flush=True)
    settings = resolve(
        entry.task, {"limit_points": choices.limit, "seconds": choices.seconds, "trials": choices.trials}
    )
    spec = CompressSpec(
        str(folder / "search"), entry.task, str(source), settings=settings, target=entry.target,
        cache_dir=str(folder / "cache"), **paths,
    )  # fmt: skip
    begin = time.monotonic()
    found = compress(spec, EventWriter(folder / "search" / "events.jsonl"), Stop())
    print(f"search: {found['verdict']}, candidate {found['chosen']}, in {time.monotonic() - begin:.0f} s", flush=True)
    _print_candidates(folder / "search" / "events.jsonl")
    work = Work(
        spec, events, Stop(), read_meta(source), load_predictor(source, 1), load_samples(spec, read_meta(source))
    )
    chosen = folder / "search" / "output" / "model"
    contestants = [
        float_model(source, folder / "peers", work.calibration_feeds(), work.meta),
        _lepton(chosen if chosen.exists() else source),
        *make_peers(source, folder / "peers", work.calibration_feeds(), work.meta),
    ]
    results = _measure(contestants, work.original, work.samples[work.judged])
    return _table(results)


def _print_candidates(path: Path) -> None:
    for line in path.read_text().splitlines():
        event = json.loads(line)
        if event["type"] == "candidate" and (figures := event["figures"]):
            print(
                f"  {event['number']:>2} {event['verdict']:8} {figures['bytes']:>10,} B "
                f"{figures['speed_ratio']:>6.2f}x {figures['lost_points']:>+6.2f}  {event['name']}"
            )
        elif event["type"] == "candidate":
            print(f"  {event['number']:>2} {event['verdict']:8} {event['name']}: {event['reason']}")


def _lepton(folder: Path) -> Contestant:
    predictor = load_predictor(folder, 1)

    def answer(feed: dict[str, np.ndarray]) -> np.ndarray:
        return predictor.run(next(iter(feed.values())))

    return Contestant("Lepton, search", serving_bytes(folder, read_meta(folder)), answer)


def _measure(contestants: list[Contestant], original: Predictor, samples: Samples) -> list[Result]:
    feeds = [original.feed([item]) for item in samples.inputs]
    accuracies = []
    for contestant in contestants:
        answers = [contestant.answer(feed)[0].argmax() for feed in feeds]
        accuracies.append(float(np.mean(np.array(answers) == samples.targets)))
    times: list[list[float]] = [[] for _ in contestants]
    for _round in range(ROUNDS):
        for contestant, found in zip(contestants, times, strict=True):
            for feed in feeds[:SINGLES]:
                begin = time.perf_counter()
                contestant.answer(feed)
                found.append(time.perf_counter() - begin)
    return [
        Result(contestant.name, contestant.size_bytes, accuracy, statistics.median(found) * 1000)
        for contestant, accuracy, found in zip(contestants, accuracies, times, strict=True)
    ]


# What is printed


def _table(results: list[Result]) -> dict[str, Any]:
    whole, ours, *peers = results
    print(f"{'':28}{'bytes':>12}{'times smaller':>15}{'accuracy':>10}{'p50 ms':>10}{'times faster':>14}")
    for result in results:
        size, speed = whole.size_bytes / result.size_bytes, whole.latency_ms / result.latency_ms
        print(
            f"{result.name:28}{result.size_bytes:>12,}{size:>15.2f}{result.accuracy:>10.4f}{result.latency_ms:>10.4f}"
            f"{speed:>14.2f}",
            flush=True,
        )
    return {
        "size": whole.size_bytes / ours.size_bytes,
        "speed": whole.latency_ms / ours.latency_ms,
        "drop": 100 * (whole.accuracy - ours.accuracy),
        "peer_size": max((whole.size_bytes / peer.size_bytes for peer in peers), default=math.nan),
        "peer_speed": max((whole.latency_ms / peer.latency_ms for peer in peers), default=math.nan),
    }


def _last_line(lines: list[dict[str, Any]]) -> None:
    """Geometric means over the sets, and the largest drop."""
    mean = {name: statistics.geometric_mean(line[name] for line in lines) for name in lines[0] if name != "drop"}
    print(
        f"\ncompression: size_ratio={mean['size']:.2f} speedup={mean['speed']:.2f} "
        f"accuracy_drop_points={max(line['drop'] for line in lines):.2f} "
        f"best_peer_size_ratio={mean['peer_size']:.2f} best_peer_speedup={mean['peer_speed']:.2f}"
    )


if __name__ == "__main__":
    main()
