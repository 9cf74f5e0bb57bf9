"""Trainings that are run by one process and by several, and what is compared between them.

As a program under torchrun it runs every case for its number of processes, one after the other, and the first process
writes what came out.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.training.stopping import StopAfter
from workers.compression.methods import Data, prepare
from workers.contract import IMAGE_CLASSIFICATION, EventWriter, ProgramFailure, read_events
from workers.parallel.plan import DDP, FSDP, LOCAL_SGD, PIPELINE, SINGLE, ParallelPlan
from workers.parallel.processes import Processes, joined
from workers.parallel.strategies import make_strategy
from workers.training.batches import Batches
from workers.training.checkpoints import CheckpointStore
from workers.training.hyperparameters import resolve
from workers.training.image_data import AUGMENTATIONS
from workers.training.image_models import ImageClassifier, VisionTransformer
from workers.training.loop import Evaluation, FitResult, fit, prepare_torch
from workers.training.losses import Loss, balanced_class_weights, make_loss
from workers.training.stopping import Stop, Stopped

EXAMPLES, BATCH, CLASSES, SIDE = 61, 16, 3, 8
STEPS = 8  # of a training
LAYERS = ("features.0", "features.1", "features.2", "head")
STAGES = {2: (LAYERS[:2], LAYERS[2:]), 4: tuple((name,) for name in LAYERS)}
# With this seed no input of a ReLU lies so near to 0 that another order of a sum decides its sign.
SETTINGS = {
    "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "batch_size": BATCH, "epochs": 2, "scheduler": "cosine",
    "augmentation": "strong", "dropout": 0.2, "max_grad_norm": 0.5, "ema_decay": 0.0, "label_smoothing": 0.05,
    "class_weights": "none", "mixed_precision": "no", "warmup_ratio": 0.1, "weight_decay": 0.01, "seed": 4,
}  # fmt: skip
REMOVING = {"method": "prune_weights", "amount": 0.6, "pattern": "any", "epochs": 2}
ROUNDING = {"method": "quantise", "scheme": "int8", "epochs": 2}


@dataclass(frozen=True)
class Case:
    """A strategy with what it is given; `plan` and `settings` over the usual ones. Without `has_norm` the model is a
    small one with neither batch normalisation nor dropout; or it is a transformer. `step` of a compression has changed
    the model before."""

    strategy: str
    plan: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    has_norm: bool = True
    step: dict[str, Any] = field(default_factory=dict)
    is_transformer: bool = False

    def plan_for(self, world_size: int) -> ParallelPlan:
        stages = STAGES[world_size] if self.strategy == PIPELINE else ()
        values = {"strategy": self.strategy, "world_size": world_size, "stages": stages, **self.plan}
        if values.get("shares") == "uneven":
            values["shares"] = {2: (0.7, 0.3), 4: (0.4, 0.3, 0.25, 0.05)}[world_size]
        return ParallelPlan.from_dict(values)

    def alone(self) -> ParallelPlan:
        """One process with the same micro-batches."""
        return ParallelPlan(SINGLE, accumulation=self.plan.get("accumulation", 1))


EQUAL = {
    "ddp": Case(DDP),
    "ddp with uneven shares and balanced classes": Case(DDP, {"shares": "uneven"}, {"class_weights": "balanced"}),
    "ddp with accumulation and a moving average": Case(DDP, {"accumulation": 3}, {"ema_decay": 0.9}),
    "ddp with focal loss, uneven shares and AdamW": Case(
        DDP, {"shares": "uneven"}, {"loss": "focal", "class_weights": "balanced", "optimizer": "adamw",
                            "learning_rate": 0.002}),
    "ddp with fewer rows than processes": Case(DDP, {"accumulation": 8}, {"augmentation": "none"}, has_norm=False),
    "ddp while weights are removed": Case(DDP, {"shares": "uneven"}, {"ema_decay": 0.9}, step=REMOVING),
    "ddp while it learns to be rounded": Case(DDP, {"shares": "uneven"}, step=ROUNDING),
    "ddp with a transformer": Case(DDP, {"shares": "uneven"}, is_transformer=True),
    "fsdp": Case(FSDP),
    "fsdp while weights are removed": Case(FSDP, step=REMOVING),
    "fsdp with uneven shares, balanced classes and a moving average": Case(
        FSDP, {"shares": "uneven"}, {"class_weights": "balanced", "ema_decay": 0.9}),
    "fsdp with accumulation and AdamW": Case(
        FSDP, {"accumulation": 2}, {"optimizer": "adamw", "learning_rate": 0.002}),
    "pipeline": Case(PIPELINE, {"accumulation": 4}),
    "pipeline with micro-batches of two sizes and a moving average": Case(
        PIPELINE, {"accumulation": 5}, {"ema_decay": 0.9, "class_weights": "balanced"}),
    "pipeline with one micro-batch and AdamW": Case(PIPELINE, {}, {"optimizer": "adamw", "learning_rate": 0.002}),
    "fsdp with a transformer": Case(FSDP, is_transformer=True),
    "pipeline with a transformer": Case(PIPELINE, {"accumulation": 4}, is_transformer=True),
    "pipeline while it learns to be rounded": Case(PIPELINE, {"accumulation": 4}, step=ROUNDING),
    "local SGD that meets after every step": Case(
        LOCAL_SGD, {"sync_every": 1, "outer_learning_rate": 1.0, "outer_momentum": 0.0, "shares": "uneven"},
        {"batch_size": EXAMPLES, "epochs": 6, "momentum": 0.0, "augmentation": "none", "max_grad_norm": 0.0},
        has_norm=False),
}  # fmt: skip
# Each is run by two processes, and by four what more of them change.
PAIRS = [(name, 2) for name in EQUAL] + [
    (name, 4)
    for name in (
        "ddp with focal loss, uneven shares and AdamW", "ddp with fewer rows than processes",
        "fsdp with uneven shares, balanced classes and a moving average", "pipeline",
        "pipeline with one micro-batch and AdamW", "local SGD that meets after every step",
    )
]  # fmt: skip
RESUMED = {
    "ddp": Case(DDP, {"shares": "uneven"}, {"ema_decay": 0.9, "optimizer": "adamw", "learning_rate": 0.002}),
    "fsdp": Case(FSDP, {"shares": "uneven"}, {"ema_decay": 0.9, "optimizer": "adamw", "learning_rate": 0.002}),
    "pipeline": Case(PIPELINE, {"accumulation": 4}, {"ema_decay": 0.9, "optimizer": "adamw", "learning_rate": 0.002}),
    "local_sgd": Case(LOCAL_SGD, {"sync_every": 2}, {"ema_decay": 0.9, "optimizer": "adamw", "learning_rate": 0.002}),
}
STOPPED_AT = 6
# Each of two processes has one of the two micro-batches into which one process cuts a batch.
APART = Case(DDP, {"own_statistics": True, "shares": (0.51, 0.49)}, {"dropout": 0.0})


class Plain(nn.Module):
    """Three layers without batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(SIDE * SIDE, 12), nn.Tanh(), nn.Linear(12, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images.float().flatten(1) / 255)


