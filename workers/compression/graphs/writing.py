"""Finish a rewritten graph: short names, no remarks, checked, and stored."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import onnx


def write_short(model: onnx.ModelProto, target: Path) -> None:
    onnx.save(model, target)
    shorten(target)


def shorten(path: Path) -> None:
    """Give inner tensors short names and drop comments: in a small graph the names outweigh the weights."""
    model = onnx.load(path)
    _drop_unused(model.graph)
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


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Initializers that no node reads any more."""
    if _has_inner_graphs(graph):
        return
    read = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
    kept = [item for item in graph.initializer if item.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _short_names(model: onnx.ModelProto) -> dict[str, str]:
    """Old name to new. The graph's inputs and outputs keep theirs, and all do where a node holds a graph of its own,
    which may speak of any of them."""
    graph = model.graph
    used = dict.fromkeys(name for node in graph.node for name in (*node.input, *node.output))
    used |= dict.fromkeys(item.name for item in graph.initializer)
    kept = {item.name for item in (*graph.input, *graph.output)} | {""}
    if _has_inner_graphs(graph):
        kept |= set(used)
    fresh = (name for name in map("t{:x}".format, count()) if name not in kept)
    return {name: name if name in kept else next(fresh) for name in used}


def _has_inner_graphs(graph: onnx.GraphProto) -> bool:
    return any(attribute.HasField("g") for node in graph.node for attribute in node.attribute)
