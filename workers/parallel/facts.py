"""What the planner decides by: the model layer by layer, the devices, the links between them, the data, the settings.

Pure. Sizes are in bytes, times in seconds, bandwidths in bytes per second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.parallel.plan import OWN, STRATIFIED
from workers.training.hyperparameters import choose_batch_size

FLOAT_BYTES = 4  # parameters, gradients and the optimiser's state are kept in 32 bits under every precision
CPU = "cpu"


@dataclass(frozen=True)
class Layer:
    """One of the model's layers, by the name under which its parameters stand in the state dict.

    Forward and backward together take `call_seconds` for each call and `example_seconds` for each example.
    `output_bytes` and `activation_bytes` (what backward needs) are for one example. `norms` is how many batch
    normalisations it has.
    """

    name: str
    parameters: int
    output_bytes: int
    activation_bytes: int
    example_seconds: float
    call_seconds: float
    norms: int = 0

    @property
    def parameter_bytes(self) -> int:
        return self.parameters * FLOAT_BYTES


@dataclass(frozen=True)
class ModelProfile:
    """What a training step costs on the device called `device_name`, layer by layer in order.

    `update_seconds` is the optimiser's step, `average_seconds` that of the moving average, for the whole model;
    `loading_seconds` is reading and changing one example; `base_bytes` what a process holds before there is a model.
    """

    layers: tuple[Layer, ...]
    update_seconds: float = 0.0
    average_seconds: float = 0.0
    loading_seconds: float = 0.0
    base_bytes: int = 0
    is_measured: bool = False
    device_name: str = ""

    @property
    def parameter_bytes(self) -> int:
        return sum(layer.parameter_bytes for layer in self.layers)

    @property
    def norms(self) -> int:
        return sum(layer.norms for layer in self.layers)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelProfile:
        return cls(**{**values, "layers": tuple(Layer(**layer) for layer in values["layers"])})


@dataclass(frozen=True)
class Device:
    """`memory_bytes` is what is free for this training; `speed` is relative to the device of the profile."""

    node: str
    index: int
    kind: str
    memory_bytes: int
    speed: float = 1.0


@dataclass(frozen=True)
class Link:
    """`latency_seconds` is one way."""

    bytes_per_second: float
    latency_seconds: float
    is_measured: bool = False


# Where nobody has measured: a copy through the memory of one machine, and a gigabit Ethernet between two.
WITHIN = Link(4e9, 5e-5)
BETWEEN = Link(1.1e8, 2e-4)


@dataclass(frozen=True)
class Links:
    """`measured` by (from, to), the names of nodes; in both directions at once, so the slower of the two counts."""

    measured: Mapping[tuple[str, str], Link] = field(default_factory=dict)
    within: Link = WITHIN
    between: Link = BETWEEN

    def link(self, first: Device, second: Device) -> Link:
        if first.node == second.node:
            return self.measured.get((first.node, first.node), self.within)
        names = (first.node, second.node), (second.node, first.node)
        known = [self.measured[pair] for pair in names if pair in self.measured]
        return _slowest(known) if known else self.between

    def ring(self, devices: Sequence[Device]) -> Link:
        """What a ring over the devices in their order goes at: its slowest hop."""
        hops = zip(devices, [*devices[1:], devices[0]], strict=True)
        return _slowest([self.link(first, second) for first, second in hops])


def _slowest(links: Sequence[Link]) -> Link:
    return Link(
        min(link.bytes_per_second for link in links),
        max(link.latency_seconds for link in links),
        all(link.is_measured for link in links),
    )


@dataclass(frozen=True)
class Data:
    """The training examples; one takes `example_bytes` as the model is given it."""

    examples: int
    example_bytes: int = 0
    classes: int = 0


@dataclass(frozen=True)
class Settings:
    """`optimizer_states` is how many numbers the optimiser keeps for each parameter: 2 for the adam family, 1 for sgd
    with momentum. `has_average` is whether a moving average of the weights is kept. `own_statistics` and `sharding` are
    as in a ParallelPlan, where it is of a strategy that has them."""

    batch_size: int
    precision: str = "no"
    optimizer_states: int = 2
    has_average: bool = False
    own_statistics: bool = False
    sharding: str = STRATIFIED

    @classmethod
    def of(cls, hyperparameters: Mapping[str, Any], examples: int) -> Settings:
        """From complete hyper-parameters (workers/training/hyperparameters.py), for so many training examples."""
        is_sgd = hyperparameters["optimizer"] == "sgd"
        return cls(
            batch_size=choose_batch_size(hyperparameters["batch_size"], examples),
            precision=hyperparameters["mixed_precision"],
            optimizer_states=(1 if hyperparameters["momentum"] else 0) if is_sgd else 2,
            has_average=bool(hyperparameters["ema_decay"]),
            own_statistics=hyperparameters.get("batch_statistics") == OWN,
            sharding=hyperparameters.get("sharding", STRATIFIED),
        )
