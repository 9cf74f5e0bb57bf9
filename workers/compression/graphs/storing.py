"""Weights stored in fewer bits, computed with as before.

ONNX Runtime can multiply with stored 8- or 4-bit weights directly (MatMulNBits), which is faster than reading 32-bit
numbers where there are many. All other weights are decoded once, when the model is loaded: Cast and Mul of constants
are computed then, DequantizeLinear would be computed again for each answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, version_converter

from workers.compression.graphs.reading import (
    Feed,
    Graph,
    attribute,
    left_as_they_were,
    nothing_to_compress,
    read_folded,
)
from workers.compression.graphs.writing import write_short
from workers.compression.recipes import Step

INT4_OPSET, INT4_IR = 21, 10
MICROSOFT = "com.microsoft"  # the domain of operators that ONNX Runtime alone knows
BLOCKS = {8: 128, 4: 32}  # weights that share a scale; MatMulNBits asks for a power of two from 16 on
EIGHT_BIT_INPUTS = 4  # MatMulNBits' number for it
SHORTEST_BLOCK = 8
LARGE_PRODUCT = 2**16  # weights of a product from which on it is faster to multiply with what is stored
CLIPPING = np.linspace(1.0, 0.6, 9)  # shares of a block's largest weight that are tried as its range
SMALLEST_HALF, LARGEST_HALF = 6.2e-5, 65504.0  # of 16-bit numbers of full precision


def store_int8(source: Path, target: Path, _feeds: Sequence[Feed], _step: Step) -> list[str]:
    """Raises ProgramFailure nothing_to_compress."""
    return _store(source, target, 8)


def store_int4(source: Path, target: Path, _feeds: Sequence[Feed], _step: Step) -> list[str]:
    """Raises ProgramFailure nothing_to_compress."""
    return _store(source, target, 4)


def store_sixteen(source: Path, target: Path, _feeds: Sequence[Feed], _step: Step) -> list[str]:
    """Raises ProgramFailure nothing_to_compress."""
    return _store(source, target, 16)


def _store(source: Path, target: Path, bits: int) -> list[str]:
    graph = read_folded(source)
    if not graph.weights():
        raise nothing_to_compress(f"{bits}-bit weights")
    notes = []
    if bits == 4:
        graph, notes = _with_int4(graph)
        bits = 8 if notes else 4
    notes += store_weights(graph, bits)
    write_short(graph.model, target)
    return notes + left_as_they_were(graph.model)


def _with_int4(graph: Graph) -> tuple[Graph, list[str]]:
    """The graph in the version of ONNX that knows 4-bit numbers, or as it was with a note."""
    try:
        model = version_converter.convert_version(graph.model, INT4_OPSET)
    except Exception as error:  # the converter raises RuntimeError and its own classes
        return graph, [f"8 bits in place of 4: the graph has no form in ONNX {INT4_OPSET} ({str(error)[:120]})."]
    model.ir_version = max(model.ir_version, INT4_IR)
    return Graph(model), []


def store_rest(graph: Graph) -> list[str]:
    """Store in 8 bits what could not be made to compute in 8 bits, in place; returns notes."""
    rest: Counter[str] = Counter()
    for tensor in graph.weights():
        for kind in {node.op_type for node in graph.consumers(tensor.name)}:
            rest[kind] += math.prod(tensor.dims)
    notes = [f"{kind}: {count:,} weights are stored in 8 bits and computed with in 32." for kind, count in rest.items()]
    return notes + store_weights(graph, 8)


def store_weights(graph: Graph, bits: int) -> list[str]:
    """Store all large weights of 32 bits in 16, 8 or 4, in place; returns notes on what that was not possible for."""
    notes = []
    for tensor in graph.weights():
        name = tensor.name
        if not np.isfinite(graph.array(name)).all():
            count = math.prod(tensor.dims)
            notes.append(f"{count:,} weights stay 32-bit numbers: not all of them are finite.")
        elif bits < 16 and (product := _large_product(graph, name)):
            multiply_stored(graph, product, bits)
        else:
            nodes = DECODED[bits](graph, name)
            _drop(graph, name)
            for place, node in enumerate(nodes):
                graph.model.graph.node.insert(place, node)
    graph.refresh()
    return notes


def _drop(graph: Graph, name: str) -> None:
    graph.model.graph.initializer.remove(next(item for item in graph.initializers if item.name == name))


def _large_product(graph: Graph, name: str) -> onnx.NodeProto | None:
    """The one MatMul or plain Gemm that multiplies with the weights `name`, where they are worth it."""
    shape, readers = graph.array(name).shape, graph.consumers(name)
    if len(readers) != 1 or len(shape) != 2 or math.prod(shape) < LARGE_PRODUCT or readers[0].input[1] != name:
        return None
    node = readers[0]
    is_plain = not attribute(node, "transA", 0) and all(attribute(node, key, 1.0) == 1.0 for key in ("alpha", "beta"))
    return node if node.op_type == "MatMul" or (node.op_type == "Gemm" and is_plain) else None


def multiply_stored(graph: Graph, product: onnx.NodeProto, bits: int) -> None:
    """Make ONNX Runtime's MatMulNBits of a product, in place: for each output, each block of inputs has a scale."""
    name, length = product.input[1], BLOCKS[bits]
    rows = graph.array(name) if attribute(product, "transB", 0) else graph.array(name).T
    outputs, inputs = rows.shape
    blocks = math.ceil(inputs / length)
    padded = np.zeros((outputs, blocks * length), dtype=np.float32)
    padded[:, :inputs] = rows
    codes, scales = round_blocks(padded.reshape(-1, length), bits)
    codes = (codes.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    stored = codes if bits == 8 else codes[:, ::2] | codes[:, 1::2] << 4
    bias = list(product.input[2:])
    _drop(graph, name)
    product.input[1:] = [
        graph.put(f"{name}_codes", stored.reshape(outputs, blocks, -1)),
        graph.put(f"{name}_scale", scales.reshape(-1)),
        *(["", "", *bias] if bias and bias[0] else []),
    ]
    product.op_type, product.domain = "MatMulNBits", MICROSOFT
    del product.attribute[:]
    values = {"K": inputs, "N": outputs, "bits": bits, "block_size": length, "accuracy_level": EIGHT_BIT_INPUTS}
    product.attribute.extend(helper.make_attribute(key, value) for key, value in values.items())
    if MICROSOFT not in {item.domain for item in graph.model.opset_import}:
        graph.model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))


