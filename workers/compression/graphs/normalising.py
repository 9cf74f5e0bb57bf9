"""Let the first layer read pixels as they are.

A graph for pictures begins with ``(pixels - mean) * scale``. Pixels are 8-bit numbers already: what normalises them
goes into the weights and the bias of the first layer, whose quantised input is then the picture itself, with no loss
and no work. A convolution pads with the value that was zero after normalising; the nearest whole number to that pixel
becomes the zero point of the input. Where the channels' means lie too far apart for one zero point, a channel whose
pixels are all alike is added, and its weights make up for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper

from workers.compression.graphs.reading import Graph, attribute

ARITHMETIC = ("Sub", "Add", "Mul", "Div")
SHAPES = ("Transpose", "Flatten", "Reshape")
# In standard deviations: how far from a channel's mean the value may lie that pictures are padded with. Only outputs at
# the border notice, where what the channels differ by sums to nearly zero; to add a channel instead takes a fifth of
# the time of a small network.
LARGEST_OFFSET = 0.2


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
    if not is_convolution and (chain.scale.size > 1 or chain.offset.size > 1 or not _is_plain(layer)):
        return None
    zero_point = int(np.clip(np.rint(np.mean(-chain.offset / chain.scale)), 0, 255))
    rest = chain.offset + chain.scale * zero_point
    if is_convolution and any(attribute(layer, "pads", [0])) and np.abs(rest).max() > LARGEST_OFFSET:
        extra = _extra_level(chain.scale, rest, zero_point)
        _add_channel(graph, layer, chain.scale, rest / (extra - zero_point))
        return _read_pixels(graph, picture, chain, zero_point, extra)
    _change_weights(graph, layer, chain.scale, rest)
    return _read_pixels(graph, picture, chain, zero_point)


def _is_plain(layer: onnx.NodeProto) -> bool:
    is_scaled = any(attribute(layer, name, 1.0) != 1.0 for name in ("alpha", "beta"))
    return layer.op_type == "Gemm" and not attribute(layer, "transA", 0) and not is_scaled


def _change_weights(graph: Graph, layer: onnx.NodeProto, scale: np.ndarray, rest: np.ndarray) -> None:
    """The weights take the scale; what a whole zero point leaves over goes into the bias."""
    weights = graph.array(layer.input[1]).astype(np.float64)
    if layer.op_type == "Conv":
        added = (weights * _by_channel(rest, weights)).reshape(len(weights), -1).sum(axis=1)
        weights = weights * _by_channel(scale, weights)
    else:
        added = weights.sum(axis=1 if attribute(layer, "transB", 0) else 0) * rest
        weights = weights * scale
    bias = graph.array(layer.input[2]) if len(layer.input) > 2 and layer.input[2] else 0.0
    names = [graph.put(f"{layer.name}_weights", weights.astype(np.float32))]
    names.append(graph.put(f"{layer.name}_bias", (bias + added).astype(np.float32)))
    layer.input[:] = [layer.input[0], *names]


def _extra_level(scale: np.ndarray, rest: np.ndarray, zero_point: int) -> int:
    """The pixel of the added channel: as far from the zero point as the channel's mean that is farthest, so that the
    weights of the added channel are about as large as the others and are rounded as finely."""
    distance = int(np.clip(np.ceil(np.abs(rest / scale).max()), 1, 127))
    return zero_point + distance if zero_point + distance <= 255 else zero_point - distance


def _add_channel(graph: Graph, layer: onnx.NodeProto, scale: np.ndarray, share: np.ndarray) -> None:
    """Weights for one more channel, whose pixels are all alike: it adds what the others lack inside the picture, and
    nothing where the picture is padded."""
    weights = graph.array(layer.input[1]).astype(np.float64)
    added = (weights * _by_channel(share, weights)).sum(axis=1, keepdims=True)
    widened = np.concatenate([weights * _by_channel(scale, weights), added], axis=1)
    layer.input[1] = graph.put(f"{layer.name}_weights", widened.astype(np.float32))


def _by_channel(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return values.reshape(1, -1, *[1] * (weights.ndim - 2))


def _read_pixels(
    graph: Graph, picture: str, chain: _Chain, zero_point: int, extra: int | None = None
) -> Pixels:  # fmt: skip
    """Shapes and a channel of pixels `extra` first, in 8 bits; then a Cast and a Sub, which quantising removes."""
    raw, start, number = picture, graph.nodes.index(chain.nodes[0]), chain.layer.name
    for node in chain.nodes:
        graph.model.graph.node.remove(node)
    nodes = [node for node in chain.nodes if node.op_type in SHAPES]
    for node in nodes:
        node.input[0], node.output[0] = raw, f"{node.name}_pixels"
        raw = node.output[0]
    if extra is not None:
        nodes.append(_widen(graph, raw, number, extra))
        raw = nodes[-1].output[0]
    zero = graph.put(f"{number}_zero", np.array(zero_point, dtype=np.float32))
    nodes += [
        helper.make_node("Cast", [raw], [f"{number}_cast"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", [f"{number}_cast", zero], [f"{number}_shifted"], name=f"{number}_shift"),
    ]
    for place, node in enumerate(nodes, start):
        graph.model.graph.node.insert(place, node)
    chain.layer.input[0] = f"{number}_shifted"
    return Pixels(raw, f"{number}_shifted", zero_point)


def _widen(graph: Graph, raw: str, number: str, extra: int) -> onnx.NodeProto:
    """Pixels [N, C, H, W] with one channel more."""
    widths = graph.put(f"{number}_widths", np.array([0, 0, 0, 0, 0, 1, 0, 0], dtype=np.int64))
    level = graph.put(f"{number}_level", np.array(extra, dtype=np.uint8))
    return helper.make_node("Pad", [raw, widths, level], [f"{number}_widened"])


def feed_pixels(graph: Graph, pixels: Pixels) -> None:
    """In the quantised graph: take the picture itself where 32-bit numbers were made of it and rounded again."""
    quantised = next(node for node in graph.consumers(pixels.shifted) if node.op_type == "QuantizeLinear")
    for reader in graph.consumers(quantised.output[0]):
        reader.input[0] = pixels.raw
    shift = graph.producer(pixels.shifted)
    for node in (quantised, shift, graph.producer(shift.input[0])):
        graph.model.graph.node.remove(node)
    graph.refresh()
