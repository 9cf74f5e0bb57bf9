"""What computes a served model fastest: ONNX Runtime, which Lepton serves with, beside OpenVINO and PyTorch.

Every runtime gets the same weights in 32 bits and one thread, and counts only where it answers as the trained model
does. Rounds alternate; processor time of one question, medians. The last line is the best other runtime's time over
ONNX Runtime's: above 1, ONNX Runtime is the fastest.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.serving_model import draw_classifier, some_images
from workers.inference.files import open_session
from workers.training.export import LARGEST_DIFFERENCE, export_onnx
from workers.training.image_models import ImageProbabilities

OURS = "ONNX Runtime"
PIECES = 64
ENCODER = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
Answer = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A model, and a question to it: what its one argument is called and what it is."""

    name: str
    model: nn.Module
    argument: str
    question: Tensor


class TextProbabilities(nn.Module):
    """Class probabilities [N, K] of pieces [N, L]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = BertForSequenceClassification(BertConfig(**ENCODER, vocab_size=8000, num_labels=10))

    def forward(self, pieces: Tensor) -> Tensor:
        return self.encoder(input_ids=pieces, attention_mask=(pieces > 0).long()).logits.softmax(-1)


def cases() -> Iterator[Case]:
    for architecture, side in (("resnet_tiny", 64), ("resnet18", 224)):
        model = ImageProbabilities(draw_classifier(architecture, side))
        yield Case(f"{architecture}, {side} pixels", model, "image", some_images(side, 1))
    pieces = torch.randint(1, 8000, (1, PIECES))
    yield Case(f"encoder of texts, 6 layers of 384, {PIECES} pieces", TextProbabilities(), "pieces", pieces)


def onnxruntime(case: Case, folder: Path) -> Answer:
    """The session that a replica opens."""
    session, feed = open_session(folder, threads=1), {case.argument: case.question.numpy()}
    return lambda: session.run(None, feed)[0]


def openvino(case: Case, folder: Path) -> Answer:
    """As its documentation advises for the latency of one question; its default would round to bfloat16."""
    import openvino

    hints = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(folder / "model.onnx", "CPU", hints).create_infer_request()
    feed = {case.argument: case.question.numpy()}
    return lambda: request.infer(feed, share_inputs=True, share_outputs=True)[0]


def compiled(case: Case, folder: Path) -> Answer:
    """Ahead of the first question, by TorchInductor with a C++ compiler."""
    return _torch(torch.compile(case.model, mode="max-autotune-no-cudagraphs"), case.question)


def eager(case: Case, folder: Path) -> Answer:
    return _torch(case.model, case.question)


def _torch(model: Callable[[Tensor], Tensor], question: Tensor) -> Answer:
    def answer() -> np.ndarray:
        with torch.inference_mode():
            return model(question).numpy()

    return answer


RUNTIMES = {OURS: onnxruntime, "OpenVINO": openvino, "torch, compiled": compiled, "torch, eager": eager}


def measure(answers: Mapping[str, Answer], rounds: int, seconds: float) -> dict[str, float]:
    """By runtime, the milliseconds of processor time that one question takes."""
    took: dict[str, list[float]] = {name: [] for name in answers}
    for _ in range(rounds):
        for name, answer in answers.items():
            count, began, ends_at = 0, time.process_time(), time.perf_counter() + seconds
            while time.perf_counter() < ends_at:
                answer()
                count += 1
            took[name].append(1000 * (time.process_time() - began) / count)
    return {name: statistics.median(figures) for name, figures in took.items()}


def compare(case: Case, folder: Path, rounds: int, seconds: float) -> float:
    """Prints a row for each runtime; the best other one's time over ours."""
    case.model.eval()
    export_onnx(case.model, {case.argument: case.question}, "probabilities", folder / "model.onnx")
    with torch.inference_mode():
        right = case.model(case.question).numpy()
    answers = {name: start(case, folder) for name, start in RUNTIMES.items()}
    differences = {name: float(np.abs(answer() - right).max()) for name, answer in answers.items()}
    took = measure(answers, rounds, seconds)
    for name, milliseconds in took.items():
        print(f"{case.name:45} {name:16} {milliseconds:8.3f} ms   differs by {differences[name]:.1e}", flush=True)
    others = [took[name] for name in took if name != OURS and differences[name] <= LARGEST_DIFFERENCE]
    return min(others) / took[OURS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5)
    choices = parser.parse_args()
    torch.set_num_threads(1)
    ratios = {}
    for case in cases():
        with tempfile.TemporaryDirectory() as folder:
            ratios[case.name.split(",")[0]] = compare(case, Path(folder), choices.rounds, choices.seconds)
    print("runtimes:", " ".join(f"{name.replace(' ', '_')}={ratio:.2f}" for name, ratio in ratios.items()))


if __name__ == "__main__":
    main()
