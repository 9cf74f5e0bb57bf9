"""int8 with ranges found anew for each answer: products with constant weights, and LSTM.

Convolutions would have to look at each of their inputs twice and become slower than they were; theirs and all other
weights are only stored in 8 bits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from workers.compression.graphs.reading import Feed, Graph, left_as_they_were, nothing_to_compress, quietly, read_folded
from workers.compression.graphs.storing import store_rest
from workers.compression.graphs.writing import write_short
from workers.compression.recipes import Step

COMPUTED = ("Gemm", "MatMul", "LSTM")


def quantise_dynamic(source: Path, target: Path, _feeds: Sequence[Feed], _step: Step) -> list[str]:
    """Raises ProgramFailure nothing_to_compress."""
    graph = read_folded(source)
    products = [node for node in graph.nodes if node.op_type in COMPUTED and any(map(graph.is_constant, node.input))]
    if not products:
        raise nothing_to_compress("int8 with changing ranges")
    with tempfile.TemporaryDirectory() as folder, quietly():
        exact, quantised = Path(folder) / "exact.onnx", Path(folder) / "quantised.onnx"
        onnx.save(graph.model, exact)
        options = {"per_channel": True, "weight_type": QuantType.QInt8}
        quantize_dynamic(str(exact), str(quantised), op_types_to_quantize=list(COMPUTED), **options)
        rewritten = Graph(onnx.load(quantised))
    stored = store_rest(rewritten)
    write_short(rewritten.model, target)
    return stored + left_as_they_were(rewritten.model)
