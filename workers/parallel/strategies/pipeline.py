"""Pipeline parallel: each process holds some layers, and micro-batches pass through them side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from torch.distributed.pipelining.schedules import PipelineScheduleSingle

from workers.contract import ProgramFailure
from workers.parallel.plan import PIPELINE
from workers.parallel.shares import Bounds, micro_batches
from workers.parallel.strategies.sharded import Sharded
from workers.parallel.synchronized import copy_structure
from workers.training.batches import Batch, Batches
from workers.training.losses import Loss
from workers.training.state import OPTIMIZER, RANDOM


class Pipeline(Sharded):
    """The model is a sequence of `layers()`, of which ``plan.stages[rank]`` are this process's.

    Batch normalisation looks at one micro-batch, as it does in one process with the same accumulation. Dropout draws in
    each stage by itself: with dropout in the last layer alone it is that of one process too. What passes between stages
    is 32 bits wide; within a stage `mixed_precision` holds.
    """

    name = PIPELINE

    def prepare(
        self, model: nn.Module, batches: Batches, loss: Loss, hyperparameters: Mapping[str, Any], device: str
    ) -> Batches:
        check_stages(self.plan.stages, model)
        rank = self.processes.rank
        self.is_start, self.is_end = rank == 0, rank == self.plan.world_size - 1
        (sample,), _ = next(batches.epoch(0)).take(0, 1)
        shapes = boundary_shapes(model, self.plan.stages, sample)
        self.shape_in, self.shape_out, self.answer_shape = shapes[rank], shapes[rank + 1], shapes[-1]
        self.schedules: dict[tuple[int, int, bool], PipelineScheduleSingle] = {}
        return super().prepare(model, batches, loss, hyperparameters, device)

    @property
    def layout(self) -> dict[str, Any]:
        return {**super().layout, "stages": [list(stage) for stage in self.plan.stages]}

    def _apply(self, model: nn.Module) -> nn.Module:
        return keep_layers(copy_structure(model), self.plan.stages[self.processes.rank]).to(self.device)

    # One step

    def _descend(self, batch: Batch) -> float:
        self.whole = self.loss.weigh(batch.targets)
        losses: list[Tensor] = []
        parts = micro_batches(len(batch), self.plan.accumulation)
        # A schedule takes micro-batches of one size.
        for size, run in groupby(parts, key=lambda part: part[1] - part[0]):
            losses += self._run(batch, size, list(run))
        total = torch.stack(losses).sum().item() if self.is_end else 0.0
        return self.processes.sum([total])[0]

    def _run(self, batch: Batch, size: int, parts: list[Bounds]) -> list[Tensor]:
        """Forward and backward of these micro-batches; their losses, in the last stage."""
        start, stop = parts[0][0], parts[-1][1]
        inputs = batch.take(start, stop)[0] if self.is_start else ()
        targets = batch.targets[start:stop].to(self.device) if self.is_end else None
        losses: list[Tensor] = []
        schedule = self._schedule(self.model, size, len(parts), self._loss_of_part)
        schedule.step(*(item.to(self.device) for item in inputs), target=targets, losses=losses, return_outputs=False)
        return [loss.detach() for loss in losses]

    def _loss_of_part(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs, targets) * (self.loss.weigh(targets) / self.whole)

    def _schedule(
        self, model: nn.Module, size: int, count: int, loss: Callable[[Tensor, Tensor], Tensor] | None
    ) -> PipelineScheduleSingle:
        """What runs `count` micro-batches of `size` rows through the stages: made once, forward only without `loss`."""
        key = (size, count, loss is not None)
        if key not in self.schedules:
            # With the shapes given it sends no pickled ones.
            stage = PipelineStage(
                Stage(model, self.plan.stages[self.processes.rank], self._autocast), self.processes.rank,
                self.plan.world_size, torch.device(self.device),
                input_args=example_of(size, self.shape_in, is_activation=not self.is_start),
                output_args=example_of(size, self.shape_out, is_activation=True),
            )  # fmt: skip
            kind = Schedule1F1B if loss and count >= self.plan.world_size else ScheduleGPipe
            self.schedules[key] = kind(stage, count, loss_fn=loss, scale_grads=False)
        return self.schedules[key]

    # Judging

    def _answering(self, model: nn.Module) -> nn.Module:
        return PipelineAnswers(self, model)

    def answer(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        """What the last stage answers to `inputs`, on every process."""
        count = len(inputs[0])
        given = inputs if self.is_start else ()
        outputs = self._schedule(model, count, 1, None).step(*given)
        if not self.is_end:
            outputs = torch.empty(count, *self.answer_shape[0], device=self.device)
        dist.broadcast(outputs, self.plan.world_size - 1)
        return outputs

    # State

    def part_of(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        held, trained = self.model.state_dict().keys(), dict(self.model.named_parameters()).keys()

        def is_own(name: str) -> bool:
            kind, _, rest = name.partition(".")
            if kind + "." == RANDOM:
                return True
            return rest.rsplit(".", 1)[0] in trained if kind + "." == OPTIMIZER else rest in held

        return {name: value for name, value in tensors.items() if is_own(name)}

    def _fused_best(self) -> dict[str, Tensor]:
        return self.processes.collect({name: value.cpu() for name, value in self.best.items()})


class Stage(nn.Module):
    """The layers called `names` of a model, one after the other."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], autocast: Callable[[], Any]) -> None:
        super().__init__()
        self.model, self.names, self.autocast = model, names, autocast

    def forward(self, values: Tensor) -> Tensor:
        layers = self.model.layers()
        if not self.model.training:
            return run_layers(layers, self.names, values).contiguous()
        with self.autocast():
            return run_layers(layers, self.names, values).float().contiguous()


