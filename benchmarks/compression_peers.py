"""Other ways to make a trained classifier smaller, each as its library's documentation shows it, with usual settings.

Each takes a folder that Lepton's training left and real samples, and gives something that answers as the model does,
and the bytes of the file that it would be shipped as.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from workers.training.subjects import load_classifier

Feed = dict[str, np.ndarray]


@dataclass(frozen=True)
class Contestant:
    """`answer` gives probabilities [N, K] for what the graph is fed with."""

    name: str
    size_bytes: int
    answer: Callable[[Feed], np.ndarray]


def session_of(path: Path) -> Callable[[Feed], np.ndarray]:
    """ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)[0]


def float_model(source: Path, work: Path, feeds: Sequence[Feed], meta: dict) -> Contestant:
    path = source / "model.onnx"
    return Contestant("float, ONNX Runtime", path.stat().st_size, session_of(path))


def onnxruntime_static(source: Path, work: Path, feeds: Sequence[Feed], meta: dict) -> Contestant:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(feeds)

        def get_next(self) -> Feed | None:
            return next(self.left, None)

    prepared, path = work / "prepared.onnx", work / "static.onnx"
    quant_pre_process(str(source / "model.onnx"), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared), str(path), Reader(), per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return Contestant("ONNX Runtime, static int8", path.stat().st_size, session_of(path))


def onnxruntime_dynamic(source: Path, work: Path, feeds: Sequence[Feed], meta: dict) -> Contestant:
    from onnxruntime.quantization import quantize_dynamic

    path = work / "dynamic.onnx"
    quantize_dynamic(str(source / "model.onnx"), str(path), per_channel=True)
    return Contestant("ONNX Runtime, dynamic int8", path.stat().st_size, session_of(path))


def nncf_openvino(source: Path, work: Path, feeds: Sequence[Feed], meta: dict) -> Contestant:
    import nncf
    import openvino

    nncf.set_log_level("ERROR")
    model = openvino.convert_model(source / "model.onnx")
    quantised = nncf.quantize(model, nncf.Dataset(list(feeds)), subset_size=len(feeds))
    path = work / "nncf.xml"
    openvino.save_model(quantised, path)
    compiled = openvino.Core().compile_model(
        path, "CPU", {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    )
    size = path.stat().st_size + path.with_suffix(".bin").stat().st_size
    request = compiled.create_infer_request()
    return Contestant("NNCF, OpenVINO int8", size, lambda feed: request.infer(feed)[0])


def torchao_int8(source: Path, work: Path, feeds: Sequence[Feed], meta: dict) -> Contestant:
    """It rounds linear layers; convolutions stay as they are."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    model = load_classifier(source, meta)
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    body = io.BytesIO()
    torch.save(model.state_dict(), body)

    @torch.inference_mode()
    def answer(feed: Feed) -> np.ndarray:
        (values,) = feed.values()
        return model(torch.from_numpy(values)).softmax(dim=1).numpy()

    return Contestant("torchao, int8", len(body.getvalue()), answer)


PEERS = (onnxruntime_static, onnxruntime_dynamic, nncf_openvino, torchao_int8)


def make_peers(source: Path, work: Path, feeds: Sequence[Feed], meta: dict) -> list[Contestant]:
    """Those that can be made here; of the others, why not is printed."""
    made = []
    for make in PEERS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made.append(make(source, work, feeds, meta))
        except Exception as error:  # whatever the libraries raise
            print(f"{make.__name__} could not be made: {type(error).__name__}: {str(error)[:200]}")
    return made