# Decoded when the model is loaded


def _sixteen(graph: Graph, name: str) -> list[onnx.NodeProto]:
    half = np.clip(graph.array(name), -LARGEST_HALF, LARGEST_HALF).astype(np.float16)
    return [helper.make_node("Cast", [graph.put(f"{name}_half", half)], [name], to=TensorProto.FLOAT)]


def _eight(graph: Graph, name: str) -> list[onnx.NodeProto]:
    """A scale for each output."""
    weights, axis = graph.array(name), _output_axis(graph, name)
    others = tuple(other for other in range(weights.ndim) if other != axis)
    scales = np.abs(weights).max(axis=others, keepdims=True) / 127
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    codes = np.clip(np.rint(weights / scales), -127, 127).astype(np.int8)
    return [
        helper.make_node("Cast", [graph.put(f"{name}_codes", codes)], [f"{name}_cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_cast", graph.put(f"{name}_scale", scales)], [name]),
    ]


def _four(graph: Graph, name: str) -> list[onnx.NodeProto]:
    """A scale for each block; blocks lie along all axes but the output's, which comes first in what is stored."""
    weights, axis = graph.array(name), _output_axis(graph, name)
    moved = np.moveaxis(weights, axis, 0)
    codes, scales = round_blocks(moved.reshape(-1, _block_length(moved[0].size)), 4)
    nodes, scale = _half_where_possible(graph, f"{name}_scale", scales)
    shape = graph.put(f"{name}_shape", np.array(moved.shape, dtype=np.int64))
    nodes += [
        helper.make_node("Cast", [_put_int4(graph, f"{name}_codes", codes)], [f"{name}_cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_cast", scale], [f"{name}_rows"]),
        helper.make_node("Reshape", [f"{name}_rows", shape], [f"{name}_moved" if axis else name]),
    ]
    if axis:
        order = np.argsort([axis, *(other for other in range(weights.ndim) if other != axis)]).tolist()
        nodes.append(helper.make_node("Transpose", [f"{name}_moved"], [name], perm=order))
    return nodes


DECODED = {16: _sixteen, 8: _eight, 4: _four}


def _output_axis(graph: Graph, name: str) -> int:
    """The axis whose entries have scales of their own: outputs, or the rows of a table that is looked up in."""
    is_by_column = all(
        node.input[1] == name
        and (node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0)))
        for node in graph.consumers(name)
    )
    return graph.array(name).ndim - 1 if is_by_column else 0


def _block_length(row: int) -> int:
    """The longest divisor of a row's length that is no more than 32, or the whole row where all are short."""
    longest = max(length for length in range(1, BLOCKS[4] + 1) if row % length == 0)
    return longest if longest >= SHORTEST_BLOCK else row


def _half_where_possible(graph: Graph, name: str, scales: np.ndarray) -> tuple[list[onnx.NodeProto], str]:
    if scales.min() < SMALLEST_HALF or scales.max() > LARGEST_HALF:
        return [], graph.put(name, scales)
    stored = graph.put(f"{name}_half", scales.astype(np.float16))
    return [helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT)], name


def round_blocks(blocks: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes int8 [B, n] between -127 and 127, or -7 and 7, and scales float32 [B, 1].

    The range of a block is the one of several that leaves the least squared error: to clip the largest weight a little
    lets all others be finer.
    """
    most = 2 ** (bits - 1) - 1
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    best, least = np.ones_like(largest), np.full_like(largest, np.inf)
    for share in CLIPPING:
        scales = np.where(largest > 0, largest * share / most, 1).astype(np.float16).astype(np.float32)
        scales = np.where(scales > 0, scales, 1).astype(np.float32)
        error = ((np.clip(np.rint(blocks / scales), -most, most) * scales - blocks) ** 2).sum(axis=1, keepdims=True)
        best, least = np.where(error < least, scales, best), np.minimum(error, least)
    return np.clip(np.rint(blocks / best), -most, most).astype(np.int8), best.astype(np.float32)


def _put_int4(graph: Graph, name: str, codes: np.ndarray) -> str:
    """Two codes in a byte, the first in the lower half."""
    flat = (codes.reshape(-1) & 0xF).astype(np.uint8)
    flat = np.append(flat, np.zeros(flat.size % 2, dtype=np.uint8))
    tensor = helper.make_tensor(name, TensorProto.INT4, codes.shape, (flat[::2] | flat[1::2] << 4).tobytes(), raw=True)
    graph.model.graph.initializer.append(tensor)
    return name
