"""Measure what a model's layers take on this machine: seconds for a call and for an example, and bytes.

Each layer is run forward and backward by itself with two batch sizes; a line through the two gives what a call and
what an example takes. Then the whole step is run, and the layers' times are scaled so that they add up to it. Of
several runs the fastest counts: whatever else goes on in the machine only ever adds to the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from workers.parallel.facts import Layer, ModelProfile
from workers.parallel.shapes import Shape
from workers.training.acceleration import AUTO, MARGIN, first_way, has_bf16
from workers.training.architectures import arguments_of
from workers.training.batches import Batches
from workers.training.image_data import AUGMENTATIONS
from workers.training.image_models import LayeredClassifier, build_classifier
from workers.training.optimization import MovingAverage, make_optimizer

REPEATS, WARM = 7, 2
BATCH_SECONDS = 0.3  # what a step of the larger batch may take
SMALL_BATCH = 4
LARGE_BATCHES = {"cpu": 64, "cuda": 256, "mps": 128}
USUAL = {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01, "momentum": 0.9}


def measure(shape: Shape, device: str) -> dict[str, Any]:
    """``{"profile", "loading", "free_bytes", "peak_bytes", "batch_sizes", "step_seconds"}``: a ModelProfile as a dict,
    seconds for an example by augmentation, memory before and at the most, and the whole step with the larger batch."""
    return _Bench(shape, torch.device(device)).run()


class _Bench:
    def __init__(self, shape: Shape, device: torch.device) -> None:
        self.shape, self.device = shape, device
        self.free_bytes, self.base_bytes = _free_bytes(device), _held_bytes(device)
        torch.manual_seed(0)
        self.model = build_model(shape).to(device).train()
        self.precision = self._choose_precision()

    def _choose_precision(self) -> torch.dtype | None:
        """As a training would: what the settings say, else what is surely right, else on CPUs by trial."""
        first = first_way(self.shape.precision, self.device.type).dtype
        if self.shape.precision != AUTO or self.device.type != "cpu" or not has_bf16("cpu"):
            return first
        images, seconds = self._images(SMALL_BATCH), {}
        for self.precision in (first, torch.bfloat16):
            seconds[self.precision] = self._time(lambda: self._step(images))
        return torch.bfloat16 if seconds[torch.bfloat16] * MARGIN < seconds[first] else first

    def run(self) -> dict[str, Any]:
        small, large = self._batch_sizes()
        layers = self._layers(small, large)
        step = self._time(lambda: self._step(self._images(large)))
        together = sum(layer.call_seconds + large * layer.example_seconds for layer in layers)
        scale = step / together
        profile = ModelProfile(
            layers=tuple(_scaled(layer, scale) for layer in layers),
            update_seconds=self._update_seconds(),
            average_seconds=self._average_seconds(),
            base_bytes=self.base_bytes,
            is_measured=True,
            device_name=_device_name(self.device),
        )
        return {
            "profile": profile.as_dict(),
            "loading": {name: _loading_seconds(self.shape, name, large) for name in AUGMENTATIONS},
            "free_bytes": self.free_bytes,
            "peak_bytes": _peak_bytes(self.device),
            "batch_sizes": [small, large],
            "step_seconds": step,
        }

    def _batch_sizes(self) -> tuple[int, int]:
        """The larger one as large as a step is short enough, the other a quarter of it."""
        images = self._images(SMALL_BATCH)
        self._step(images)
        took = _timed(self.device, lambda: self._step(images))
        large = LARGE_BATCHES[self.device.type]
        while large > 2 * SMALL_BATCH and took * large / SMALL_BATCH > BATCH_SECONDS:
            large //= 2
        return large // 4, large

    def _images(self, count: int) -> Tensor:
        shape = (count, self.shape.side, self.shape.side, self.shape.channels)
        return torch.rand(shape, device=self.device).mul_(255)

    def _step(self, images: Tensor) -> None:
        self.model.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
            outputs = self.model(images)
        nn.functional.cross_entropy(
            outputs.float(), torch.zeros(len(images), dtype=torch.long, device=self.device)
        ).backward()

    def _time(self, action: Callable[[], object]) -> float:
        for _ in range(WARM):
            action()
        return min(_timed(self.device, action) for _ in range(REPEATS))

    # Layer by layer

    def _layers(self, small: int, large: int) -> list[Layer]:
        found, seconds = [], {}
        for count in (small, large):
            inputs = self._images(count)
            for name, layer in self.model.layers().items():
                seconds[name, count] = self._time(partial(self._run, layer, inputs))
                outputs, kept = self._keep(layer, inputs)
                if count == large:
                    found.append((name, outputs.nbytes // count, kept // count))
                inputs = outputs.detach()
        return [
            self._described(name, size, kept, _line(small, seconds[name, small], large, seconds[name, large]))
            for name, size, kept in found
        ]

    def _described(self, name: str, size: int, kept: int, seconds: tuple[float, float]) -> Layer:
        module = self.model.get_submodule(name)
        parameters = sum(parameter.numel() for parameter in module.parameters())
        norms = sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())
        return Layer(name, parameters, size, kept, *seconds, norms=norms)

    def _run(self, layer: Callable[[Tensor], Tensor], inputs: Tensor) -> None:
        """Forward and backward, to the gradient of the inputs too."""
        inputs = inputs.detach().requires_grad_()
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
            outputs = layer(inputs)
        outputs.backward(torch.ones_like(outputs))

    def _keep(self, layer: Callable[[Tensor], Tensor], inputs: Tensor) -> tuple[Tensor, int]:
        """The layer's outputs, and how many bytes it keeps for backward beside its parameters and its inputs, which the
        layer before keeps as its outputs."""
        inputs = inputs.detach().requires_grad_()
        known = {
            item.untyped_storage().data_ptr() for item in (inputs, *self.model.parameters(), *self.model.buffers())
        }
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast(self.device.type, self.precision, enabled=self.precision is not None),
        ):
            outputs = layer(inputs)
        return outputs, sum(kept.values())

    # Once a step

    def _update_seconds(self) -> float:
        self._step(self._images(SMALL_BATCH))
        optimizer = make_optimizer(self.model, USUAL)

        def update() -> None:
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()

        return self._time(update)

    def _average_seconds(self) -> float:
        average = MovingAverage(deepcopy(self.model), 0.99)
        return self._time(lambda: average.update(self.model, 100))


def build_model(shape: Shape) -> LayeredClassifier:
    middle = [127.5] * shape.channels
    arguments = arguments_of(shape.architecture, shape.side)
    arguments |= {"channels": shape.channels, "classes": shape.classes, "mean": middle, "deviation": middle}
    return build_classifier(shape.architecture, arguments | {"dropout": 0.1})


def _line(small: int, seconds_small: float, large: int, seconds_large: float) -> tuple[float, float]:
    """Seconds for an example and for a call; neither is below nothing."""
    example = max(0.0, (seconds_large - seconds_small) / (large - small))
    example = min(example, seconds_large / large)
    return example, seconds_large - large * example


def _scaled(layer: Layer, factor: float) -> Layer:
    values = asdict(layer)
    return Layer(**{**values, **{name: factor * values[name] for name in ("example_seconds", "call_seconds")}})


def _loading_seconds(shape: Shape, augmentation: str, count: int) -> float:
    """Reading an example from the store and changing it at random."""
    store = np.zeros((4 * count, shape.side, shape.side, shape.channels), dtype=np.uint8)
    batches = Batches([store], torch.zeros(4 * count, dtype=torch.long), count, 0, AUGMENTATIONS[augmentation])
    _read_all(batches, epoch=0)
    started = time.perf_counter()
    _read_all(batches, epoch=1)
    return (time.perf_counter() - started) / (4 * count)


def _read_all(batches: Batches, epoch: int) -> None:
    for batch in batches.epoch(epoch):
        batch.take(0, len(batch))


def _timed(device: torch.device, action: Callable[[], object]) -> float:
    _synchronize(device)
    started = time.perf_counter()
    action()
    _synchronize(device)
    return time.perf_counter() - started


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def _held_bytes(device: torch.device) -> int:
    """What this process holds of the device's memory; a CUDA context is about half a gigabyte that is not told."""
    return 5 * 10**8 if device.type == "cuda" else psutil.Process().memory_info().rss


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
