"""An ONNX graph as something to ask and to change: who makes a tensor, who reads it, which nodes are layers."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization.shape_inference import quant_pre_process

from workers.contract import ProgramFailure

LAYERS = ("Conv", "Gemm", "MatMul")
SMALL_INITIALIZER = 64
WARNING, ERROR = 2, 3  # ONNX Runtime's numbers

Feed = dict[str, np.ndarray]


class Graph:
    """A model that is being rewritten. What it answers holds until nodes are changed; then `refresh` it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.refresh()

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        return list(self.model.graph.node)

    @property
    def initializers(self) -> list[onnx.TensorProto]:
        return list(self.model.graph.initializer)

    def refresh(self) -> None:
        self._constants = {item.name: item for item in self.model.graph.initializer}
        self._producers = {name: node for node in self.model.graph.node for name in node.output}
        self._consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.model.graph.node:
            for name in node.input:
                self._consumers[name].append(node)
        self._outputs = {item.name for item in self.model.graph.output}

    def is_constant(self, name: str) -> bool:
        return name in self._constants

    def array(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self._constants[name])

    def put(self, name: str, array: np.ndarray) -> str:
        """Give the initializer `name` new values, or add it."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        if name in self._constants:
            self._constants[name].CopyFrom(tensor)
        else:
            self.model.graph.initializer.append(tensor)
            self._constants[name] = self.model.graph.initializer[-1]
        return name

    def producer(self, name: str) -> onnx.NodeProto | None:
        return self._producers.get(name)

    def consumers(self, name: str) -> list[onnx.NodeProto]:
        return self._consumers[name]

    def only_consumer(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads `name`; None where several do, or the answer itself is read from it."""
        readers = self._consumers[name]
        return readers[0] if len(readers) == 1 and name not in self._outputs else None

    def has_weights(self, node: onnx.NodeProto) -> bool:
        return node.op_type in LAYERS and any(self.is_constant(name) for name in node.input)

    def layers(self) -> list[onnx.NodeProto]:
        """The nodes that int8 can compute: convolutions and products with constant weights."""
        return [node for node in self.model.graph.node if self.has_weights(node)]

    def weights(self) -> list[onnx.TensorProto]:
        """The 32-bit initializers that are weights, each once."""
        return [item for item in self.model.graph.initializer if is_weights(item)]


def is_weights(tensor: onnx.TensorProto, *types: int) -> bool:
    """Whether it is of a size that matters and has two axes: a bias, a scale or a mean has one. `types` are 32-bit
    numbers unless told otherwise."""
    is_large = math.prod(tensor.dims) > SMALL_INITIALIZER and sum(length > 1 for length in tensor.dims) > 1
    return is_large and tensor.data_type in (types or (onnx.TensorProto.FLOAT,))


def attribute(node: onnx.NodeProto, name: str, default: object) -> object:
    found = next((item for item in node.attribute if item.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def read(source: Path) -> Graph:
    """The graph at `source` as it is. Raises ProgramFailure damaged_model."""
    try:
        return Graph(onnx.load(source))
    except Exception as error:  # ONNX raises protobuf's classes, which derive from Exception only
        raise _damaged(error) from error


def read_folded(source: Path) -> Graph:
    """The graph at `source` with all that is constant computed, and a name of its own for each node.

    Raises ProgramFailure damaged_model.
    """
    with tempfile.TemporaryDirectory() as folder, quietly():
        folded = Path(folder) / "folded.onnx"
        try:
            quant_pre_process(str(source), str(folded), skip_symbolic_shape=True)
        except Exception as error:  # ONNX Runtime, too, raises its own classes
            raise _damaged(error) from error
        graph = read(folded)
    for number, node in enumerate(graph.nodes):
        node.name = f"{number}"
    return graph


def _damaged(error: Exception) -> ProgramFailure:
    message = f"The model's graph cannot be read ({str(error)[:200]})."
    return ProgramFailure("damaged_model", message, hint="Train the model again.", blame="machine")


def nothing_to_compress(what: str) -> ProgramFailure:
    return ProgramFailure(
        "nothing_to_compress",
        f"The model's graph has no layer with weights that {what} could make smaller.",
        hint="Deploy it as it is: it is small already.",
        blame="settings",
    )


def left_as_they_were(model: onnx.ModelProto) -> list[str]:
    """A note for each kind of node whose 32-bit weights are of a size that matters."""
    floats = {item.name: math.prod(item.dims) for item in model.graph.initializer if is_weights(item)}
    kept: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            kept[node.op_type] += sum(floats.get(name, 0) for name in set(node.input))
    return [f"{kind}: {count:,} weights stay 32-bit numbers." for kind, count in kept.items() if count]


def names_of(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    return [node.name for node in nodes]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """ONNX Runtime's quantiser prints advice that does not concern the user."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        onnxruntime.set_default_logger_severity(WARNING)
        logging.getLogger().setLevel(level)