def problem() -> tuple[np.ndarray, Tensor]:
    random = np.random.default_rng(1)
    targets = random.choice(CLASSES, EXAMPLES, p=(0.6, 0.3, 0.1))
    images = random.integers(0, 120, (EXAMPLES, SIDE, SIDE, 1)) + 60 * targets[:, None, None, None]
    return images.astype(np.uint8), torch.from_numpy(targets)


def make_model(case: Case) -> nn.Module:
    prepare_torch(1, SETTINGS["seed"])
    if not case.has_norm:
        return Plain()
    dropout = case.settings.get("dropout", SETTINGS["dropout"])
    common = {"channels": 1, "classes": CLASSES, "dropout": dropout, "mean": [100.0], "deviation": [50.0]}
    if case.is_transformer:
        model = VisionTransformer(side=SIDE, halvings=1, width=8, depth=1, heads=2, **common)
    else:
        model = ImageClassifier(widths=(4, 6), blocks=1, stem_stride=1, **common)
    if case.step:
        images, targets = problem()
        inputs = (torch.from_numpy(images),)
        prepare(model, case.step, Data(inputs, lambda: [(inputs, targets)], steps=STEPS))
    return model


def run(
    case: Case,
    work: Path,
    plan: ParallelPlan,
    processes: Processes,
    stop: Stop | None = None,
    resume: bool = False,
    spoil: Callable[[Loss], Loss] = lambda loss: loss,
) -> tuple[FitResult, nn.Module, Tensor]:
    """Train; returns the result, the model and what the distributed model answered last to all images."""
    settings = resolve(IMAGE_CLASSIFICATION, "fast", {**SETTINGS, **case.settings})
    model, (images, targets) = make_model(case), problem()
    weights = balanced_class_weights(targets, CLASSES) if settings["class_weights"] == "balanced" else None
    loss, answers = spoil(make_loss(settings, weights)), {}

    def evaluate(judged: nn.Module) -> Evaluation:
        outputs = judged(torch.from_numpy(images)).float()
        value = float(make_loss(settings)(outputs, targets))
        if -value > max(answers, default=-np.inf):
            answers[-value] = outputs
        return Evaluation(-value, {"loss": value})

    result = fit(
        model,
        Batches([images], targets, settings["batch_size"], settings["seed"], AUGMENTATIONS[settings["augmentation"]]),
        evaluate,
        loss,
        hyperparameters=settings,
        events=EventWriter(work / "events.jsonl" if processes.is_first else Path("/dev/null")),
        stop=stop or Stop(),
        checkpoints=CheckpointStore(work / "checkpoints"),
        resume=resume,
        strategy=make_strategy(plan, processes),
    )
    return result, model, answers[max(answers)] if answers else torch.empty(0)


def curve(work: Path) -> dict[str, float]:
    """Every point of every curve by name, split and step; a step that was repeated must have the same value."""
    points: dict[str, float] = {}
    for event, _ in read_events(work / "events.jsonl"):
        if event["type"] == "metric":
            key = f"{event['name']} {event['split']} {event['step']}"
            assert points.setdefault(key, event["value"]) == event["value"], key
    return points


