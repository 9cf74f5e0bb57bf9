"""The one loop that trains every torch model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from workers import fence
from workers.contract import EventWriter, ProgramFailure, is_disk_full
from workers.parallel.strategies.base import Strategy
from workers.training.batches import Batch, Batches
from workers.training.checkpoints import CheckpointStore
from workers.training.losses import Loss
from workers.training.optimization import learning_rate_factor
from workers.training.reporting import Reporter
from workers.training.stopping import Stop, Stopped

STATE_FORMAT = 2


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on the validation data: `score` decides which epoch is kept (higher is better)."""

    score: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class FitResult:
    """What training did. `history` has one row for each epoch; the model holds the weights of `best_epoch` (from 1).

    `acceleration` says how steps were computed: precision, is_compiled, micro_batches.
    """

    epochs: int
    steps: int
    best_epoch: int
    best_score: float
    history: list[dict[str, float]]
    seconds: float
    samples_per_second: float
    stopped_early: bool
    acceleration: dict[str, Any]


def prepare_torch(threads: int, seed: int) -> None:
    """Fix the number of threads and every random choice of torch in this process."""
    torch.set_num_threads(max(1, threads))
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Determinism needs no memory that is cleared before it is written to.
    torch.utils.deterministic.fill_uninitialized_memory = False


def fit(
    model: nn.Module,
    batches: Batches,
    evaluate: Callable[[nn.Module], Evaluation],
    loss: Loss,
    *,
    hyperparameters: Mapping[str, Any],
    events: EventWriter,
    stop: Stop,
    checkpoints: CheckpointStore,
    resume: bool = False,
    device: str = "cpu",
    span: tuple[float, float] = (0.0, 1.0),
    strategy: Strategy | None = None,
) -> FitResult:
    """Train `model` in place and leave the weights of its best epoch in it.

    `evaluate` gets the model in eval mode without gradients. With `resume`, training goes on from the newest complete
    checkpoint exactly as if it had not been interrupted. `strategy` says how several processes share the work, each of
    which calls this alike; None is one process. Raises Stopped after writing a checkpoint when `stop` is set, and
    ProgramFailure with code diverged or unsupported_precision.
    """
    _check_precision(hyperparameters["mixed_precision"], device)
    reporter = Reporter(events, hyperparameters["epochs"], len(batches), span)
    strategy = strategy or Strategy()
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    identity = {
        "format": STATE_FORMAT,
        "hyperparameters": dict(hyperparameters),
        "examples": len(batches.targets),
        "shapes": shapes,
    }
    batches = strategy.prepare(model, batches, loss, hyperparameters, device)
    training = _Training(strategy, batches, evaluate, hyperparameters, stop, checkpoints, reporter, identity)
    if not (resume and training.restore()):
        checkpoints.clear()
    strategy.settle(
        batches, reporter.steps - training.step, events.log if strategy.processes.is_first else lambda sentence: None
    )
    while not training.is_done():
        training.run_epoch()
    return training.finish()


def _check_precision(precision: str, device: str) -> None:
    if precision == "fp16" and not device.startswith("cuda"):
        message = "mixed_precision is fp16, which needs a GPU, and this job runs on the CPU."
        hint = "Set mixed_precision to bf16 or no."
        raise ProgramFailure("unsupported_precision", message, hint=hint, blame="settings", field="mixed_precision")


