"""A multi-layer perceptron for tables: numbers are embedded piecewise linearly, categories by lookup, and several
members share one trunk (TabM): each sees the inputs through its own scaling and has its own last layer.

Imported only when an mlp is to be trained, because torch takes seconds to load.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from workers.tables.encoder import Encoded
from workers.training.batches import Batches
from workers.training.export import export_onnx
from workers.training.hyperparameters import choose_batch_size
from workers.training.loop import Evaluation, fit, prepare_torch
from workers.training.losses import Loss, balanced_class_weights, make_loss
from workers.training.tables.data import Fold, Target
from workers.training.tables.study import FittedMember, Study
from workers.trees import Arrays

MEMBERS = 8
MAX_BINS = 24
ROWS_PER_BIN = 15
EMBEDDING = 8
EVALUATION_ROWS, EXPORT_ROWS = 4096, 64


@dataclass(frozen=True)
class Shape:
    """What fixes the form of the network. `outputs` is the number of classes, 1 for regression."""

    numeric_count: int
    code_counts: tuple[int, ...]
    outputs: int
    hidden_size: int
    hidden_layers: int
    dropout: float
    bins: int


def find_knots(numeric: np.ndarray, bins: int) -> Tensor:
    """float32 [F, bins + 1]: quantiles of each feature; a feature with fewer values repeats its last knot."""
    knots = np.zeros((numeric.shape[1], bins + 1), dtype=np.float32)
    for index, values in enumerate(numeric.T):
        known = values[~np.isnan(values)]
        found = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1))) if len(known) else np.zeros(1)
        knots[index] = np.pad(found, (0, bins + 1 - len(found)), mode="edge")
    return torch.from_numpy(knots)


class PiecewiseLinear(nn.Module):
    """Numbers [N, F] to [N, F * EMBEDDING]: how much of each bin a value fills, then a linear layer a feature."""

    def __init__(self, count: int, bins: int) -> None:
        super().__init__()
        self.register_buffer("knots", torch.zeros(count, bins + 1))
        self.weight = nn.Parameter(torch.randn(count, bins, EMBEDDING) / math.sqrt(bins))
        self.bias = nn.Parameter(torch.zeros(count, EMBEDDING))
        self.missing = nn.Parameter(torch.zeros(count, EMBEDDING))

    def forward(self, numeric: Tensor) -> Tensor:
        low, high = self.knots[:, :-1], self.knots[:, 1:]
        absent = torch.isnan(numeric)
        values = torch.where(absent, torch.zeros_like(numeric), numeric)[..., None]
        filled = ((values - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        embedded = torch.einsum("nfb,fbe->nfe", filled, self.weight) + self.bias
        return torch.where(absent[..., None], self.missing, torch.relu(embedded)).flatten(1)


class Categories(nn.Module):
    """Codes [N, C] to [N, C * EMBEDDING], by one lookup table for all features."""

    def __init__(self, code_counts: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("offsets", torch.tensor([0, *np.cumsum(code_counts[:-1]).tolist()]))
        self.table = nn.Embedding(sum(code_counts), EMBEDDING)

    def forward(self, categorical: Tensor) -> Tensor:
        return self.table(categorical + self.offsets).flatten(1)


class TabularMLP(nn.Module):
    """Outputs of every member: [N, MEMBERS, outputs]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.numeric = PiecewiseLinear(shape.numeric_count, shape.bins) if shape.numeric_count else None
        self.categories = Categories(shape.code_counts) if shape.code_counts else None
        width = EMBEDDING * (shape.numeric_count + len(shape.code_counts))
        self.scaling = nn.Parameter(torch.randint(0, 2, (MEMBERS, width)) * 2.0 - 1.0)
        layers: list[nn.Module] = []
        for inputs in [width] + [shape.hidden_size] * (shape.hidden_layers - 1):
            layers += [nn.Linear(inputs, shape.hidden_size), nn.ReLU(), nn.Dropout(shape.dropout)]
        self.trunk = nn.Sequential(*layers)
        bound = 1 / math.sqrt(shape.hidden_size)
        self.head = nn.Parameter(torch.empty(MEMBERS, shape.hidden_size, shape.outputs).uniform_(-bound, bound))
        self.head_bias = nn.Parameter(torch.zeros(MEMBERS, shape.outputs))

    def forward(self, *inputs: Tensor) -> Tensor:
        """`inputs` are numeric and categorical, or the one of them that the table has."""
        embeddings = [module for module in (self.numeric, self.categories) if module is not None]
        parts = [embed(values) for embed, values in zip(embeddings, inputs, strict=True)]
        hidden = self.trunk(torch.cat(parts, dim=1)[:, None] * self.scaling)
        return torch.einsum("nkh,kho->nko", hidden, self.head) + self.head_bias


class Served(nn.Module):
    """The mean of all members of all networks: probabilities [N, classes] or standardised values [N]."""

    def __init__(self, networks: list[TabularMLP], classes: int) -> None:
        super().__init__()
        self.networks, self.classes = nn.ModuleList(networks), classes

    def forward(self, *inputs: Tensor) -> Tensor:
        outputs = torch.cat([network(*inputs) for network in self.networks], dim=1)
        return outputs.softmax(dim=2).mean(dim=1) if self.classes else outputs.mean(dim=1)[:, 0]


