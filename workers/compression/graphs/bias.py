"""Bias correction (Nagel et al. 2019, section 4.2, the empirical form).

Rounding moves the mean of each channel of a layer, and what it moved on calibration samples is taken out of the layer's
bias. Layer by layer, so that what the layers before have been corrected for is not corrected again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime

from workers.compression.graphs.reading import Feed, Graph

INT32 = np.iinfo(np.int32)


def correct_bias(exact: onnx.ModelProto, quantised: onnx.ModelProto, feeds: Sequence[Feed]) -> int:
    """Correct the biases of `quantised`, in place, whose layers bear the names that they have in `exact`; returns how
    many. Layers without a bias stay as they are."""
    layers = {node.name: node for node in Graph(exact).layers()}
    rounded = Graph(quantised)
    corrected = 0
    for node in rounded.nodes:
        if node.name in layers and (bias := _bias(rounded, node)):
            name = layers[node.name].output[0]
            error = _channel_means(exact, name, feeds, node) - _channel_means(quantised, node.output[0], feeds, node)
            _shift(rounded, bias, error)
            corrected += 1
    return corrected


def _bias(graph: Graph, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The node that makes the bias of a quantised layer from 32-bit integers."""
    if len(node.input) < 3 or not node.input[2]:
        return None
    source = graph.producer(node.input[2])
    return source if source is not None and source.op_type == "DequantizeLinear" else None


def _shift(graph: Graph, bias: onnx.NodeProto, error: np.ndarray) -> None:
    values, scale = graph.array(bias.input[0]).astype(np.float64), graph.array(bias.input[1]).astype(np.float64)
    moved = values + np.rint(error / np.where(scale > 0, scale, 1))
    graph.put(bias.input[0], np.clip(moved, INT32.min, INT32.max).astype(np.int32))


def _channel_means(
    model: onnx.ModelProto, name: str, feeds: Sequence[Feed], node: onnx.NodeProto
) -> np.ndarray:  # fmt: skip
    """The mean of each channel of the tensor `name` over `feeds`, [C]."""
    session = _session_until(model, name)
    axis = 1 if node.op_type == "Conv" else -1
    total = 0.0
    for feed in feeds:
        (values,) = session.run([name], feed)
        values = np.moveaxis(values, axis, -1)
        total = total + values.reshape(-1, values.shape[-1]).astype(np.float64).mean(axis=0)
    return total / len(feeds)


def _session_until(model: onnx.ModelProto, name: str) -> onnxruntime.InferenceSession:
    """The part of `model` that makes the tensor `name`."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    needed, kept = {name}, []
    for node in reversed(list(part.graph.node)):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    del part.graph.node[:]
    part.graph.node.extend(reversed(kept))
    del part.graph.output[:]
    part.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
