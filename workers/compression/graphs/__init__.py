"""Smaller forms of an ONNX graph. Loaded only where there is a graph: ONNX's tools take a second to load.

Of what quantising does with weights: int8 computes in 8 bits with ranges that real samples gave (static.py);
int8_dynamic finds ranges while it answers (dynamic.py); int8_weights, int4_weights and fp16 only store in fewer bits
(storing.py). Sharing gives all weights of a layer one of a few values (sharing.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from workers.compression.graphs.dynamic import quantise_dynamic
from workers.compression.graphs.reading import Feed
from workers.compression.graphs.sharing import share_weights
from workers.compression.graphs.static import quantise_static
from workers.compression.graphs.storing import store_int4, store_int8, store_sixteen
from workers.compression.graphs.writing import shorten
from workers.compression.recipes import DYNAMIC, FP16, INT4_WEIGHTS, INT8, INT8_WEIGHTS, Step

__all__ = ["Feed", "quantise_graph", "share_weights", "shorten"]

Scheme = Callable[[Path, Path, Sequence[Feed], Step], list[str]]

SCHEMES: dict[str, Scheme] = {
    INT8: quantise_static,
    DYNAMIC: quantise_dynamic,
    INT8_WEIGHTS: store_int8,
    INT4_WEIGHTS: store_int4,
    FP16: store_sixteen,
}


def quantise_graph(source: Path, target: Path, feeds: Sequence[Feed], step: Step) -> list[str]:
    """Write the form of the graph `source` that `step` (workers/compression/recipes.py) asks for to `target`; returns
    notes on what stayed as it was. `feeds` are real inputs, of batch size 1 each.

    Raises ProgramFailure nothing_to_compress when no layer can be quantised.
    """
    return SCHEMES[step["scheme"]](source, target, feeds, step)