class MlpCandidate:
    """Trains `TabularMLP` with the loop that trains every torch model."""

    name = family = "mlp"

    def fit(self, study: Study, fold: Fold, key: str, span: tuple[float, float]) -> FittedMember:
        settings, table = study.hyperparameters, study.table
        prepare_torch(study.threads, settings["seed"])
        train = table.encoded[fold.train]
        network = TabularMLP(network_shape(study))
        if network.numeric is not None:
            network.numeric.knots.copy_(find_knots(train.numeric, network.numeric.knots.shape[1] - 1))
        targets = _targets(study, fold.train)
        batch_size = choose_batch_size(settings["batch_size"], len(targets))
        batches = Batches(list(named_inputs(train).values()), targets, batch_size, settings["seed"])
        result = fit(
            network,
            batches,
            lambda model: _evaluate(model, study, fold.holdout),
            _member_loss(settings, targets, study.classes),
            hyperparameters=settings,
            events=study.curves(key),
            stop=study.stop,
            checkpoints=study.keeper.store_for(key),
            resume=True,
            device=study.device,
            span=span,
        )
        arrays = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
        return FittedMember(arrays, result.history)

    def predict(self, study: Study, arrays: Arrays, rows: Encoded) -> np.ndarray:
        """Probabilities [N, classes] or standardised values [N]."""
        network = _load(study, arrays)
        return _run(Served([network], study.classes).eval(), rows)

    def export(self, study: Study, members: list[Arrays]) -> onnx.ModelProto:
        """A graph of "numeric" [N, F] and "categorical" [N, C] to "probabilities" [N, K] or "value" [N]."""
        served = Served([_load(study, arrays) for arrays in members], study.classes)
        samples = named_inputs(study.table.encoded[study.table.development[:EXPORT_ROWS]])
        output = "probabilities" if study.classes else "standardised"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            export_onnx(served, samples, output, path)
            graph = onnx.load(path)
        return graph if study.classes else in_unit(graph, output, study.table.target)


def named_inputs(rows: Encoded) -> dict[str, Tensor]:
    """numeric and categorical, or the one of them that the table has."""
    arrays = {"numeric": rows.numeric, "categorical": rows.categorical}
    return {name: torch.from_numpy(values) for name, values in arrays.items() if values.shape[1]}


def in_unit(model: onnx.ModelProto, output: str, target: Target) -> onnx.ModelProto:
    """`model` with "value", in the target's own unit, in place of its standardised `output`."""
    constants = {"target_scale": target.scale, "target_mean": target.mean}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, dtype=np.float32), name) for name, value in constants.items()
    )
    model.graph.node.append(helper.make_node("Mul", [output, "target_scale"], ["scaled"]))
    model.graph.node.append(helper.make_node("Add", ["scaled", "target_mean"], ["value"]))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("value", TensorProto.FLOAT, ["batch"]))
    return model


def network_shape(study: Study) -> Shape:
    settings, encoder = study.hyperparameters, study.table.encoder
    bins = min(MAX_BINS, max(2, len(study.table.splits["train"]) // ROWS_PER_BIN))
    return Shape(
        len(encoder.numeric_features),
        tuple(encoder.code_counts),
        study.classes or 1,
        settings["hidden_size"],
        settings["hidden_layers"],
        settings["dropout"],
        bins,
    )


def _load(study: Study, arrays: Arrays) -> TabularMLP:
    network = TabularMLP(network_shape(study))
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return network.eval()


def _targets(study: Study, rows: np.ndarray) -> Tensor:
    return torch.from_numpy(study.table.targets[rows]).to(torch.int64 if study.classes else torch.float32)


def _member_loss(settings: dict[str, Any], targets: Tensor, classes: int) -> Loss:
    """The mean of every member's own loss: members that were trained on their mean would all become alike."""
    weights = balanced_class_weights(targets, classes) if settings.get("class_weights") == "balanced" else None
    loss = make_loss(settings, weights)
    return Loss(
        lambda outputs, wanted: loss(outputs.flatten(0, 1), wanted.repeat_interleave(outputs.shape[1])), loss.weigh
    )


def _evaluate(model: nn.Module, study: Study, rows: np.ndarray) -> Evaluation:
    device = next(model.parameters()).device
    predicted = _run(Served([model], study.classes).eval(), study.table.encoded[rows], device)
    loss = study.loss(predicted, rows)
    return Evaluation(-loss, {"loss": loss, **study.headline(predicted, rows)})


@torch.no_grad()
def _run(served: Served, rows: Encoded, device: Any = "cpu") -> np.ndarray:
    outputs = []
    for start in range(0, len(rows), EVALUATION_ROWS):
        inputs = named_inputs(rows[start : start + EVALUATION_ROWS]).values()
        outputs.append(served(*(values.to(device) for values in inputs)).cpu().numpy())
    return np.concatenate(outputs).astype(np.float64)
