"""A profile by arithmetic, for as long as nobody has measured. Pure.

A convolution costs 2 k^2 inputs outputs operations for each pixel of its output, backward twice as much (for its input
and for its weights). Normalisation and ReLU cost about the same for each number that they leave for backward.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from workers.parallel.facts import CPU, FLOAT_BYTES, Layer, ModelProfile
from workers.parallel.shapes import Shape
from workers.training.architectures import ARCHITECTURES, EXPANSION, VIT_TINY, arguments_of, stem_stride

PASSES = 3  # forward, and backward as two of the same size
# What small convolutions reach of what is printed on the box; one CPU thread, one GPU of some years ago.
TYPICAL_FLOPS = {CPU: 1.5e10, "cuda": 3e12, "mps": 1e12}
KEPT_SECONDS = {CPU: 8e-9, "cuda": 4e-11, "mps": 1e-10}
CALL_SECONDS = {CPU: 2e-4, "cuda": 4e-4, "mps": 6e-4}  # for each layer, forward and backward, however small
UPDATE_SECONDS_PER_PARAMETER = {CPU: 4e-9, "cuda": 1e-10, "mps": 4e-10}
LOADING_SECONDS_PER_PIXEL = 6e-8  # turning, moving and shading an image on one CPU thread
BASE_BYTES = {CPU: 4 * 10**8, "cuda": 5 * 10**8, "mps": 5 * 10**8}


@dataclass(frozen=True)
class Described:
    """A layer as arithmetic sees it: `flops` are of forward, for one example."""

    name: str
    parameters: int
    flops: float
    output_numbers: int
    kept_numbers: int
    norms: int = 0


def describe(shape: Shape) -> Iterator[Described]:
    """The layers of an image classifier (workers/training/image_models.py) in order."""
    if shape.architecture == VIT_TINY:
        yield from _transformer(shape)
        return
    facts = ARCHITECTURES[shape.architecture]
    inputs, side = facts["widths"][0], math.ceil(shape.side / stem_stride(shape.side))
    parameters, flops = _convolution(shape.channels, inputs, 3, side)
    pixels = inputs * side**2
    yield Described("features.0", parameters, flops, pixels, shape.channels * shape.side**2 + 2 * pixels, 1)
    number = 0
    for stage, width in enumerate(facts["widths"]):
        for block in range(facts["blocks"]):
            number += 1
            stride = 2 if stage and not block else 1
            side = math.ceil(side / stride)
            yield _block(f"features.{number}", inputs, width, side, stride)
            inputs = width
    yield _head(inputs, shape.classes)


def _head(inputs: int, classes: int) -> Described:
    weights = inputs * classes
    return Described("head", weights + classes, 2 * weights, classes, 2 * inputs)


def _transformer(shape: Shape) -> Iterator[Described]:
    facts = arguments_of(shape.architecture, shape.side)
    width, side, inputs = facts["width"], shape.side, shape.channels
    parameters, flops, kept, halvings = 0, 0.0, shape.channels * shape.side**2, facts["halvings"]
    for number in range(halvings + 1):
        outputs, side = width >> (halvings - number), side if number == 0 else math.ceil(side / 2)
        more, costs = _convolution(inputs, outputs, 3, side)
        parameters, flops, kept, inputs = parameters + more, flops + costs, kept + 2 * outputs * side**2, outputs
    tokens = side**2
    numbers = tokens * width
    parameters += width * (width + 1 + tokens)
    yield Described("features.0", parameters, flops + 2 * numbers * width, numbers, kept, halvings + 1)
    weights = (4 + 2 * EXPANSION) * width**2
    biases = (3 + 1 + EXPANSION + 1 + 4) * width  # of the layers, and two normalisations
    flops = 2.0 * weights * tokens + 4.0 * tokens * numbers
    kept = (7 + 2 * EXPANSION) * numbers + (4 + facts["heads"]) * tokens  # and what normalises tokens and heads
    for number in range(1, facts["depth"] + 1):
        yield Described(f"features.{number}", weights + biases, flops, numbers, kept)
    yield Described(f"features.{facts['depth'] + 1}", 2 * width, 8.0 * numbers, numbers, 2 * tokens)
    yield _head(width, shape.classes)


def _convolution(inputs: int, outputs: int, kernel: int, side: int) -> tuple[int, float]:
    """Parameters with those of the normalisation, and operations."""
    weights = kernel**2 * inputs * outputs
    return weights + 2 * outputs, 2.0 * weights * side**2


def _block(name: str, inputs: int, width: int, side: int, stride: int) -> Described:
    parts = [_convolution(inputs, width, 3, side), _convolution(width, width, 3, side)]
    is_changed = stride != 1 or inputs != width
    if is_changed:
        parts.append(_convolution(inputs, width, 1, side))
    pixels = width * side**2
    kept = (4 + is_changed) * pixels  # two convolutions and their ReLUs, and the shortcut
    return Described(name, sum(part[0] for part in parts), sum(part[1] for part in parts), pixels, kept, len(parts))


def step_flops(shape: Shape) -> float:
    """Forward and backward of one example."""
    return PASSES * sum(layer.flops for layer in describe(shape))


def estimate_profile(shape: Shape, kind: str, *, threads: int = 1, flops_per_second: float = 0.0) -> ModelProfile:
    """What `shape` probably takes on a device of this kind; `flops_per_second` is what it reached with another one."""
    rows = list(describe(shape))
    cores = threads if kind == CPU else 1
    speed = flops_per_second or TYPICAL_FLOPS[kind] * cores
    parameters = sum(row.parameters for row in rows)
    update = parameters * UPDATE_SECONDS_PER_PARAMETER[kind] + len(rows) * CALL_SECONDS[kind]
    return ModelProfile(
        layers=tuple(
            Layer(
                name=row.name,
                parameters=row.parameters,
                output_bytes=row.output_numbers * FLOAT_BYTES,
                activation_bytes=row.kept_numbers * FLOAT_BYTES,
                example_seconds=PASSES * row.flops / speed + row.kept_numbers * KEPT_SECONDS[kind] / cores,
                call_seconds=CALL_SECONDS[kind],
                norms=row.norms,
            )
            for row in rows
        ),
        update_seconds=update,
        average_seconds=update / 4,
        loading_seconds=shape.channels * shape.side**2 * LOADING_SECONDS_PER_PIXEL / threads,
        base_bytes=BASE_BYTES[kind],
        device_name=kind,
    )


def with_classes(profile: ModelProfile, shape: Shape) -> ModelProfile:
    """A profile that was measured with another number of classes: its head as large as `shape` asks."""
    *_others, described = describe(shape)
    *layers, head = profile.layers
    sized = dataclasses.replace(
        head, parameters=described.parameters, output_bytes=described.output_numbers * FLOAT_BYTES
    )
    return dataclasses.replace(profile, layers=(*layers, sized))
