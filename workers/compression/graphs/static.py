"""int8 throughout: weights per output channel, activations in ranges found on real samples."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from workers.compression.graphs.bias import correct_bias
from workers.compression.graphs.equalising import equalise
from workers.compression.graphs.normalising import Pixels, feed_pixels, fold_normalisation
from workers.compression.graphs.reading import (
    LAYERS,
    Feed,
    Graph,
    left_as_they_were,
    names_of,
    nothing_to_compress,
    quietly,
    read_folded,
)
from workers.compression.graphs.storing import store_rest
from workers.compression.graphs.writing import write_short
from workers.compression.recipes import ENTROPY, EXTREMES, PERCENTILE, Step

# What need not leave 8 bits between two layers.
JOINS = (
    "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Relu", "Reshape", "Squeeze",
    "Transpose", "Unsqueeze",
)  # fmt: skip
CALIBRATORS = {
    EXTREMES: (CalibrationMethod.MinMax, {}),
    PERCENTILE: (CalibrationMethod.Percentile, {"percentile": 99.99}),
    ENTROPY: (CalibrationMethod.Entropy, {}),
}
FEEDS_AT_ONCE = 16  # the calibrator keeps all activations of these in memory


class Feeds(CalibrationDataReader):
    """Calibration samples, one at a time."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._left: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._left, None)


def quantise_static(source: Path, target: Path, feeds: Sequence[Feed], step: Step) -> list[str]:
    """Raises ProgramFailure nothing_to_compress."""
    graph = read_folded(source)
    if not graph.layers():
        raise nothing_to_compress("int8")
    notes = []
    if step["equalise"]:
        notes.append(_evened_out(equalise(graph)))
    pixels = fold_normalisation(graph)
    exact = onnx.ModelProto()
    exact.CopyFrom(graph.model)
    quantised = _quantise(graph, feeds, step["ranges"], pixels)
    if step["correct_bias"]:
        correct_bias(exact, quantised, feeds)
    rewritten = Graph(quantised)
    for item in pixels:
        feed_pixels(rewritten, item)
    _drop_zeros(rewritten)
    notes += store_rest(rewritten)
    write_short(quantised, target)
    return notes + left_as_they_were(quantised)


def _evened_out(pairs: int) -> str:
    if not pairs:
        return "No two layers follow each other so that their ranges could be evened out."
    return f"The ranges of {pairs} pair{'s' if pairs > 1 else ''} of layers were evened out."


def _quantise(graph: Graph, feeds: Sequence[Feed], ranges: str, pixels: Sequence[Pixels]) -> onnx.ModelProto:
    """With weights of 8 signed and activations of 8 unsigned bits: what ONNX Runtime computes fastest on x86."""
    chosen = _nodes_to_quantise(graph)
    types = sorted({node.op_type for node in chosen})
    with tempfile.TemporaryDirectory() as folder, quietly():
        found = _find_ranges(graph.model, feeds, ranges, types, Path(folder))
        for item in pixels:
            lowest = np.array(-item.zero_point, dtype=np.float32)
            found[item.shifted] = TensorData(lowest=lowest, highest=lowest + np.float32(255))
        quantizer = QDQQuantizer(
            graph.model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=found,
            nodes_to_quantize=names_of(chosen),
            nodes_to_exclude=[],
            op_types_to_quantize=types,
            # Products go on in 32 bits where no 8-bit node follows: the last layer's numbers are not rounded.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    return quantizer.model.model


def _find_ranges(
    model: onnx.ModelProto, feeds: Sequence[Feed], ranges: str, types: list[str], folder: Path
) -> TensorsData:  # fmt: skip
    """The range of each activation over `feeds`."""
    method, options = CALIBRATORS[ranges]
    onnx.save(model, folder / "exact.onnx")
    augmented = str(folder / "augmented.onnx")
    calibrator = create_calibrator(folder / "exact.onnx", types, augmented, method, extra_options=options)
    for start in range(0, len(feeds), FEEDS_AT_ONCE):
        calibrator.collect_data(Feeds(feeds[start : start + FEEDS_AT_ONCE]))
    return calibrator.compute_data()


def _nodes_to_quantise(graph: Graph) -> list[onnx.NodeProto]:
    """All layers, and what stands between layers only. What turns the last layer's numbers into the answer costs
    nothing and stays exact: probabilities that were rounded to 256 steps would no longer sum to one.

    Where a graph asks for NaN, which marks a missing value and which int8 does not have, layers alone: what reaches
    those is a number.
    """
    chosen = {node.name: node for node in graph.layers()}
    if not any(node.op_type == "IsNaN" for node in graph.nodes):
        chosen |= {node.name: node for node in graph.nodes if node.op_type in JOINS}
    is_settled = False
    while not is_settled:
        lonely = [
            name for name, node in chosen.items() if node.op_type not in LAYERS and _is_lonely(graph, node, chosen)
        ]
        for name in lonely:
            del chosen[name]
        is_settled = not lonely
    return list(chosen.values())


def _is_lonely(graph: Graph, node: onnx.NodeProto, chosen: dict[str, onnx.NodeProto]) -> bool:
    """Whether a join gets from, or gives to, a node that is not quantised."""
    before = [graph.producer(name) for name in node.input if name and not _is_shape(graph, node, name)]
    after = [reader for name in node.output for reader in graph.consumers(name)]
    return not after or any(other is None or other.name not in chosen for other in (*before, *after))


def _is_shape(graph: Graph, node: onnx.NodeProto, name: str) -> bool:
    """A constant beside the data: bounds of a Clip, a shape of a Reshape; not one that is added."""
    return graph.is_constant(name) and node.op_type not in ("Add", "Concat")


def _drop_zeros(graph: Graph) -> None:
    """Zero points of a convolution's weights are all zero, which is what stands there where nothing does. ONNX Runtime
    asks for those of products."""
    for layer in (node for node in graph.nodes if node.op_type == "Conv"):
        for node in map(graph.producer, layer.input[1:]):
            if node is not None and len(node.input) > 2 and not graph.array(node.input[2]).any():
                del node.input[2]
