"""Small image models of handwritten digits, trained in a second, and runs of the fusion program on them."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from tests.training.images import write_digits
from workers.contract import IMAGE_CLASSIFICATION, EventWriter, FusedModel, FuseSpec
from workers.fusion.program import fuse
from workers.training.classifiers import split_rows
from workers.training.image_data import ImageSource, build_store, channel_statistics, read_index
from workers.training.image_models import ImageClassifier
from workers.training.images import ImageData, write_files
from workers.training.stopping import Stop

SIDE = 8
BRIEFLY = 0.02  # speed is not what these tests are about
CLASSES = [str(number) for number in range(10)]


def load_digits(folder: Path, count: int = 600) -> ImageData:
    """`count` digits at 8 x 8 pixels, written to `folder` as a data set version."""
    write_digits(folder, count)
    rows = read_index(folder / "index.jsonl")
    labels = np.array([CLASSES.index(row.label) for row in rows])
    source = ImageSource(folder / "data.zip", 1)
    store = build_store(folder / "cache", source, rows, SIDE, 1, lambda _share: None)
    return ImageData(source, rows, CLASSES, labels, split_rows([row.split for row in rows], labels, 0, "image"), store)


def arguments_for(data: ImageData, widths: tuple[int, ...] = (8, 16)) -> dict:
    mean, deviation = channel_statistics(data.store, data.splits["train"])
    fixed = {"channels": 1, "classes": 10, "stem_stride": 1, "dropout": 0.0, "mean": mean, "deviation": deviation}
    return {"widths": list(widths), "blocks": 1, **fixed}


def new_classifier(data: ImageData, seed: int) -> ImageClassifier:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return ImageClassifier(**arguments_for(data))


def trained_on(model: nn.Module, data: ImageData, *, epochs: int, seed: int, rate: float) -> nn.Module:
    """A copy of `model` after more epochs, whose order comes from `seed`."""
    model = copy.deepcopy(model).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        for rows in np.array_split(generator.permutation(data.splits["train"]), 15):
            loss = F.cross_entropy(model(torch.from_numpy(data.store[rows])), torch.from_numpy(data.labels[rows]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    # In so short a training the running statistics lag behind.
    update_bn([torch.from_numpy(data.store[data.splits["train"]])], model)
    return model.eval()


def save(model: nn.Module, data: ImageData, folder: Path, *, seed: int = 0) -> Path:
    """The folder of a model version, as training leaves it."""
    write_files(model, data, folder)
    size = {"kind": "image", "height": SIDE, "width": SIDE, "channels": 1}
    meta = {"task": IMAGE_CLASSIFICATION, "architecture": "resnet_tiny", "architecture_args": arguments_for(data)}
    meta |= {"classes": CLASSES, "input": size, "runtime": "onnx", "sample": "sample.png"}
    (folder / "meta.json").write_text(json.dumps(meta | {"hyperparameters": {"seed": seed}}))
    return folder


def spec_for(work: Path, data: Path, models: list[Path], method: str, **changes) -> FuseSpec:
    """`data` is a folder with data.zip or data.csv and its index; the models are called after their folders."""
    is_image = (data / "data.zip").exists()
    names = ("data.zip", "index.jsonl") if is_image else ("data.csv", "index.json")
    values = {
        "work_dir": str(work),
        "task": IMAGE_CLASSIFICATION,
        "models": tuple(FusedModel(path.name, str(path)) for path in models),
        "method": method,
        "data_path": str(data / names[0]),
        "index_path": str(data / names[1]),
        "speed_seconds": BRIEFLY,
    }
    return FuseSpec(**values | changes)


def run(spec: FuseSpec) -> dict:
    """The body of result.json."""
    fuse(spec, EventWriter(Path(spec.work_dir) / "events.jsonl"), Stop())
    return json.loads((Path(spec.work_dir) / "output/result.json").read_text())
