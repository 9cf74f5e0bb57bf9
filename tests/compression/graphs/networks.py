"""Small networks of each kind, exported as the training program exports: the graphs that the tests make smaller."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from workers.compression.graphs import Feed, quantise_graph
from workers.training.export import export_onnx
from workers.training.image_models import ImageClassifier, ImageProbabilities

CERTAINTY = 6.0  # untrained networks hesitate between all classes; times this, a wrong bit can be seen
STEP = {"method": "quantise", "scheme": "int8", "ranges": "extremes", "equalise": False, "correct_bias": False}


@dataclass(frozen=True)
class Network:
    """A graph at `path`, `feed` with 64 inputs, and what the graph answers to them."""

    path: Path
    feed: Feed

    @property
    def feeds(self) -> list[Feed]:
        """Calibration samples: the first half, one by one."""
        return [{name: values[row : row + 1] for name, values in self.feed.items()} for row in range(32)]

    @property
    def expected(self) -> np.ndarray:
        return ask(self.path, self.feed)


class Attention(nn.Module):
    """Words to four classes, through two layers of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(200, 48)
        layers = [nn.TransformerEncoderLayer(48, 4, 96, batch_first=True) for _ in range(2)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(48, 4)

    def forward(self, words: Tensor) -> Tensor:
        return (CERTAINTY * self.head(self.layers(self.embedding(words)).mean(dim=1))).softmax(dim=1)


class Recurrent(nn.Module):
    """Series to four classes."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(12, 40, batch_first=True)
        self.head = nn.Linear(40, 4)

    def forward(self, series: Tensor) -> Tensor:
        return (CERTAINTY * self.head(self.gru(series)[1][0])).softmax(dim=1)


class Table(nn.Module):
    """Rows with missing values to three classes; wide enough for products with stored weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 3)
        )  # fmt: skip

    def forward(self, numeric: Tensor) -> Tensor:
        known = torch.where(torch.isnan(numeric), torch.zeros_like(numeric), numeric)
        return (CERTAINTY * self.layers(known)).softmax(dim=1)


def pictures(channels: int = 3) -> Tensor:
    """uint8 [64, 16, 16, channels]: bright spots on dark ground, somewhat noisy."""
    rng = np.random.default_rng(0)
    images = rng.normal(70, 15, (64, 16, 16, channels))
    for image in images:
        row, column = rng.integers(0, 10, 2)
        image[row : row + 6, column : column + 6] += rng.uniform(40, 150, channels)
    return torch.from_numpy(np.clip(images, 0, 255).astype(np.uint8))


def image_network(folder: Path, means: tuple[float, ...] = (90.0, 100.0, 80.0)) -> Network:
    """A residual network of 8 convolutions whose normalisations have seen the pictures."""
    torch.manual_seed(0)
    channels = len(means)
    model = ImageClassifier(
        channels=channels, classes=5, widths=(16, 32, 32), blocks=1, stem_stride=1, dropout=0.0, mean=means,
        deviation=[45.0] * channels,
    )  # fmt: skip
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            module.momentum = 1.0  # what it knows after one look at all pictures
    images = pictures(channels)
    model.train()
    with torch.no_grad():
        model(images)
    model.eval()
    model.divide_logits(1 / CERTAINTY)
    return _export(ImageProbabilities(model), {"image": images}, folder)


def attention_network(folder: Path) -> Network:
    torch.manual_seed(0)
    return _export(Attention(), {"words": torch.randint(0, 200, (64, 10))}, folder)


def recurrent_network(folder: Path) -> Network:
    torch.manual_seed(0)
    return _export(Recurrent(), {"series": torch.randn(64, 16, 12)}, folder)


def table_network(folder: Path) -> Network:
    torch.manual_seed(0)
    rows = torch.randn(64, 20)
    rows[::7, 3] = float("nan")
    return _export(Table(), {"numeric": rows}, folder)


NETWORKS: dict[str, Callable[[Path], Network]] = {
    "image": image_network,
    "attention": attention_network,
    "recurrent": recurrent_network,
    "table": table_network,
}


def _export(model: nn.Module, inputs: dict[str, Tensor], folder: Path) -> Network:
    path = folder / "exact.onnx"
    export_onnx(model, inputs, "answer", path)
    return Network(path, {name: values.numpy() for name, values in inputs.items()})


def ask(path: Path, feed: Feed) -> np.ndarray:
    """The answer of a graph that nothing but its own file is known of."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


def quantised(network: Network, **choices) -> tuple[Path, list[str]]:
    """The file of a smaller graph, and the notes."""
    target = network.path.with_name("smaller.onnx")
    return target, quantise_graph(network.path, target, network.feeds, STEP | choices)
