"""Checkpoints of a training that makes several models: those that are finished, and how far the present one is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workers import fence
from workers.contract import EventWriter, TrainSpec
from workers.training.checkpoints import Checkpoint, CheckpointStore, checkpoints_of
from workers.training.saving import CheckpointWriter
from workers.training.stopping import Stop, Stopped
from workers.trees import Arrays

SEPARATOR = "|"


@dataclass
class Curves(EventWriter):
    """Writes the events of one model, and metrics of the first model only: those of the next would run over them. A
    checkpoint is at the step to which the curves are drawn, for from there on they are drawn again."""

    keeper: Keeper = field(kw_only=True)
    key: str = field(kw_only=True)

    def metric(self, name: str, value: float, *, split: str, step: int, epoch: float) -> None:
        if self.key == self.keeper.curve_key:
            self.keeper.curve_step = step
            super().metric(name, value, split=split, step=step, epoch=epoch)

    def checkpoint(self, path: Path, *, step: int, epoch: float, **labels: Any) -> None:
        super().checkpoint(path, step=self.keeper.curve_step, epoch=epoch, **labels)


@dataclass
class Keeper:
    """`members` holds the arrays of every finished model by its key; `identity` says which training they belong to.
    `curve_key` is the one model that draws curves, `curve_step` how far it has drawn them."""

    store: CheckpointStore
    identity: dict[str, Any]
    events: EventWriter
    stop: Stop
    members: dict[str, Arrays] = field(default_factory=dict)
    histories: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    step: int = 0
    curve_key: str = ""
    curve_step: int = 0
    started: float = field(default_factory=time.monotonic)
    _partial: tuple[str, Arrays, dict[str, Any]] | None = None

    @classmethod
    def open(cls, spec: TrainSpec, identity: dict[str, Any], events: EventWriter, stop: Stop) -> Keeper:
        """Of the training that `spec` describes: with what it has kept where it goes on, else empty."""
        keeper = cls(checkpoints_of(spec), identity, events, stop)
        if spec.resume:
            keeper.restore()
        else:
            keeper.clear()
        return keeper

    def __post_init__(self) -> None:
        self.writer = CheckpointWriter(self.store, self.curves(""), lambda: time.monotonic() - self.started)

    def curves(self, key: str) -> Curves:
        """Where the model `key` reports."""
        return Curves(self.events.path, _file=self.events._file, keeper=self, key=key)

    def restore(self) -> None:
        """Take over the newest complete checkpoint, if it is of this training."""
        checkpoint = self.store.load_newest()
        if checkpoint is None or checkpoint.state["identity"] != self.identity:
            return
        self.step, self.histories = checkpoint.step, checkpoint.state["histories"]
        self.curve_key, self.curve_step = checkpoint.state.get("curve", ("", 0))  # before there were any
        groups: dict[str, Arrays] = {key: {} for key in checkpoint.state["members"]}
        partial: Arrays = {}
        for name, array in checkpoint.tensors.items():
            key, _, inner = name.partition(SEPARATOR)
            (groups[key] if key else partial)[inner] = array
        self.members = groups
        if checkpoint.state["partial"]:
            self._partial = (checkpoint.state["partial"]["key"], partial, checkpoint.state["partial"]["state"])
        self.events.log(f"Going on after {len(self.members)} finished models.")

    def clear(self) -> None:
        self.store.clear()

    def finish(self, key: str, arrays: Arrays, history: list[dict[str, float]]) -> None:
        self.members[key], self.histories[key], self._partial = arrays, history, None
        self.save_if_due(key, lambda: ({}, {}))

    def partial(self, key: str) -> tuple[Arrays, dict[str, Any]] | None:
        """What was stored of an unfinished model `key`."""
        return self._partial[1:] if self._partial and self._partial[0] == key else None

    def forget_partial(self) -> None:
        self._partial = None

    def save_if_due(self, key: str, state: Any) -> None:
        """Save when the last time is long ago, or when asked to stop; then raises Stopped. Raises Fenced."""
        fence.check()
        if self.stop.requested or self.writer.is_due():
            tensors, facts = self._everything(key, *state())
            self.step += 1
            self.writer.write(step=self.step, epoch=len(self.members), tensors=tensors, state=facts)
        if self.stop.requested:
            raise Stopped

    def save(self, key: str, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> Path:
        """Store all finished models and the `tensors` and `state` of `key`, the present one. Returns the folder."""
        everything, facts = self._everything(key, tensors, state)
        self.step += 1
        return self.store.save(step=self.step, tensors=everything, state=facts)

    def _everything(
        self, key: str, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any]
    ) -> tuple[Arrays, dict[str, Any]]:
        everything = {
            f"{member}{SEPARATOR}{name}": array
            for member, arrays in self.members.items()
            for name, array in arrays.items()
        }
        everything |= {f"{SEPARATOR}{name}": array for name, array in tensors.items()}
        facts = {
            "identity": self.identity,
            "members": list(self.members),
            "histories": self.histories,
            "curve": [self.curve_key, self.curve_step],
            "partial": {"key": key, "state": dict(state)} if state else None,
        }
        return everything, facts

    def store_for(self, key: str) -> MemberStore:
        return MemberStore(self, key)


@dataclass(frozen=True)
class MemberStore:
    """What workers.training.loop.fit sees as its checkpoint store: one model's place in the keeper's checkpoints."""

    keeper: Keeper
    key: str
    is_whole = False

    @property
    def folder(self) -> Path:
        return self.keeper.store.folder

    @property
    def every_seconds(self) -> float:
        return self.keeper.store.every_seconds

    def save(self, *, step: int, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> Path:
        return self.keeper.save(self.key, tensors, {**state, "inner_step": step})

    def load_parts(self, newer_than: int = -1) -> list[Checkpoint]:
        stored = self.keeper.partial(self.key)
        return [Checkpoint(self.folder, stored[1]["inner_step"], *stored)] if stored else []

    def clear(self) -> None:
        self.keeper.forget_partial()
