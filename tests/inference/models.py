"""Small model folders in the format of workers.training, made by hand: bright or dark pictures, old or young rows."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from workers import trees
from workers.tables.encoder import TableEncoder
from workers.texts import TextEncoder

SIDE = 8


def png(level: int = 255, side: int = 12) -> bytes:
    """A grey square."""
    file = BytesIO()
    Image.new("L", (side, side), level).save(file, "PNG")
    return file.getvalue()


def image_model(folder: Path, *, classes: tuple[str, ...] = ("dark", "bright"), sample: bytes | None = None) -> Path:
    """Says "bright" for pictures brighter than the middle, else "dark"."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.stack([np.full(SIDE * SIDE, -0.01), np.full(SIDE * SIDE, 0.01)], axis=1).astype(np.float32)
    offset = 0.01 * SIDE * SIDE * 127.5
    onnx.save(_dense_graph(weights, np.array([offset, -offset], dtype=np.float32)), folder / "model.onnx")
    (folder / "sample.png").write_bytes(png() if sample is None else sample)
    size = {"kind": "image", "height": SIDE, "width": SIDE, "channels": 1}
    meta = {"task": "image_classification", "runtime": "onnx", "classes": list(classes), "input": size}
    return _write_meta(folder, meta | {"sample": "sample.png", "metrics": {"test": {"accuracy": 1.0}}})


def _dense_graph(weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 1])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(bias)])
    constants = [onnx.numpy_helper.from_array(weights, "weights"), onnx.numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph(nodes, "dense", [image], [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def table_model(folder: Path, task: str = "tabular_classification") -> Path:
    """One tree that splits at age 40: "old" above, "young" below; as a regression 1 and -1. "city" is not used."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"age": str(age), "city": "Rome" if age % 2 else "Oslo", "note": None} for age in range(20, 61)]
    columns = [{"name": "age", "type": "numeric"}, {"name": "city", "type": "categorical"}]
    encoder = TableEncoder.fit(columns, rows)
    trees.save(_one_split(), folder / "model.safetensors")
    sample = {"age": "55", "city": "Oslo"}
    (folder / "sample.json").write_text(json.dumps(sample))
    meta = {
        "task": task,
        "runtime": "trees",
        "target": "group",
        "input": {"kind": "table", "columns": encoder.input_columns(sample)},
        "encoder": encoder.to_meta(),
        "sample": "sample.json",
        "metrics": {},
    }
    if task == "tabular_classification":
        meta["classes"] = ["young", "old"]
    return _write_meta(folder, meta)


def text_model(folder: Path) -> Path:
    """Says "praise" where "good" outweighs "bad", else "blame"; it knows no other word."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder = TextEncoder(0, 64, 0, 1000, 0)
    table = np.zeros((encoder.ids_in_all, 2), dtype=np.float32)
    table[encoder.ids("good")[0], 1] = table[encoder.ids("bad")[0], 0] = 3.0
    onnx.save(_bag_graph(table), folder / "model.onnx")
    (folder / "sample.json").write_text(json.dumps({"text": "a good lamp"}))
    meta = {"task": "text_classification", "runtime": "onnx", "classes": ["blame", "praise"], "target": "mood"}
    meta |= {"input": {"kind": "text", "column": "text", "examples": []}, "encoder": encoder.to_meta()}
    return _write_meta(folder, meta | {"sample": "sample.json", "metrics": {}})


def _bag_graph(table: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0),
        helper.make_node("ReduceSum", ["rows", "axis"], ["logits"], keepdims=0),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT32, ["batch", "length"])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", table.shape[1]])
    axis = onnx.numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")
    constants = [onnx.numpy_helper.from_array(table, "table"), axis]
    graph = helper.make_graph(nodes, "bag", [ids], [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _one_split() -> trees.Arrays:
    """Feature 0 is age, centred on 40."""
    return {
        "feature": np.array([0, -1, -1], dtype=np.int32),
        "threshold": np.array([0, 0, 0], dtype=np.float32),
        "right": np.array([2, 0, 0], dtype=np.int32),
        "missing_left": np.zeros(3, dtype=np.uint8),
        "value": np.array([0, -1, 1], dtype=np.float32),
        "tree_start": np.array([0], dtype=np.int32),
        "category_sets": np.zeros((0, 1), dtype=np.uint8),
        "categorical": np.array([0, 1], dtype=np.uint8),
        "baseline": np.zeros(1, dtype=np.float32),
    }


def _write_meta(folder: Path, meta: dict) -> Path:
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder
