"""PyTorch models as ONNX graphs that answer the same."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from workers.contract import ProgramFailure

OPSET = 17
LARGEST_DIFFERENCE = 1e-4


def export_onnx(
    model: nn.Module, inputs: Mapping[str, Tensor], output: str, path: Path, of_any_length: Sequence[str] = ()
) -> None:
    """Write `model` in eval mode as an ONNX graph with a free batch size, and check that it answers as the model does.

    `inputs` are real samples by input name, in the order of the model's arguments; those `of_any_length` have a free
    second dimension too. Raises ProgramFailure (export_mismatch) when any answer differs by more than 1e-4.
    """
    axes = {name: {0: "batch", 1: "length"} if name in of_any_length else {0: "batch"} for name in [*inputs, output]}
    export_graph(model, inputs, (output,), axes, path)


def export_graph(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    path: Path,
    *,
    folds: bool = True,
) -> None:
    """As `export_onnx`, for a model of several outputs; `axes` names the free dimensions of each input and output.
    Where it `folds`, what can be computed of the weights alone is: a matrix that is used turned stands in it twice."""
    model.eval()
    with warnings.catch_warnings():
        # torch advises its newer exporter, which gives the same graph for these models and takes 60 times longer.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(inputs.values()),
            str(path),
            dynamo=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            do_constant_folding=folds,
        )
    difference = largest_difference(model, inputs, path)
    if not difference <= LARGEST_DIFFERENCE:
        message = f"The exported model answers differently from the trained one (by up to {difference:.2g})."
        raise ProgramFailure("export_mismatch", message, hint="Train again with another model.", blame="machine")


@torch.no_grad()
def largest_difference(model: nn.Module, inputs: Mapping[str, Tensor], path: Path) -> float:
    """How far the answers of the graph at `path` and of `model` lie apart at most, over `inputs`; of answers that are
    larger than 1, as a share of the largest."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    asked = {item.name for item in session.get_inputs()}  # what a model does not look at is no input of its graph
    exported = session.run(None, {name: value.numpy() for name, value in inputs.items() if name in asked})
    answers = model(*inputs.values())
    expected = [answers] if isinstance(answers, Tensor) else answers
    return max(_distance(one, other.numpy()) for one, other in zip(exported, expected, strict=True))


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max() / max(1.0, np.abs(other).max()))