class PipelineAnswers(nn.Module):
    """A model in stages, seen as one."""

    def __init__(self, pipeline: Pipeline, model: nn.Module) -> None:
        super().__init__()
        self.model, self._answer = model, pipeline.answer

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._answer(self.model, *inputs)


def run_layers(layers: Mapping[str, Callable[[Tensor], Tensor]], names: tuple[str, ...], values: Tensor) -> Tensor:
    for name in names:
        values = layers[name](values)
    return values


def check_stages(stages: tuple[tuple[str, ...], ...], model: nn.Module) -> None:
    """Raises ProgramFailure (unsupported_strategy, wrong_stages)."""
    if not hasattr(model, "layers"):
        message = "This model does not name its layers, so that it cannot be cut into stages."
        raise ProgramFailure("unsupported_strategy", message, hint="Use another strategy.", blame="settings")
    layers = list(model.layers())
    if [name for stage in stages for name in stage] != layers:
        message = f"The stages must name every layer of the model once and in its order: {', '.join(layers)}."
        raise ProgramFailure("wrong_stages", message, hint="Make the plan again.", blame="settings")


def keep_layers(model: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """Take from `model`, in place, every parameter and buffer of other layers.

    A tensor belongs to the layer whose name its own begins with; what lies outside of all layers, to the first.
    """
    layers = list(model.layers())
    for path, module in model.named_modules():
        for kept in (module._parameters, module._buffers):
            for name in kept:
                full = f"{path}.{name}" if path else name
                owner = next((layer for layer in layers if full.startswith(f"{layer}.")), layers[0])
                if owner not in names:
                    kept[name] = None
    return model


@torch.no_grad()
def boundary_shapes(
    model: nn.Module, stages: tuple[tuple[str, ...], ...], sample: Tensor
) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """Shape without the batch, and type, of what enters each stage and of what leaves the last; nothing is computed."""
    ghost = copy_structure(model).to("meta")
    was_training = ghost.training
    values, shapes = sample.to("meta"), []
    layers = ghost.eval().layers()
    shapes.append((tuple(values.shape[1:]), values.dtype))
    for names in stages:
        values = run_layers(layers, names, values)
        shapes.append((tuple(values.shape[1:]), torch.float32))
    ghost.train(was_training)
    return shapes


def example_of(size: int, shape: tuple[tuple[int, ...], torch.dtype], *, is_activation: bool) -> Tensor:
    return torch.empty(size, *shape[0], dtype=shape[1], device="meta", requires_grad=is_activation)
