"""The one loop that trains every torch model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from workers import fence
from workers.contract import EventWriter, ProgramFailure
from workers.parallel.restoring import part_of, restore_newest
from workers.parallel.strategies.base import Strategy
from workers.training.batches import Batch, Batches
from workers.training.losses import Loss
from workers.training.reporting import Reporter
from workers.training.saving import CheckpointWriter, Store
from workers.training.stages import Stage
from workers.training.stopping import Stop, Stopped

STATE_FORMAT = 3
WITHOUT_EFFECT = ("checkpoint_every",)  # on what is learned


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on the validation data: `score` decides which epoch is kept (higher is better)."""

    score: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class FitResult:
    """What training did. `history` has one row for each epoch; the model holds the weights of `best_epoch` (from 1).

    `acceleration` says how steps were computed: precision, is_compiled, micro_batches. `temperature` is what the logits
    were divided by afterwards (workers/training/calibration.py).
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
    temperature: float = 1.0


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
    checkpoints: Store,
    resume: bool = False,
    extends_step: int = 0,
    device: str = "cpu",
    span: tuple[float, float] = (0.0, 1.0),
    strategy: Strategy | None = None,
) -> FitResult:
    """Train `model` in place and leave the weights of its best epoch in it.

    `evaluate` gets the model in eval mode without gradients. With `resume`, training goes on from the newest complete
    checkpoint exactly as if it had not been interrupted. With `extends_step` it goes on from an earlier training's
    checkpoint after so many steps, up to a higher number of epochs (see stages.py), and its best epoch competes.
    `strategy` says how several processes share the work, each of which calls this alike; None is one process. Raises
    Stopped after writing a checkpoint when `stop` is set, and ProgramFailure with code diverged, unsupported_precision
    or nothing_to_extend.
    """
    _check_precision(hyperparameters["mixed_precision"], device)
    reporter = Reporter(events, hyperparameters["epochs"], len(batches), span)
    strategy = strategy or Strategy()
    identity = _identity(model, len(batches.targets), hyperparameters, extends_step)
    batches = strategy.prepare(model, batches, loss, hyperparameters, device)
    training = _Training(strategy, batches, evaluate, hyperparameters, stop, checkpoints, reporter, identity)
    if not (resume and training.restore()):
        if extends_step:
            raise _nothing_to_extend()
        checkpoints.clear()
        strategy.processes.wait_for_all()
    strategy.make_room(batches, events.log)
    while not training.is_done():
        training.run_epoch()
    return training.finish()


def _check_precision(precision: str, device: str) -> None:
    if precision == "fp16" and not device.startswith("cuda"):
        message = "mixed_precision is fp16, which needs a GPU, and this job runs on the CPU."
        hint = "Set mixed_precision to bf16 or no."
        raise ProgramFailure("unsupported_precision", message, hint=hint, blame="settings", field="mixed_precision")


def _nothing_to_extend() -> ProgramFailure:
    message = "The checkpoint that was to be trained further is damaged, or is not of this data and these settings."
    hint = "Go on from another checkpoint, or train again from the beginning."
    return ProgramFailure("nothing_to_extend", message, hint=hint, blame="machine")


def _identity(model: nn.Module, examples: int, hyperparameters: Mapping[str, Any], extends_step: int) -> dict[str, Any]:
    """What must be the same for a checkpoint to be this training's."""
    return {
        "format": STATE_FORMAT,
        "hyperparameters": {name: value for name, value in hyperparameters.items() if name not in WITHOUT_EFFECT},
        "examples": examples,
        "shapes": {name: list(value.shape) for name, value in model.state_dict().items()},
        "extends_step": extends_step,
    }


