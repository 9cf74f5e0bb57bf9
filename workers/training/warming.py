"""Load everything a training needs before there is one: all trainers, and what torch loads when it is first used."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy  # noqa: F401
import scipy.linalg  # noqa: F401
from PIL import Image

from workers.contract import EVENTS_FILE, IMAGE_CLASSIFICATION, EventWriter, TrainSpec
from workers.domains import TASKS
from workers.training.hyperparameters import resolve
from workers.training.stopping import Stop

# numpy and scipy start threads of their own when they are imported. These take the priority of whoever imports them,
# and `warm_up` may run at a low one; so they are imported with this module and not there.
FORMATS = ("PNG", "JPEG")
IMAGES, SIDE = 16, 16


def warm_up() -> None:
    """Import every trainer and train on a few made-up images, from the first decoded to the model exported."""
    with _no_gpu(), tempfile.TemporaryDirectory() as folder:
        trainers = {task.name: task.load("trainer") for task in TASKS.values()}
        spec = _write_example(Path(folder))
        trainers[spec.task].train(spec, EventWriter(Path(folder) / EVENTS_FILE), Stop())


@contextmanager
def _no_gpu() -> Iterator[None]:
    """CUDA reads only once which devices it may use. So it is not to be asked before the training's devices are known:
    with this variable torch asks the driver's management library, which is told that there are none."""
    meanwhile = {"CUDA_VISIBLE_DEVICES": "", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    before = {name: os.environ.get(name) for name in meanwhile}
    os.environ.update(meanwhile)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _write_example(folder: Path) -> TrainSpec:
    """Some images of two classes, as a data set version of the site."""
    lines = []
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        for number in range(IMAGES):
            image, body = Image.new("L", (SIDE, SIDE), 255 * (number % 2)), io.BytesIO()
            image.save(body, FORMATS[number // 2 % 2])
            member = f"{number}.image"
            archive.writestr(member, body.getvalue())
            split = "val" if number >= IMAGES // 2 else "train"
            row = {"member": member, "label": str(number % 2), "split": split, "width": SIDE, "height": SIDE}
            lines.append(json.dumps(row | {"source": member}))
    (folder / "index.jsonl").write_text("\n".join(lines))
    settings = resolve(IMAGE_CLASSIFICATION, overrides={"epochs": 1, "batch_size": 4})
    paths = {"data_path": str(folder / "data.zip"), "index_path": str(folder / "index.jsonl")}
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    return TrainSpec(str(folder), IMAGE_CLASSIFICATION, hyperparameters=settings, threads=threads, **paths)
