"""How one training is spread over processes: decided by the planner, shown to people, carried out by the strategies.

Pure: the site reads and writes plans, and never loads torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SINGLE, DDP, FSDP, PIPELINE, LOCAL_SGD = "single", "ddp", "fsdp", "pipeline", "local_sgd"
STRATEGIES = (SINGLE, DDP, FSDP, PIPELINE, LOCAL_SGD)
STRATIFIED, BY_SOURCE = "stratified", "source"  # how examples are dealt out
WHOLE, OWN = "whole", "own"  # the batch that batch normalisations look at: of all processes, or of each


class PlanError(ValueError):
    """A plan that cannot be carried out; `field` is the one to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field, self.message = field, message


@dataclass(frozen=True)
class ParallelPlan:
    """What each of `world_size` processes does; rank r is the r-th of all, node by node.

    `accumulation` is into how many micro-batches a batch is cut: one after the other on each rank, or side by side in a
    pipeline. `stages` names for each rank of a pipeline the layers that it holds. `shares` gives each rank its part of
    the examples (they sum to 1; empty is an even share). `sync_every`, `outer_learning_rate` and `outer_momentum` are
    H and the outer Nesterov step of local SGD (DiLoCo, Douillard et al. 2023, algorithm 1); `sharding` is how it deals
    the examples out: every rank the same mix of classes, or whole sources together. With `own_statistics` the batch
    normalisations of each rank of ddp look at its own examples alone.
    """

    strategy: str = SINGLE
    world_size: int = 1
    accumulation: int = 1
    stages: tuple[tuple[str, ...], ...] = ()
    shares: tuple[float, ...] = ()
    sync_every: int = 16
    outer_learning_rate: float = 0.7
    outer_momentum: float = 0.9
    sharding: str = STRATIFIED
    cpu_offload: bool = False
    own_statistics: bool = False

    def __post_init__(self) -> None:
        self._require(self.strategy in STRATEGIES, "strategy", f"must be one of {', '.join(STRATEGIES)}")
        self._require(self.world_size >= 1, "world_size", "must be at least 1")
        self._require((self.strategy == SINGLE) == (self.world_size == 1), "world_size",
                      "must be 1 for single and more than 1 for every other strategy")  # fmt: skip
        self._require(self.accumulation >= 1, "accumulation", "must be at least 1")
        self._require(self.sync_every >= 1, "sync_every", "must be at least 1")
        self._require(self.sharding in (STRATIFIED, BY_SOURCE), "sharding", "must be stratified or source")
        if self.strategy == PIPELINE:
            self._require(len(self.stages) == self.world_size and all(self.stages), "stages",
                          "must name at least one layer for each process")  # fmt: skip
        if self.shares:
            fits = len(self.shares) == self.world_size and abs(sum(self.shares) - 1) < 1e-6 and min(self.shares) > 0
            self._require(fits, "shares", "must be one positive share for each process, and sum to 1")

    def _require(self, is_right: bool, field: str, rule: str) -> None:
        if not is_right:
            raise PlanError(field, f"{field} is {getattr(self, field)!r}; it {rule}.")

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ParallelPlan:
        """The plan that `as_dict` wrote; an empty mapping is `single`. Raises PlanError."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(values) - known:
            raise PlanError(min(unknown), f"a plan has no {min(unknown)!r}.")
        read = dict(values)
        if "stages" in read:
            read["stages"] = tuple(tuple(stage) for stage in read["stages"])
        if "shares" in read:
            read["shares"] = tuple(read["shares"])
        return cls(**read)
