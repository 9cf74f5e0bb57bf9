"""Let the first layer read pixels as they are.

A graph for pictures begins with ``(pixels - mean) * scale``. Pixels are 8-bit numbers already: what normalises them
goes into the weights and the bias of the first layer, whose quantised input is then the picture itself, with no loss
and no work. A convolution pads with the value that was zero after normalising; the nearest whole number to that pixel
becomes the zero point of the input.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper

from workers.compression.graphs.reading import Graph, attribute

ARITHMETIC = ("Sub", "Add", "Mul", "Div")
SHAPES = ("Transpose", "Flatten", "Reshape")
LARGEST_OFFSET = (
    0.02  # at the border, in standard deviations; rounding a pixel to the nearest whole number costs as much
)


@dataclass(frozen=True)
class Pixels:
    """`shifted` is the 32-bit input of the first layer, pixel minus `zero_point`; `raw` the same as uint8."""

    raw: str
    shifted: str
    zero_point: int


@dataclass
class _Chain:
    """What stands between the picture and its first layer: ``scale * pixel + offset``, each of one or [C] values."""

    layer: onnx.NodeProto | None = None
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    scale: np.ndarray = field(default_factory=lambda: np.ones(1))
    offset: np.ndarray = field(default_factory=lambda: np.zeros(1))


def fold_normalisation(graph: Graph) -> list[Pixels]:
    """Fold what normalises each uint8 input into the layer that reads it, where that changes no answer."""
    found = []
    for item in list(graph.model.graph.input):
        if item.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
            chain = _follow(graph, item.name)
            if chain and (pixels := _fold(graph, item.name, chain)):
                found.append(pixels)
                graph.refresh()
    return found


def _follow(graph: Graph, name: str) -> _Chain | None:
    """The chain from `name` on to a layer; None where anything else stands in between."""
    chain = _Chain()
    while node := graph.only_consumer(name):
        if graph.has_weights(node) and node.input[0] == name:
            chain.layer = node
            return chain if any(step.op_type == "Cast" for step in chain.nodes) else None
        if node.op_type in ARITHMETIC:
            if not _compute(graph, node, name, chain):
                return None
        elif node.op_type not in (*SHAPES, "Cast") or node.input[0] != name or len(node.output) != 1:
            return None
        chain.nodes.append(node)
        name = node.output[0]
    return None


def _compute(graph: Graph, node: onnx.NodeProto, name: str, chain: _Chain) -> bool:
    """Take one step of arithmetic into the chain; False where it is no constant for each channel."""
    other = node.input[1] if node.input[0] == name else node.input[0]
    if not graph.is_constant(other) or (node.op_type in ("Sub", "Div") and node.input[0] != name):
        return False
    value = graph.array(other).astype(np.float64)
    if value.size != 1 and (value.ndim < 3 or value.size != value.shape[-3]):
        return False
    value = value.reshape(-1)
    if node.op_type in ("Mul", "Div"):
        factor = value if node.op_type == "Mul" else 1 / value
        chain.scale, chain.offset = chain.scale * factor, chain.offset * factor
    else:
        chain.offset = chain.offset + (value if node.op_type == "Add" else -value)
    return True


def _fold(graph: Graph, picture: str, chain: _Chain) -> Pixels | None:
    if not np.all(np.isfinite(chain.scale)) or np.any(chain.scale == 0):
        return None
    layer, is_convolution = chain.layer, chain.layer.op_type == "Conv"
    if is_convolution and attribute(layer, "group", 1) != 1:
        return None
    if not is_convolution and (chain.scale.size > 1 or chain.offset.size > 1 or not _takes_bias(layer)):
        return None
    zero_point = int(np.clip(np.rint(np.mean(-chain.offset / chain.scale)), 0, 255))
    rest = chain.offset + chain.scale * zero_point
    if is_convolution and any(attribute(layer, "pads", [0])) and np.abs(rest).max() > LARGEST_OFFSET:
        return None
    _change_weights(graph, layer, chain.scale, rest)
    return _read_pixels(graph, picture, chain, zero_point)


def _takes_bias(layer: onnx.NodeProto) -> bool:
    return layer.op_type == "Gemm" and not attribute(layer, "transA", 0) and attribute(layer, "alpha", 1.0) == 1.0


def _change_weights(graph: Graph, layer: onnx.NodeProto, scale: np.ndarray, rest: np.ndarray) -> None:
    """The weights take the scale; what a whole zero point leaves over goes into the bias."""
    weights = graph.array(layer.input[1]).astype(np.float64)
    if layer.op_type == "Conv":
        per_channel = (1, -1, *[1] * (weights.ndim - 2))
        added = (weights * rest.reshape(per_channel)).reshape(len(weights), -1).sum(axis=1)
        weights = weights * scale.reshape(per_channel)
    else:
        added = weights.sum(axis=1 if attribute(layer, "transB", 0) else 0) * rest
        weights = weights * scale
    has_bias = len(layer.input) > 2 and layer.input[2]
    bias = graph.array(layer.input[2]) * attribute(layer, "beta", 1.0) if has_bias else 0.0
    names = [graph.put(f"{layer.name}_weights", weights.astype(np.float32))]
    names.append(graph.put(f"{layer.name}_bias", (bias + added).astype(np.float32)))
    layer.input[:] = [layer.input[0], *names]


def _read_pixels(graph: Graph, picture: str, chain: _Chain, zero_point: int) -> Pixels:
    """Shapes first, on 8-bit numbers; then one Cast and one Sub, which quantising takes away."""
    raw, start = picture, graph.nodes.index(chain.nodes[0])
    for node in chain.nodes:
        graph.model.graph.node.remove(node)
    shapes = [node for node in chain.nodes if node.op_type in SHAPES]
    for node in shapes:
        node.input[0], node.output[0] = raw, f"{node.name}_pixels"
        raw = node.output[0]
    number, pixels = chain.layer.name, Pixels(raw, f"{chain.layer.name}_shifted", zero_point)
    zero = graph.put(f"{number}_zero", np.array(zero_point, dtype=np.float32))
    cast = helper.make_node("Cast", [raw], [f"{number}_cast"], name=f"{number}_cast", to=onnx.TensorProto.FLOAT)
    shift = helper.make_node("Sub", [cast.output[0], zero], [pixels.shifted], name=f"{number}_shift")
    for place, node in enumerate([*shapes, cast, shift], start):
        graph.model.graph.node.insert(place, node)
    chain.layer.input[0] = pixels.shifted
    return pixels


def feed_pixels(graph: Graph, pixels: Pixels) -> None:
    """In the quantised graph: take the picture itself where 32-bit numbers were made of it and rounded again."""
    quantised = next(node for node in graph.consumers(pixels.shifted) if node.op_type == "QuantizeLinear")
    for reader in graph.consumers(quantised.output[0]):
        reader.input[0] = pixels.raw
    shift = graph.producer(pixels.shifted)
    for node in (quantised, shift, graph.producer(shift.input[0])):
        graph.model.graph.node.remove(node)
    graph.refresh()
