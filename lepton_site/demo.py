"""The main job, done the way a user's program would: through the SDK, over HTTP.

Every step looks first for what an earlier run left, so a second run is quick.
"""

import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import leptonai

DATASET = "Handwritten digits"
MODEL = "digits"
BAR_WIDTH = 28
PATIENCE_SECONDS = 900
ACCEPTED_POINTS = 1.0
INT8 = [{"method": "quantise"}]  # one candidate, so that the demo is quick


class ProgressBar:
    """One line that fills; on a pipe only the finished line is printed."""

    def __init__(self, title: str, out: TextIO) -> None:
        self.title, self.out = title, out
        self.began = time.monotonic()

    def show(self, fraction: float, note: str = "") -> None:
        if self.out.isatty():
            self.out.write(f"\r{self._line(fraction, note)[:110]:<110}")
            self.out.flush()

    def done(self, note: str) -> None:
        start = "\r" if self.out.isatty() else ""
        self.out.write(f"{start}{self._line(1.0, note):<110}".rstrip() + "\n")
        self.out.flush()

    def _line(self, fraction: float, note: str) -> str:
        filled = round(BAR_WIDTH * fraction)
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        seconds = time.monotonic() - self.began
        return f"{self.title:<9} {bar} {fraction:4.0%} {seconds:6.1f} s  {note}"


@dataclass
class Demo:
    """`archive` is the ZIP of class folders to upload."""

    client: leptonai.Client
    archive: Path
    out: TextIO = field(default_factory=lambda: sys.stdout)

    def run(self) -> dict[str, Any]:
        """The whole job; returns the prediction."""
        dataset = self.upload()
        job = self.train(dataset)
        version = self.compress(job)
        deployment = self.deploy(version)
        return self.classify(dataset, deployment)

    @contextmanager
    def step(self, title: str) -> Iterator[ProgressBar]:
        bar = ProgressBar(title, self.out)
        bar.show(0.0)
        yield bar

    def upload(self) -> leptonai.Record:
        with self.step("Upload") as bar:
            found = self.client.datasets.list(name=DATASET)
            if not found:
                found = [self.client.datasets.create(DATASET, self.archive, on_progress=lambda p: bar.show(p.fraction))]
            bar.done(f"{self.archive.stat().st_size / 1000:.0f} kB, {DATASET}")
        with self.step("Check") as bar:
            dataset = self.client.datasets.wait(found[0], timeout=PATIENCE_SECONDS)
            report = dataset["latest_version"]["report"]
            splits = ", ".join(f"{count} {split}" for split, count in report["splits"].items())
            bar.done(f"{report['items']} images of {len(report['classes'])} classes: {splits}")
        return dataset

    def train(self, dataset: leptonai.Record) -> leptonai.Record:
        with self.step("Train") as bar:
            jobs = self.client.jobs.list(kind="train", status="succeeded")
            job = next((job for job in jobs if (job["model"] or {}).get("name") == MODEL), None)
            if job is None:
                job = self.client.jobs.train(dataset["id"], model_name=MODEL)
            job = self.follow(job, bar)
            metrics = job["result"]["metrics"]["test"]
            size = job["result"]["model_bytes"]
            bar.done(f"test accuracy {metrics['accuracy']:.4f}, {size / 1000:.0f} kB{_first_step(job)}")
        return job

    def compress(self, trained: leptonai.Record) -> tuple[int, int]:
        """(model id, version number) of the version to serve: the small one where it is better for at most a point."""
        with self.step("Compress") as bar:
            model = trained["model"]
            jobs = self.client.jobs.list(kind="compress", status="succeeded")
            job = next((job for job in jobs if job["model"] and job["model"]["name"] == MODEL), None)
            if job is None:
                job = self.client.jobs.compress(
                    model["id"], version=model["version"], limit_points=ACCEPTED_POINTS, recipes=[INT8]
                )
            job = self.follow(job, bar)
            bar.done(_compared(job["result"]))
        chosen = job["model"] or model
        return chosen["id"], chosen["version"]

    def deploy(self, version: tuple[int, int]) -> leptonai.Record:
        with self.step("Deploy") as bar:
            found = self.client.deployments.list(name=MODEL)
            if not found:
                found = [self.client.deployments.create(version[0], version=version[1], name=MODEL)]
            deployment = self.client.deployments.wait(found[0], timeout=PATIENCE_SECONDS)
            bar.done(f"ready at {deployment['endpoint']}")
        return deployment

    def classify(self, dataset: leptonai.Record, deployment: leptonai.Record) -> dict[str, Any]:
        with self.step("Classify") as bar:
            truth, image = self.held_out_image(dataset)
            model = self.client.load_model(deployment["name"])
            began = time.perf_counter()
            prediction = model.predict(image)
            milliseconds = (time.perf_counter() - began) * 1000
            bar.done(f"an image the model has never seen, of a {truth}: {milliseconds:.1f} ms")
        return prediction

    def held_out_image(self, dataset: leptonai.Record) -> tuple[str, bytes]:
        """(class, bytes) of an image of the test split."""
        version = dataset["latest_version"]["number"]
        with tempfile.TemporaryDirectory() as folder:
            index = self.client.datasets.download(dataset, folder, version=version, names=["index.jsonl"])[0]
            items = [json.loads(line) for line in index.read_text().splitlines()]
        item = next(item for item in items if item["split"] == "test" and item["label"] == "7")
        with zipfile.ZipFile(self.archive) as archive:
            member = next(name for name in archive.namelist() if name.endswith(item["source"].split("/")[-1]))
            return item["label"], archive.read(member)

    def follow(self, job: leptonai.Record, bar: ProgressBar) -> leptonai.Record:
        for record in self.client.jobs.follow(job, timeout=PATIENCE_SECONDS):
            progress = record["progress"]
            bar.show(progress.get("fraction", 0.0), progress.get("message", "") or record["status"])
        return self.client.jobs.wait(job)


def _compared(result: dict[str, Any]) -> str:
    before, after = result["before"], result["after"]
    if after is None:
        return f"the original stays the best: {' '.join(result['reasons'])}"
    return (
        f"{before['bytes'] / 1000:.0f} → {after['bytes'] / 1000:.0f} kB, "
        f"accuracy {before['metrics']['accuracy']:.4f} → {after['metrics']['accuracy']:.4f}, "
        f"{before['latency_p50_ms']:.2f} → {after['latency_p50_ms']:.2f} ms"
    )


def _first_step(job: leptonai.Record) -> str:
    seconds = job.get("seconds_to_first_step")
    return f", first step {seconds:.1f} s after submit" if seconds else ""


def rounded(prediction: dict[str, Any]) -> str:
    """The prediction as one line of JSON."""
    return json.dumps({**prediction, "probability": round(prediction["probability"], 4)})
