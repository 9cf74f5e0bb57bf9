"""Linear models: logistic regression and ridge on standardised numbers, their pieces (pieces.py) and one-hot
categories, exported as ONNX."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from workers.tables.encoder import Encoded
from workers.training.tables.pieces import Pieces
from workers.training.threads import thread_limit
from workers.trees import Arrays, to_probabilities

MAX_ITERATIONS = 300
OPSET = 18


def design(encoded: Encoded, code_counts: list[int], pieces: Pieces) -> np.ndarray:
    """float32 [N, D]: numbers (0 where missing), one column each for missing, the pieces, and one column for every
    categorical code."""
    numeric = encoded.numeric
    parts = [np.nan_to_num(numeric), np.isnan(numeric).astype(np.float32), pieces.columns(numeric)]
    for index, count in enumerate(code_counts):
        parts.append(np.eye(count, dtype=np.float32)[encoded.categorical[:, index]])
    return np.concatenate(parts, axis=1)


def fit_linear(
    rows: np.ndarray, targets: np.ndarray, *, classes: int, strength: float, class_weight: str | None, seed: int
) -> Arrays:
    """Weights [D, K] and bias [K] on a design matrix; `strength` is that of the L2 penalty. `classes` 0: regression."""
    with thread_limit(len(rows)):
        return _fit(rows, targets, classes, strength, class_weight, seed)


def _fit(
    rows: np.ndarray, targets: np.ndarray, classes: int, strength: float, class_weight: str | None, seed: int
) -> Arrays:
    if not classes:
        model = Ridge(alpha=strength).fit(rows, targets)
        return {"weight": model.coef_.reshape(-1, 1), "bias": np.atleast_1d(model.intercept_)}
    model: Any = LogisticRegression(
        C=1 / strength, max_iter=MAX_ITERATIONS, class_weight=class_weight, random_state=seed
    )
    with warnings.catch_warnings():
        # Stopped short of the optimum it is still judged on held-out rows like every candidate.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, targets)
    return {"weight": model.coef_.T, "bias": model.intercept_}


def predict_linear(arrays: Arrays, rows: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities [N, classes], or standardised values [N]."""
    scores = rows @ arrays["weight"] + arrays["bias"]
    return to_probabilities(scores) if classes else scores[:, 0]


def average_linear(members: list[Arrays]) -> Arrays:
    """One model of several, whose pieces are the same."""
    return members[0] | {key: np.mean([member[key] for member in members], axis=0) for key in ("weight", "bias")}


def export_linear(arrays: Arrays, numeric_count: int, code_counts: list[int], classes: int) -> onnx.ModelProto:
    """A graph of "numeric" [N, F] and "categorical" [N, C] to "probabilities" [N, K] or "value" [N]."""
    weight, bias = arrays["weight"].astype(np.float32), arrays["bias"].astype(np.float32)
    if classes and weight.shape[1] == 1:  # two classes: the first one's score is 0
        weight, bias = (np.concatenate([np.zeros_like(item), item], axis=-1) for item in (weight, bias))
    pieces = Pieces.from_arrays(arrays)
    inputs, nodes, constants, terms = [], [], {"bias": bias}, []
    if numeric_count:
        inputs.append(helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["N", numeric_count]))
        constants |= {"zero": np.float32(0), "slope": weight[:numeric_count]}
        constants["absence"] = weight[numeric_count : 2 * numeric_count]
        nodes += _numeric_nodes()
        terms += ["sloped", "absent"]
    if len(pieces.feature):
        constants |= {f"piece_{name}": values for name, values in vars(pieces).items()} | {"one": np.float32(1)}
        constants["bends"] = weight[2 * numeric_count :][: len(pieces.feature)]
        nodes += _piece_nodes()
        terms.append("bent")
    if code_counts:
        inputs.append(helper.make_tensor_value_info("categorical", TensorProto.INT64, ["N", len(code_counts)]))
        constants["offsets"] = np.cumsum([0, *code_counts[:-1]]).astype(np.int64)
        constants |= {
            "effects": weight[2 * numeric_count + len(pieces.feature) :],
            "across": np.array([1], dtype=np.int64),
        }
        nodes += _categorical_nodes()
        terms.append("category")
    nodes.append(helper.make_node("Sum", [*terms, "bias"], ["scores"]))
    output, shape = ("probabilities", ["N", classes]) if classes else ("value", ["N"])
    if classes:
        nodes.append(helper.make_node("Softmax", ["scores"], [output], axis=1))
    else:
        constants["last"] = np.array([1], dtype=np.int64)
        nodes.append(helper.make_node("Squeeze", ["scores", "last"], [output]))
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "linear", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def _numeric_nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("IsNaN", ["numeric"], ["is_absent"]),
        helper.make_node("Where", ["is_absent", "zero", "numeric"], ["present"]),
        helper.make_node("Cast", ["is_absent"], ["indicator"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["present", "slope"], ["sloped"]),
        helper.make_node("MatMul", ["indicator", "absence"], ["absent"]),
    ]


def _piece_nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Gather", ["present", "piece_feature"], ["of_piece"], axis=1),
        helper.make_node("Sub", ["of_piece", "piece_start"], ["above"]),
        helper.make_node("Div", ["above", "piece_length"], ["within"]),
        helper.make_node("Clip", ["within", "zero", "one"], ["filled"]),
        helper.make_node("Mul", ["filled", "piece_rise"], ["risen"]),
        helper.make_node("MatMul", ["risen", "bends"], ["bent"]),
    ]


def _categorical_nodes() -> list[onnx.NodeProto]:
    """A one-hot times weights is a lookup of the code's row of weights."""
    return [
        helper.make_node("Add", ["categorical", "offsets"], ["position"]),
        helper.make_node("Gather", ["effects", "position"], ["looked_up"], axis=0),
        helper.make_node("ReduceSum", ["looked_up", "across"], ["category"], keepdims=0),
    ]
