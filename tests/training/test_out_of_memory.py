"""A batch that does not fit into memory is computed in parts, and the training is the same."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training.images import ROOT
from workers.contract import EventWriter, ProgramFailure, read_events
from workers.training.batches import Batches
from workers.training.checkpoints import CheckpointStore
from workers.training.hyperparameters import choose_batch_size, resolve
from workers.training.loop import Evaluation, FitResult, fit
from workers.training.losses import make_loss
from workers.training.memory import available_bytes
from workers.training.stopping import Stop


class Cramped(nn.Module):
    """A network on a device that has room for `rows` examples, and says so as torch does."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows, self.tried = rows, []
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 2))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Tensor) -> Tensor:
        self.tried.append(len(inputs))
        self.calls += 1
        if len(inputs) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.layers(inputs)


def train(work: Path, room: int, batch_size: int = 32) -> tuple[FitResult, Cramped]:
    torch.manual_seed(3)
    model = Cramped(room)
    inputs = torch.randn(96, 6)
    targets = (inputs[:, 0] > 0).long()
    settings = resolve("image_classification", "balanced", {"epochs": 2, "batch_size": batch_size})
    loss = make_loss(settings)

    def evaluate(judged: nn.Module) -> Evaluation:
        value = float(loss(judged.layers(inputs), targets))
        return Evaluation(-value, {"loss": value})

    batches = Batches([inputs], targets, choose_batch_size(settings["batch_size"], len(targets)), 0)
    result = fit(
        model, batches, evaluate, loss, hyperparameters=settings, events=EventWriter(work / "events.jsonl"),
        stop=Stop(), checkpoints=CheckpointStore(work / "checkpoints"),
    )  # fmt: skip
    return result, model


def said(work: Path) -> list[str]:
    return [event["message"] for event, _ in read_events(work / "events.jsonl") if event["type"] == "log"]


def test_the_same_training_goes_on_in_parts_that_fit(tmp_path: Path) -> None:
    roomy, _ = train(tmp_path / "roomy", room=96)
    cramped, model = train(tmp_path / "cramped", room=9)
    assert [row["val_loss"] for row in cramped.history] == pytest.approx([row["val_loss"] for row in roomy.history])
    assert cramped.steps == roomy.steps == 6
    assert (roomy.acceleration["micro_batches"], cramped.acceleration["micro_batches"]) == (1, 4)
    assert max(model.tried[-4:]) == 8
    assert "batches of 32 are now computed in 4 parts" in said(tmp_path / "cramped")[-1]


def test_a_failed_attempt_leaves_no_trace_in_the_model(tmp_path: Path) -> None:
    _, model = train(tmp_path, room=9)
    counted = model.state_dict()["calls"].item()  # of the best epoch, which is the first or the second
    assert counted in (3 * 4, 6 * 4)


def test_it_fails_only_when_a_single_example_is_too_much(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailure) as caught:
        train(tmp_path, room=0)
    assert (caught.value.code, caught.value.blame) == ("out_of_memory", "machine")
    assert "single example" in caught.value.message


def test_an_automatic_batch_size_follows_from_the_number_of_examples(tmp_path: Path) -> None:
    assert [choose_batch_size(0, count) for count in (10, 500, 1437, 2000, 8000, 10**6)] == [16, 16, 32, 64, 256, 256]
    assert choose_batch_size(50, 10**6) == 50
    result, _ = train(tmp_path, room=96, batch_size=0)
    assert result.steps == 2 * 96 // 16


# Room for 400 MB beside what a fresh interpreter takes. The first network keeps 25 MB of every example for its backward
# pass, which can be counted before; the second takes as much for a moment only, which cannot.
SCRIPT = """
import resource, sys
from pathlib import Path
import psutil, torch
from torch import nn
from workers.contract import EventWriter
from workers.training.batches import Batches
from workers.training.checkpoints import CheckpointStore
from workers.training.hyperparameters import resolve
from workers.training.loop import Evaluation, fit, prepare_torch
from workers.training.losses import make_loss
from workers.training.stopping import Stop

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
    def forward(self, inputs):
        if sys.argv[2] == "kept":
            wide = inputs[:, :1].expand(-1, 3_000_000) * self.head.weight[0, 0]
            return self.head(inputs) + wide.square().mean(dim=1, keepdim=True)
        with torch.no_grad():
            wide = inputs[:, :1].expand(-1, 6_000_000) * 2
        return self.head(inputs) + wide.mean(dim=1, keepdim=True)

work = Path(sys.argv[1])
prepare_torch(1, 0)
inputs, targets = torch.randn(64, 4), torch.arange(64) % 2
settings = resolve("image_classification", "fast", {"epochs": 1, "batch_size": 64})
taken = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (taken + 400 * 2**20,) * 2)
result = fit(Net(), Batches([inputs], targets, 64, 0), lambda model: Evaluation(0.0, {}), make_loss(settings),
             hyperparameters=settings, events=EventWriter(work / "events.jsonl"), stop=Stop(),
             checkpoints=CheckpointStore(work / "checkpoints"))
print(result.steps, result.acceleration["micro_batches"])
"""


@pytest.mark.parametrize(("use", "sentence"), [("kept", "more than fits"), ("for a moment", "Out of memory")])
def test_where_the_machine_has_no_more_memory_the_step_is_divided(tmp_path: Path, use: str, sentence: str) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), use]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    steps, parts = map(int, done.stdout.split())
    assert steps == 1
    assert parts >= 4
    assert any(sentence in message for message in said(tmp_path)), said(tmp_path)


def test_free_memory_is_never_more_than_the_machine_has() -> None:
    assert 0 < available_bytes() < 2**50