@dataclass
class _Training:
    """How far a training is, and the steps that bring it on; the weights are the strategy's.

    `identity` is what must be the same for a checkpoint to be this training's.
    """

    strategy: Strategy
    batches: Batches
    evaluate: Callable[[nn.Module], Evaluation]
    hyperparameters: Mapping[str, Any]
    stop: Stop
    checkpoints: CheckpointStore
    reporter: Reporter
    identity: dict[str, Any]
    step: int = 0
    epoch: int = 0
    epoch_losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -math.inf
    history: list[dict[str, float]] = field(default_factory=list)
    seconds_before: float = 0.0

    def __post_init__(self) -> None:
        self.processes = self.strategy.processes
        self.started = time.monotonic()
        self.saved_at = -math.inf

    # One epoch

    def is_done(self) -> bool:
        return self.epoch >= self.hyperparameters["epochs"] or self._is_stale()

    def _is_stale(self) -> bool:
        patience = self.hyperparameters["early_stopping_patience"]
        return bool(patience) and self.epoch - self.best_epoch >= patience

    def run_epoch(self) -> None:
        """Go on from where this epoch stands: at its start, or in its middle after a resume."""
        for batch in self.batches.epoch(self.epoch, start=self.step - self.epoch * len(self.batches)):
            self._leave_if_asked()
            self._take_step(batch)
        self._leave_if_asked()
        self._end_epoch()

    def _leave_if_asked(self) -> None:
        """Before every step. All processes leave when one is asked to."""
        fence.check()
        if self.processes.any(self.stop.requested):
            self.save()
            raise Stopped

    def _take_step(self, batch: Batch) -> None:
        begin, rate = time.monotonic(), self._learning_rate()
        losses = self.strategy.step(batch, self.step + 1, rate)
        seconds = time.monotonic() - begin
        self.step += 1
        for step, loss in enumerate(losses, self.step - len(losses) + 1):
            self._fail_if_diverged(loss, "training loss", step)
            self.epoch_losses.append(loss)
            self.reporter.took_step(step, loss, rate, len(batch), seconds)

    def _learning_rate(self) -> float:
        settings = self.hyperparameters
        factor = learning_rate_factor(settings["scheduler"], self.step, self.reporter.steps, settings["warmup_ratio"])
        return settings["learning_rate"] * factor

    def _fail_if_diverged(self, value: float, what: str, step: int) -> None:
        if math.isfinite(value):
            return
        rate = self.hyperparameters["learning_rate"]
        recent = ", ".join(f"{loss:.4g}" for loss in self.epoch_losses[-5:]) or "none"
        self.reporter.events.log(f"The last finite losses of this epoch: {recent}.", "error")
        raise ProgramFailure(
            "diverged",
            f"Training diverged: the {what} became {value} in epoch {self.epoch + 1}, step {step}, "
            f"with learning_rate {rate:g}.",
            hint=f"Lower the learning rate to {rate / 10:g}.",
            blame="settings",
            field="learning_rate",
        )

    def _end_epoch(self) -> None:
        evaluation = self.strategy.evaluate(self.evaluate)
        self._fail_if_diverged(evaluation.score, "validation score", self.step)
        self.epoch += 1
        if evaluation.score > self.best_score:
            self.best_score, self.best_epoch = evaluation.score, self.epoch
            self.strategy.keep_best()
        row = {"epoch": self.epoch, "train_loss": sum(self.epoch_losses) / len(self.epoch_losses)}
        self.history.append(row | {f"val_{name}": value for name, value in evaluation.metrics.items()})
        self.reporter.evaluated(evaluation.metrics, self.step)
        self.epoch_losses = []
        # Clocks differ, so that all save when one finds it time.
        if self.is_done() or self.processes.any(time.monotonic() - self.saved_at >= self.checkpoints.every_seconds):
            self.save()

    def finish(self) -> FitResult:
        self.strategy.finish()
        return FitResult(
            epochs=self.epoch,
            steps=self.step,
            best_epoch=self.best_epoch,
            best_score=self.best_score,
            history=self.history,
            seconds=self._seconds(),
            samples_per_second=self.reporter.samples_per_second,
            stopped_early=self.epoch < self.hyperparameters["epochs"],
            acceleration=self.strategy.way.as_dict() | {"micro_batches": self.strategy.plan.accumulation},
        )

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    # Checkpoints

    def save(self) -> None:
        tensors, plain = self.strategy.export_state()
        state = {
            "identity": self.identity,
            "layout": self.strategy.layout,
            "strategy": plain,
            "reporter": self.reporter.state(),
            "epoch": self.epoch,
            "epoch_losses": self.epoch_losses,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score if self.best_epoch else None,
            "history": self.history,
            "seconds": self._seconds(),
        }
        try:
            path = self.checkpoints.save(step=self.step, tensors=tensors, state=state)
        except OSError as error:
            is_alone = self.processes.world_size == 1  # of a gang's checkpoint no part may be missing
            if not (is_alone and is_disk_full(error)):
                raise
            self.reporter.events.log(f"The disk is full: going on without a checkpoint of step {self.step}.", "warning")
            return
        finally:
            self.saved_at = time.monotonic()
        relative = path.relative_to(self.checkpoints.folder.parent)
        self.reporter.events.checkpoint(relative, step=self.step, epoch=self.step / len(self.batches))

    def restore(self) -> bool:
        """Take over the newest complete checkpoint; False when there is none of this training."""
        checkpoint = self.checkpoints.load_newest()
        if checkpoint is None or checkpoint.state["identity"] != self.identity:
            return False
        state = checkpoint.state
        self.strategy.import_state(checkpoint.tensors, state["strategy"])
        self.reporter.restore(state["reporter"])
        self.step, self.epoch, self.epoch_losses = checkpoint.step, state["epoch"], state["epoch_losses"]
        self.best_epoch, self.history, self.seconds_before = state["best_epoch"], state["history"], state["seconds"]
        self.best_score = state["best_score"] if self.best_epoch else -math.inf
        self.reporter.events.log(f"Going on from step {self.step} of {self.reporter.steps}.")
        return True
