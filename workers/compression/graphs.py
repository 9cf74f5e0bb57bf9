"""Static int8 quantisation of an ONNX graph: weights per output channel, activations calibrated on real samples.

Loaded only where there is a graph: ONNX's tools take a second to load.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from workers.contract import ProgramFailure

QUANTISABLE = ("Conv", "Gemm", "MatMul")
SMALL_INITIALIZER = 64

Feed = dict[str, np.ndarray]


@dataclass(frozen=True)
class Recipe:
    """How the ranges of activations are found."""

    name: str
    method: CalibrationMethod


RECIPES = (
    Recipe("int8, ranges from the extremes", CalibrationMethod.MinMax),
    Recipe("int8, ranges without the rarest values", CalibrationMethod.Percentile),
)


class Feeds(CalibrationDataReader):
    """Calibration samples, one at a time."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._left: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._left, None)


def quantise_graph(source: Path, target: Path, feeds: Sequence[Feed], recipe: Recipe) -> list[str]:
    """Write the int8 form of the graph `source` to `target`; returns notes on what stayed as it was.

    Raises ProgramFailure nothing_to_compress when no layer can be quantised.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        folded = Path(folder) / "folded.onnx"
        quant_pre_process(str(source), str(folded), skip_symbolic_shape=True)
        graph = _named(folded)
        layers = [node for node in graph.graph.node if _has_weights(node, graph)]
        if not layers:
            raise ProgramFailure(
                "nothing_to_compress",
                "The model's graph has no layer with weights that int8 could make smaller.",
                hint="Deploy it as it is: it is small already.",
                blame="settings",
            )
        quantize_static(
            str(folded),
            str(target),
            Feeds(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_operators(graph),
            nodes_to_exclude=_after_the_last_layer(graph),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=recipe.method,
        )
    shorten(target)
    return _left_as_they_were(target)


def _named(path: Path) -> onnx.ModelProto:
    """The graph at `path`, each of its nodes with a name of its own, by which nodes are left out."""
    model = onnx.load(path)
    for number, node in enumerate(model.graph.node):
        node.name = f"{number}"
    onnx.save(model, path)
    return model


def _operators(model: onnx.ModelProto) -> list[str] | None:
    """None is all that can be. Where a graph asks for NaN, which marks a missing value and which int8 does not have,
    only layers with weights: what reaches those is a number."""
    asks_for_nan = any(node.op_type == "IsNaN" for node in model.graph.node)
    return list(QUANTISABLE) if asks_for_nan else None


def _after_the_last_layer(model: onnx.ModelProto) -> list[str]:
    """What turns the last layer's numbers into the answer costs nothing and stays exact: probabilities that were
    rounded to 256 steps would no longer sum to one. A graph of several models has a last layer of each."""
    leads_to_a_layer: set[str] = set()
    after = []
    for node in reversed(model.graph.node):
        if _has_weights(node, model) or leads_to_a_layer.intersection(node.output):
            leads_to_a_layer.update(node.input)
        else:
            after.append(node.name)
    return after


def _has_weights(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    constants = {item.name for item in model.graph.initializer}
    return node.op_type in QUANTISABLE and any(name in constants for name in node.input)


def _left_as_they_were(path: Path) -> list[str]:
    """Layers with float weights of a size that matters."""
    graph = onnx.load(path).graph
    floats = {item.name: math.prod(item.dims) for item in graph.initializer if item.data_type == onnx.TensorProto.FLOAT}
    kept: Counter[str] = Counter()
    for node in graph.node:
        largest = max((floats.get(name, 0) for name in node.input), default=0)
        if largest > SMALL_INITIALIZER and node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            kept[node.op_type] += largest
    return [f"{kind}: {count:,} weights stay 32-bit numbers." for kind, count in kept.items()]


def shorten(path: Path) -> None:
    """Give inner tensors short names and drop comments: in a small graph the names outweigh the weights."""
    model = onnx.load(path)
    names = _short_names(model)
    for node in model.graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.name = node.doc_string = ""
        del node.metadata_props[:]
    for item in model.graph.initializer:
        item.name, item.doc_string = names[item.name], ""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _short_names(model: onnx.ModelProto) -> dict[str, str]:
    """Old name to new. The graph's inputs and outputs keep theirs, and all do where a node holds a graph of its own,
    which may speak of any of them."""
    graph = model.graph
    used = dict.fromkeys(name for node in graph.node for name in (*node.input, *node.output))
    used |= dict.fromkeys(item.name for item in graph.initializer)
    kept = {item.name for item in (*graph.input, *graph.output)} | {""}
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        kept |= set(used)
    return {name: name if name in kept else f"t{number:x}" for number, name in enumerate(used)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's quantiser prints advice that does not concern the user."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger().setLevel(level)
