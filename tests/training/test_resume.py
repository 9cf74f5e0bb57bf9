"""A training that was interrupted goes on as if it had not been, and one that diverges says what to change."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.stopping import StopAfter
from workers.contract import EventWriter, ProgramFailure, read_events
from workers.training import pacing
from workers.training.batches import Batches, Draws
from workers.training.checkpoints import TENSORS, CheckpointStore
from workers.training.hyperparameters import resolve
from workers.training.loop import Evaluation, FitResult, fit
from workers.training.losses import make_loss
from workers.training.stopping import Stop, Stopped

EPOCHS, STEPS_PER_EPOCH = 4, 7


class CrashAfter(StopAfter):
    """Ends the program between two steps, without a word."""

    @property
    def requested(self) -> bool:
        self.asked += 1
        if self.asked > self.steps:
            raise KeyboardInterrupt
        return False

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(97, 6, generator=torch.Generator().manual_seed(1))
    return inputs, (inputs[:, 0] + inputs[:, 1] ** 2 > 0.5).long()


def jitter(inputs: tuple[torch.Tensor, ...], draws: Draws) -> tuple[torch.Tensor, ...]:
    return (inputs[0] + 0.2 * draws.uniform(6) - 0.1,)


def run(
    work: Path,
    stop: Stop | None = None,
    resume: bool = False,
    extends_step: int = 0,
    every_seconds: float = 5.0,
    **overrides: object,
) -> tuple[FitResult, nn.Module]:
    """Fit a small network that has every kind of state: dropout, batch norm, momentum, moving average."""
    settings = resolve("image_classification", "balanced", {"epochs": EPOCHS, "batch_size": 15, "seed": 5} | overrides)
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
    inputs, targets = problem()
    loss = make_loss(settings)

    def evaluate(judged: nn.Module) -> Evaluation:
        value = float(loss(judged(inputs), targets))
        return Evaluation(-value, {"loss": value})

    result = fit(
        model,
        Batches([inputs], targets, settings["batch_size"], settings["seed"], jitter),
        evaluate,
        loss,
        hyperparameters=settings,
        events=EventWriter(work / "events.jsonl"),
        stop=stop or Stop(),
        checkpoints=CheckpointStore(work / "checkpoints", every_seconds=every_seconds),
        resume=resume,
        extends_step=extends_step,
    )
    return result, model


def curve(work: Path) -> dict[tuple[str, str, int], float]:
    """Every point of every curve, by name, split and step; a step that was repeated must have the same value."""
    points: dict[tuple[str, str, int], float] = {}
    for event, _ in read_events(work / "events.jsonl"):
        if event["type"] == "metric":
            key = (event["name"], event["split"], event["step"])
            assert points.setdefault(key, event["value"]) == event["value"], key
    return points


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("stop_after", [3, STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH + 5])
def test_resumed_training_equals_the_uninterrupted_one(tmp_path: Path, optimizer: str, stop_after: int) -> None:
    whole, whole_model = run(tmp_path / "whole", optimizer=optimizer)
    with pytest.raises(Stopped):
        run(tmp_path / "cut", StopAfter(stop_after), optimizer=optimizer)
    resumed, resumed_model = run(tmp_path / "cut", resume=True, optimizer=optimizer)
    assert resumed.history == whole.history
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    assert len(curve(tmp_path / "whole")) == EPOCHS * (2 * STEPS_PER_EPOCH + 1)
    assert (resumed.steps, resumed.best_epoch) == (whole.steps, whole.best_epoch) == (28, whole.best_epoch)
    assert all(
        torch.equal(left, right)
        for left, right in zip(resumed_model.state_dict().values(), whole_model.state_dict().values(), strict=True)
    )


def test_a_long_epoch_is_cut_by_checkpoints_and_a_crash_in_it_costs_one_interval(tmp_path, monkeypatch) -> None:
    whole, _ = run(tmp_path / "whole", batch_size=3)
    monkeypatch.setattr(pacing, "LOST_SHARE", 0.0)
    monkeypatch.setattr(pacing, "WRITING_SHARE", 0.5)  # an interval is over when writing has taken half of the time
    with pytest.raises(KeyboardInterrupt):  # no checkpoint is written on the way out
        run(tmp_path / "cut", CrashAfter(20), batch_size=3, every_seconds=0.0)
    stored = [event for event, _ in read_events(tmp_path / "cut" / "events.jsonl") if event["type"] == "checkpoint"]
    assert len(stored) >= 2 and all(event["epoch"] < 1 for event in stored)
    assert all(event["score"] is None for event in stored), "nothing was measured within the epoch"
    resumed, _ = run(tmp_path / "cut", resume=True, batch_size=3)
    assert resumed.history == whole.history
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")


def test_a_damaged_newest_checkpoint_repeats_a_few_steps_and_ends_the_same(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "cut", StopAfter(2 * STEPS_PER_EPOCH))
    newest = sorted((tmp_path / "cut" / "checkpoints").glob("step-*"))[-1]
    (newest / TENSORS).write_bytes(b"")
    resumed, _ = run(tmp_path / "cut", resume=True)
    assert resumed.history == whole.history


def test_a_checkpoint_of_other_settings_is_not_taken_over(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, StopAfter(5))
    fresh, _ = run(tmp_path, resume=True, learning_rate=0.01)
    alone, _ = run(tmp_path / "alone", learning_rate=0.01)
    assert fresh.history == alone.history


def test_without_resume_training_starts_anew_and_forgets_old_checkpoints(tmp_path: Path) -> None:
    run(tmp_path, epochs=4)
    short, _ = run(tmp_path, epochs=1)
    assert short.steps == STEPS_PER_EPOCH
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000007"]


def test_training_makes_the_loss_small_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    result, model = run(tmp_path, epochs=30, label_smoothing=0.0, learning_rate=0.02)
    inputs, targets = problem()
    assert float((model(inputs).argmax(dim=1) == targets).float().mean()) > 0.95
    losses = [row["val_loss"] for row in result.history]
    assert losses[result.best_epoch - 1] == min(losses) == -result.best_score
    assert losses[-1] < losses[0] / 2


def test_early_stopping_ends_when_patience_is_over(tmp_path: Path) -> None:
    result, _ = run(tmp_path, epochs=200, learning_rate=0.3, max_grad_norm=0.0, early_stopping_patience=3)
    assert result.stopped_early
    assert result.epochs == result.best_epoch + 3 < 200


def test_bf16_learns_too(tmp_path: Path) -> None:
    result, _ = run(tmp_path, mixed_precision="bf16")
    assert result.history[-1]["val_loss"] < result.history[0]["val_loss"]


def test_fp16_is_refused_on_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailure) as caught:
        run(tmp_path, mixed_precision="fp16")
    assert (caught.value.code, caught.value.blame) == ("unsupported_precision", "settings")


def test_divergence_names_the_learning_rate_and_a_smaller_one(tmp_path: Path) -> None:
    inputs = 100 * problem()[0]
    overrides = {"optimizer": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0, "epochs": 50}
    with pytest.raises(ProgramFailure) as caught:
        fit(
            nn.Linear(6, 1),
            Batches([inputs], inputs[:, 0], batch_size=32, seed=0),
            lambda model: Evaluation(0.0, {}),
            make_loss({"loss": "mse"}),
            hyperparameters=resolve("tabular_regression", "balanced", overrides),
            events=EventWriter(tmp_path / "events.jsonl"),
            stop=Stop(),
            checkpoints=CheckpointStore(tmp_path / "checkpoints"),
        )
    failure = caught.value
    assert (failure.code, failure.blame, failure.field) == ("diverged", "settings", "learning_rate")
    assert "learning_rate 1" in failure.message
    assert failure.hint == "Lower the learning rate to 0.1."


def test_progress_says_how_far_how_fast_and_how_long(tmp_path: Path) -> None:
    run(tmp_path)
    first = next(event for event, _ in read_events(tmp_path / "events.jsonl") if event["type"] == "progress")
    assert (first["epoch"], first["epochs"], first["step"], first["steps"]) == (1, EPOCHS, 1, 28)
    assert first["samples_per_second"] > 0
    assert first["eta_seconds"] >= 0
    assert first["fraction"] == pytest.approx(1 / 28, abs=1e-5)


def test_batches_cover_each_example_once_and_differ_by_epoch_but_not_by_run() -> None:
    targets = torch.arange(50)
    batches = Batches([targets], targets, 16, seed=3)
    first = [batch.targets.tolist() for batch in batches.epoch(0)]
    assert sorted(sum(first, [])) == list(range(50))
    assert sorted(map(len, first)) == [12, 12, 13, 13]
    assert first == [batch.targets.tolist() for batch in Batches([targets], targets, 16, seed=3).epoch(0)]
    assert first != [batch.targets.tolist() for batch in batches.epoch(1)]
    assert first[2:] == [batch.targets.tolist() for batch in batches.epoch(0, start=2)]
