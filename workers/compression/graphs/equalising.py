"""Cross-layer equalisation (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization ...", section 4.1).

Where ReLU alone stands between two layers, a channel may be divided by any positive number in the first if the second
multiplies it again. That number is chosen so that both layers use the channel's 8 bits equally well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from workers.compression.graphs.reading import Graph, attribute

SWEEPS = 20
CLOSE_ENOUGH = 1e-3
LARGEST_FACTOR = 1e4


@dataclass(frozen=True)
class Side:
    """A layer's weights, and the axis along which the shared channels lie."""

    layer: onnx.NodeProto
    axis: int

    def ranges(self, graph: Graph) -> np.ndarray:
        """The largest absolute weight of each channel, [C]."""
        weights = np.abs(graph.array(self.layer.input[1]))
        return weights.max(axis=tuple(axis for axis in range(weights.ndim) if axis != self.axis))

    def multiply(self, graph: Graph, factors: np.ndarray) -> None:
        weights = graph.array(self.layer.input[1])
        shape = [-1 if axis == self.axis else 1 for axis in range(weights.ndim)]
        graph.put(self.layer.input[1], (weights * factors.reshape(shape)).astype(np.float32))


def equalise(graph: Graph) -> int:
    """Even out the ranges of all pairs of layers, in place; returns how many pairs there are. No answer changes."""
    pairs = [pair for layer in graph.layers() if (pair := _pair(graph, layer))]
    for _ in range(SWEEPS if pairs else 0):
        if max(_even_out(graph, first, second) for first, second in pairs) < CLOSE_ENOUGH:
            break
    return len(pairs)


def _pair(graph: Graph, layer: onnx.NodeProto) -> tuple[Side, Side] | None:
    """`layer` and the one that reads it, through ReLU or directly."""
    after = graph.only_consumer(layer.output[0])
    if after is not None and after.op_type == "Relu":
        after = graph.only_consumer(after.output[0])
    if after is None or not graph.has_weights(after) or not graph.is_constant(after.input[1]):
        return None
    first, second = _output_axis(graph, layer), _input_axis(graph, after)
    if first is None or second is None or not _own_their_weights(graph, layer, after):
        return None
    sides = Side(layer, first), Side(after, second)
    return sides if len({len(side.ranges(graph)) for side in sides}) == 1 else None


def _own_their_weights(graph: Graph, *layers: onnx.NodeProto) -> bool:
    """Weights that several layers share cannot be changed for one."""
    return all(len(graph.consumers(name)) == 1 for layer in layers for name in layer.input[1:] if name)


def _output_axis(graph: Graph, layer: onnx.NodeProto) -> int | None:
    if layer.op_type == "Conv":
        return 0
    if not graph.is_constant(layer.input[1]) or attribute(layer, "transA", 0):
        return None
    return 0 if layer.op_type == "Gemm" and attribute(layer, "transB", 0) else graph.array(layer.input[1]).ndim - 1


def _input_axis(graph: Graph, layer: onnx.NodeProto) -> int | None:
    weights = graph.array(layer.input[1])
    if layer.op_type == "Conv":
        group = attribute(layer, "group", 1)
        is_depthwise = group == weights.shape[0] and weights.shape[1] == 1
        return 1 if group == 1 else 0 if is_depthwise else None
    if weights.ndim != 2 or attribute(layer, "transA", 0):
        return None
    return 1 if layer.op_type == "Gemm" and attribute(layer, "transB", 0) else 0


def _even_out(graph: Graph, first: Side, second: Side) -> float:
    """Equation 11 of the paper; returns the largest relative change. Channels that do nothing stay as they are."""
    ours, theirs = first.ranges(graph).astype(np.float64), second.ranges(graph).astype(np.float64)
    is_used = (ours > 0) & (theirs > 0)
    divisor = np.ones_like(ours)
    divisor[is_used] = np.sqrt(ours[is_used] / theirs[is_used])
    divisor = np.clip(divisor, 1 / LARGEST_FACTOR, LARGEST_FACTOR)
    first.multiply(graph, 1 / divisor)
    if len(first.layer.input) > 2 and first.layer.input[2]:
        name = first.layer.input[2]
        graph.put(name, (graph.array(name) / divisor).astype(np.float32))
    second.multiply(graph, divisor)
    return float(np.abs(divisor - 1).max())
