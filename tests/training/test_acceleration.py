"""Steps are computed in the way that a trial on this machine shows to be fastest, and a trial leaves no trace."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config as inductor
from torch import nn

from tests.training.test_resume import StopAfter
from workers.contract import EventWriter, read_events
from workers.parallel.strategies import settling
from workers.training import acceleration
from workers.training.acceleration import Way, choose_way
from workers.training.batches import Batches
from workers.training.checkpoints import CheckpointStore
from workers.training.hyperparameters import resolve
from workers.training.loop import Evaluation, FitResult, fit
from workers.training.losses import make_loss
from workers.training.optimization import make_optimizer
from workers.training.stopping import Stop, Stopped

STEPS_PER_EPOCH, EPOCHS = 12, 10


def run(work: Path, stop: Stop | None = None, resume: bool = False, epochs: int = EPOCHS, **overrides: Any):
    """Train a network with a convolution, buffers and dropout, for 120 steps unless told otherwise."""
    settings = resolve("image_classification", "balanced", {"epochs": epochs, "batch_size": 16} | overrides)
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(512, 2)
    )
    inputs = torch.randn(16 * STEPS_PER_EPOCH, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    targets = (inputs.mean(dim=(1, 2, 3)) > 0).long()
    loss = make_loss(settings)

    def evaluate(judged: nn.Module) -> Evaluation:
        value = float(loss(judged(inputs), targets))
        return Evaluation(-value, {"loss": value})

    return fit(
        model, Batches([inputs], targets, settings["batch_size"], 0), evaluate, loss, hyperparameters=settings,
        events=EventWriter(work / "events.jsonl"), stop=stop or Stop(),
        checkpoints=CheckpointStore(work / "checkpoints"), resume=resume,
    )  # fmt: skip


def said(work: Path) -> list[str]:
    return [event["message"] for event, _ in read_events(work / "events.jsonl") if event["type"] == "log"]


@pytest.fixture
def computes_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every CPU can; here it may be thought to be fast at it."""
    monkeypatch.setattr(settling, "has_bf16", lambda device_type: True)


def test_a_trial_leaves_no_trace_in_the_training(
    tmp_path: Path, computes_in_bf16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceleration, "MARGIN", math.inf)  # tried, and found not to be worth it
    tried, plain = run(tmp_path / "tried"), run(tmp_path / "plain", mixed_precision="no")
    assert tried.history == plain.history
    assert "A step takes" in said(tmp_path / "tried")[0]
    assert said(tmp_path / "tried")[0].endswith("32 bits is used.")
    assert said(tmp_path / "plain") == []


def test_a_training_goes_on_as_its_trial_has_settled(
    tmp_path: Path, computes_in_bf16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceleration, "MARGIN", 0.0)  # bf16 wins
    monkeypatch.setattr(acceleration, "SHORTEST_STEP_SECONDS", 0.0)
    whole = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "cut", StopAfter(50))
    monkeypatch.setattr(acceleration, "MARGIN", math.inf)  # another trial would find otherwise
    resumed = run(tmp_path / "cut", resume=True)
    assert resumed.acceleration == whole.acceleration == {"precision": "bf16", "is_compiled": False, "micro_batches": 1}
    assert resumed.history == whole.history
    assert sum("A step takes" in message for message in said(tmp_path / "cut")) == 1


def test_short_trainings_are_not_worth_a_trial(tmp_path: Path, computes_in_bf16: None) -> None:
    assert run(tmp_path, epochs=2).acceleration["precision"] == "no"
    assert said(tmp_path) == []


def choose(seconds: dict[Way, float], steps: int = 10_000, **settings: str) -> tuple[Way, list[str]]:
    """What is chosen where steps take these `seconds`; a way without any cannot be compiled."""
    told: list[str] = []

    def measure(way: Way) -> float:
        if way not in seconds:
            raise RuntimeError("No C++ compiler was found.\nInstall one.")
        return seconds[way]

    way = choose_way(
        Way(), settings={"mixed_precision": "no", "compile": "off"} | settings, device_type="cpu", may_halve=True,
        is_alone=True, steps=steps, measure=measure, log=told.append,
    )  # fmt: skip
    return way, told


PLAIN, HALF, COMPILED = Way(), Way("bf16"), Way(is_compiled=True)


def test_only_what_is_plainly_faster_is_chosen() -> None:
    assert choose({PLAIN: 0.1, HALF: 0.06}, mixed_precision="auto")[0] == HALF
    assert choose({PLAIN: 0.1, HALF: 0.095}, mixed_precision="auto")[0] == PLAIN
    assert choose({PLAIN: 0.001, HALF: 0.0005}, mixed_precision="auto")[0] == PLAIN
    assert choose({PLAIN: 0.1, HALF: 0.06}, mixed_precision="no")[0] == PLAIN


def test_compiling_is_tried_where_a_long_training_is_left_and_kept_where_it_pays() -> None:
    assert choose({PLAIN: 0.01, COMPILED: 0.005}, steps=1000, compile="auto") == (PLAIN, [])
    way, told = choose({PLAIN: 1.0, COMPILED: 0.8}, compile="auto")
    assert way == COMPILED
    assert told[-1].endswith("the model is compiled.")
    way, told = choose({PLAIN: 1.0, COMPILED: 1.1}, compile="auto")
    assert way == PLAIN
    assert told[-1].endswith("trained as it is.")


def test_a_machine_that_cannot_compile_says_so_and_trains_all_the_same() -> None:
    way, told = choose({PLAIN: 1.0}, compile="on")
    assert way == PLAIN
    assert told == ["The model cannot be compiled here and is trained as it is: No C++ compiler was found."]


def test_a_compiled_training_comes_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductor, "fallback_random", True)  # the same dropout as without
    compiled = run(tmp_path / "compiled", epochs=2, mixed_precision="no", compile="on")
    plain = run(tmp_path / "plain", epochs=2, mixed_precision="no", compile="off")
    assert compiled.acceleration["is_compiled"]
    assert [row["val_loss"] for row in compiled.history] == pytest.approx(
        [row["val_loss"] for row in plain.history], rel=0.02
    )


def test_without_a_compiler_the_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    result: FitResult = run(tmp_path, epochs=1, mixed_precision="no", compile="on")
    assert not result.acceleration["is_compiled"]
    assert result.steps == STEPS_PER_EPOCH
    assert "cannot be compiled here" in said(tmp_path)[0]


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_one_pass_over_all_weights_is_the_same_arithmetic(optimizer: str) -> None:
    settings = resolve("image_classification", overrides={"optimizer": optimizer, "learning_rate": 0.05})
    torch.manual_seed(0)
    models = [nn.Linear(30, 20), nn.Linear(30, 20)]
    models[1].load_state_dict(models[0].state_dict())
    steppers = [make_optimizer(model, settings) for model in models]
    for group in steppers[1].param_groups:
        group["fused"], group["foreach"] = False, False
    for _ in range(20):
        rows = torch.randn(8, 30)
        for model, stepper in zip(models, steppers, strict=True):
            stepper.zero_grad()
            model(rows).square().mean().backward()
            stepper.step()
    for left, right in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.allclose(left, right, rtol=1e-4, atol=1e-6)
