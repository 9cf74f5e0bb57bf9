"""Small image data sets as the preparation program leaves them, and runs of the training program on them."""

import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tests.training.here import write_training
from workers.contract import EVENTS_FILE, IMAGE_CLASSIFICATION, read_events

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"model": "resnet_tiny", "batch_size": 32, "image_size": 16, "mixed_precision": "no"}


def png(pixels: np.ndarray) -> bytes:
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "PNG")
    return body.getvalue()


def write_images(folder: Path, items: Sequence[tuple[str, str, np.ndarray]]) -> Path:
    """Write data.zip and index.jsonl from (label, split, pixels)."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "data.zip", "w") as archive, open(folder / "index.jsonl", "w") as index:
        for number, (label, split, pixels) in enumerate(items):
            body, member = png(pixels), f"{number:05d}.png"
            archive.writestr(member, body)
            row = {
                "member": member,
                "label": label,
                "split": split,
                "width": pixels.shape[1],
                "height": pixels.shape[0],
                "sha256": hashlib.sha256(body).hexdigest(),
                "source": f"{split}/{label}/{member}",
            }
            index.write(json.dumps(row) + "\n")
    return folder


def write_digits(folder: Path, count: int) -> Path:
    """The first `count` handwritten digits of scikit-learn: 80 % train, 10 % val, 10 % test."""
    digits = load_digits()
    splits = ["train"] * 8 + ["val", "test"]
    return write_images(
        folder,
        [
            (str(label), splits[number % 10], np.round(pixels * 15.9375).astype(np.uint8))
            for number, (pixels, label) in enumerate(zip(digits.images[:count], digits.target, strict=False))
        ],
    )


def make_spec(work: Path, data: Path, *, resume: bool = False, **overrides: object) -> Path:
    return write_training(work, data, IMAGE_CLASSIFICATION, QUICK | overrides, resume=resume)


def start(spec: Path, before: Callable[[], None] | None = None) -> subprocess.Popen:
    """`before` is called in the new process, ahead of the program."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "workers.training", str(spec)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, preexec_fn=before)


def events_of(work: Path) -> list[dict]:
    return [event for event, _ in read_events(work / EVENTS_FILE)]


def wait_for(work: Path, condition: Callable[[list[dict]], bool], seconds: float = 60.0) -> None:
    """Return once the events in `work` fulfil `condition`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition(events_of(work)):
        assert time.monotonic() < deadline, events_of(work)[-3:]
        time.sleep(0.02)