def keep(path: Path, model: nn.Module, answers: Tensor) -> None:
    save_file({"answers": answers, **{f"model.{name}": value for name, value in model.state_dict().items()}}, path)


def kept(path: Path) -> tuple[dict[str, Tensor], Tensor]:
    """The weights of the fused model, and what the distributed one answered."""
    tensors = load_file(path)
    answers = tensors.pop("answers")
    return {name.removeprefix("model."): value for name, value in tensors.items()}, answers


def parts_held(processes: Processes, folder: Path) -> None:
    """How many numbers each process holds of a model's weights and moments after a step."""
    counts = {}
    for name in ("ddp", "fsdp", "pipeline"):
        case = RESUMED[name]
        strategy = make_strategy(case.plan_for(processes.world_size), processes)
        settings = resolve(IMAGE_CLASSIFICATION, "fast", {**SETTINGS, **case.settings})
        images, targets = problem()
        batches = strategy.prepare(
            make_model(case), Batches([images], targets, BATCH, 0), make_loss(settings), settings, "cpu"
        )
        strategy.step(next(batches.epoch(0)), 1, 0.001)
        own = sum(strategy.pieces.own(value).numel() for value in strategy.model.parameters())
        moments = sum(
            strategy.pieces.own(value).numel()
            for state in strategy.optimizer.state.values() for value in state.values() if value.ndim
        )  # fmt: skip
        counts[name] = processes.gather([own, moments])
    if processes.is_first:
        (folder / "held.json").write_text(json.dumps(counts))


def resume(name: str, case: Case, folder: Path, processes: Processes) -> dict[str, Any]:
    """Train whole; train until the last rank is asked to stop, and go on; do so with the newest part damaged."""
    plan, work = case.plan_for(processes.world_size), folder / name
    last = processes.world_size - 1
    facts: dict[str, Any] = {}
    run(case, work / "whole", plan, processes)
    for kind in ("cut", "damaged", "left"):
        stop = StopAfter(STOPPED_AT) if processes.rank == last else Stop()
        try:
            run(case, work / kind, plan, processes, stop)
            raise AssertionError("it did not stop")
        except Stopped:
            pass
        newest = sorted((work / kind / "checkpoints").glob("step-*"))[-1]
        facts[f"{kind} at"] = processes.gather(newest.name)
        processes.wait_for_all()
        if kind == "left":
            break
        if kind == "damaged" and processes.is_first:
            sorted(newest.glob("*.safetensors"))[-1].write_bytes(b"")
        processes.wait_for_all()
        run(case, work / kind, plan, processes, resume=True)
    return facts


def divide_anew(name: str, case: Case, folder: Path, processes: Processes) -> None:
    """One process trains whole and, again, until it is stopped; then all go on together from its checkpoint."""
    if processes.is_first:
        run(case, folder / name / "alone", case.alone(), Processes())
        with contextlib.suppress(Stopped):
            run(case, folder / name / "left alone", case.alone(), Processes(), StopAfter(STOPPED_AT))
        shutil.copytree(folder / name / "left alone" / "checkpoints", folder / name / "divided" / "checkpoints")
    processes.wait_for_all()
    run(case, folder / name / "divided", case.plan_for(processes.world_size), processes, resume=True)


def diverge(case: Case, folder: Path, processes: Processes) -> list[str]:
    """What each process says when the loss of the last one's rows is no number any more."""
    factor = math.nan if processes.rank == processes.world_size - 1 else 1.0

    def spoil(loss: Loss) -> Loss:
        return Loss(lambda outputs, targets: factor * loss(outputs, targets), loss.weigh)

    try:
        run(case, folder, case.plan_for(processes.world_size), processes, spoil=spoil)
    except ProgramFailure as failure:
        return processes.gather(f"{failure.code}: {failure.message}")
    return processes.gather("nothing")


def main(folder: Path, processes: Processes) -> None:
    facts: dict[str, Any] = {}
    for name, case in EQUAL.items():
        if (name, processes.world_size) not in PAIRS:
            continue
        work = folder / name
        _, model, answers = run(case, work, case.plan_for(processes.world_size), processes)
        if processes.is_first:
            keep(work / "kept.safetensors", model, answers)
    if processes.world_size == 2:
        _, model, answers = run(APART, folder / "apart", APART.plan_for(2), processes)
        keep(folder / "apart" / f"{processes.rank}.safetensors", model, answers)
    parts_held(processes, folder)
    for name, case in RESUMED.items() if processes.world_size == 2 else ():
        facts[name] = resume(name, case, folder / "resumed", processes)
        facts[name]["diverged"] = diverge(case, folder / "diverged" / name, processes)
        divide_anew(name, case, folder / "divided", processes)
    if processes.is_first:
        (folder / "facts.json").write_text(json.dumps(facts))


alone = partial(run, processes=Processes())

if __name__ == "__main__":
    with joined("cpu") as processes:
        main(Path(sys.argv[1]), processes)