def _without_length(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity but for how long is trained."""
    settings = {name: value for name, value in identity["hyperparameters"].items() if name != "epochs"}
    return {**identity, "hyperparameters": settings, "extends_step": None}


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
    checkpoints: Store
    reporter: Reporter
    identity: dict[str, Any]
    stage: Stage = field(default_factory=Stage)
    evaluation: Evaluation | None = None  # of the epoch that ends with `step`
    saved_step: int | None = None
    step: int = 0
    epoch: int = 0
    epoch_losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -math.inf
    history: list[dict[str, float]] = field(default_factory=list)
    seconds_before: float = 0.0
    unreported_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.processes = self.strategy.processes
        self.started = time.monotonic()
        is_alone = self.processes.world_size == 1  # of a gang's checkpoint no part may be missing
        self.writer = CheckpointWriter(
            self.checkpoints, self.reporter.events, self._seconds,
            may_fail=is_alone, part=part_of(self.strategy), meet=self.processes.wait_for_all,
        )  # fmt: skip

    # One epoch

    def is_done(self) -> bool:
        return self.epoch >= self.hyperparameters["epochs"] or self._is_stale()

    def _is_stale(self) -> bool:
        patience = self.hyperparameters["early_stopping_patience"]
        since = max(self.best_epoch, self.stage.start // len(self.batches))
        return bool(patience) and self.epoch - since >= patience

    def run_epoch(self) -> None:
        """Go on from where this epoch stands: at its start, or in its middle after a resume."""
        for batch in self.batches.epoch(self.epoch, start=self.step - self.epoch * len(self.batches)):
            self._save_or_leave()
            self._take_step(batch)
        self._save_or_leave()
        self._end_epoch()

    def _save_or_leave(self) -> None:
        """Before every step, and before an epoch is judged. All processes leave when one is asked to; clocks differ, so
        that all save when one finds it time."""
        fence.check()
        is_asked, is_due = self.strategy.agree(self.stop.requested, self.writer.is_due())
        if (is_asked or is_due) and self.step != self.saved_step:
            self.save()
        if is_asked:
            raise Stopped

    def _take_step(self, batch: Batch) -> None:
        self.strategy.settle(batch, self.step, self.reporter.steps)
        begin, rate = time.monotonic(), self._learning_rate()
        losses = self.strategy.step(batch, self.step + 1, rate)
        self.unreported_seconds += time.monotonic() - begin
        self.step += 1
        self.evaluation = None
        if losses:
            self._took_steps(losses, rate)

    def _took_steps(self, losses: list[float], rate: float) -> None:
        """The losses of the last steps are known now."""
        seconds, self.unreported_seconds = self.unreported_seconds / len(losses), 0.0
        examples = len(self.batches.targets) / len(self.batches)
        for step, loss in enumerate(losses, self.step - len(losses) + 1):
            self._fail_if_diverged(loss, "training loss", step)
            self.epoch_losses.append(loss)
            self.reporter.took_step(step, loss, rate, examples, seconds)

    def _learning_rate(self) -> float:
        return self.hyperparameters["learning_rate"] * self._rate_factor()

    def _rate_factor(self) -> float:
        settings = self.hyperparameters
        return self.stage.factor(settings["scheduler"], self.step, self.reporter.steps, settings["warmup_ratio"])

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
        evaluation = self._evaluate()
        self._fail_if_diverged(evaluation.score, "validation score", self.step)
        self.epoch += 1
        self.evaluation = evaluation
        is_best = evaluation.score > self.best_score
        if is_best:
            self.best_score, self.best_epoch = evaluation.score, self.epoch
            self.strategy.keep_best()
        row = {"epoch": self.epoch, "train_loss": sum(self.epoch_losses) / len(self.epoch_losses)}
        self.history.append(row | {f"val_{name}": value for name, value in evaluation.metrics.items()})
        self.reporter.evaluated(evaluation.metrics, self.step)
        self.epoch_losses = []
        is_due = self.processes.any(self.writer.is_due(is_best=is_best))
        if self.is_done() or self.saved_step is None or self._is_kept() or is_due:
            self.save()

    def _evaluate(self) -> Evaluation:
        """The first process's word decides, or rounding might part them over which epoch was best."""
        evaluation = self.strategy.evaluate(self.evaluate)
        return Evaluation(**self.processes.from_first(asdict(evaluation)))

    def _is_kept(self) -> bool:
        every = self.hyperparameters.get("checkpoint_every", 0)
        return bool(every) and self.evaluation is not None and self.epoch % every == 0

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
        tensors, plain = self.strategy.export_state() if self.writer.part else ({}, {})
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
            "stage": asdict(self.stage),
            "rate_factor": self._rate_factor(),
        }
        self.writer.write(
            step=self.step,
            epoch=self.step / len(self.batches),
            tensors=tensors,
            state=state,
            score=self.evaluation.score if self.evaluation else None,
            metrics=self.evaluation.metrics if self.evaluation else None,
            is_kept=self._is_kept(),
        )
        self.saved_step = self.step

    def _is_ours(self, state: Mapping[str, Any]) -> bool:
        return state["identity"] == self.identity

    def _is_usable(self, step: int, state: Mapping[str, Any]) -> bool:
        """Whether it is this training's, or the one that this goes on from: of the same training but for its length."""
        if self._is_ours(state):
            return True
        is_extended = self.identity["extends_step"] == step > 0
        return is_extended and _without_length(state["identity"]) == _without_length(self.identity)

    def restore(self) -> bool:
        """Take over the newest complete checkpoint; False when there is none of this training."""
        restored = restore_newest(self.checkpoints, self.strategy, self._is_usable)
        if restored is None:
            return False
        state = restored.state
        if self._is_ours(state):
            self.stage = Stage(**state["stage"])
        else:
            self.stage = Stage.extending(restored.step, state["rate_factor"])
        self.reporter.restore(state["reporter"])
        self.step, self.epoch, self.epoch_losses = restored.step, state["epoch"], state["epoch_losses"]
        self.best_epoch, self.history, self.seconds_before = state["best_epoch"], state["history"], state["seconds"]
        self.best_score = state["best_score"] if self.best_epoch else -math.inf
        self.saved_step = self.writer.saved_step = self.step
        self.reporter.events.log(f"Going on from step {self.step} of {self.reporter.steps}.")
        if restored.layout != self.strategy.layout:
            self._tell_layout(restored.layout)
        return True

    def _tell_layout(self, before: Mapping[str, Any]) -> None:
        was, now = (f"{item['world_size']} ({item['strategy']})" for item in (before, self.strategy.layout))
        self.reporter.events.log(f"The checkpoint of {was} processes is divided anew among {now}.")
