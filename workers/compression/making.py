"""A recipe carried out: from the original's folder to that of a candidate, complete and servable."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers import trees
from workers.compression.recipes import QUANTISE, SHARE, is_torch_step
from workers.compression.work import Tick, Work
from workers.contract import ProgramFailure
from workers.domains import NETWORKS
from workers.inference.files import (
    META_FILE,
    ONNX_FILE,
    PACKED_FILE,
    TREES_FILE,
    load_trees,
    read_meta,
    shares_of,
    tree_groups,
)
from workers.inference.packing import pack
from workers.pretrained.families import TOKENIZER_FILE

if TYPE_CHECKING:
    from workers.compression.torch_steps import Studio

WEIGHTS_FILE = "model.safetensors"
COMPANIONS = (TOKENIZER_FILE,)  # what some models are asked with beside their graph


class Maker:
    """Makes candidates of one original. What changes its torch model is loaded when the first step asks for it."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._studio: Studio | None = None
        self._feeds: list[dict] | None = None

    @property
    def is_tunable(self) -> bool:
        """Whether there is a torch model that can go on learning."""
        return self.work.spec.task in NETWORKS and (self.work.source / WEIGHTS_FILE).exists()

    @property
    def studio(self) -> Studio:
        if self._studio is None:
            self._studio = importlib.import_module("workers.compression.torch_steps").Studio(self.work)
        return self._studio

    def seconds_per_epoch(self) -> float:
        return self.studio.seconds_per_epoch() if self.is_tunable else 0.0

    def has_simpler(self) -> bool:
        """Whether a network of a faster kind could take the original's place."""
        if not self.is_tunable:
            return False
        subjects = importlib.import_module("workers.training.subjects")
        return subjects.subject_of(self.work.spec.task).simplest(self.work.meta) is not None

    def make(self, recipe: Sequence[Mapping[str, Any]], folder: Path, tick: Tick) -> list[str]:
        """Write the model that `recipe` makes of the original to `folder`; returns notes for people.

        Raises Stopped, Fenced and ProgramFailure; the folder is then left half made.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        before, notes = self._torch_model([step for step in recipe if is_torch_step(step)], tick)
        meta = read_meta(before)
        for name in (meta["sample"], *(name for name in COMPANIONS if (before / name).exists())):
            shutil.copyfile(before / name, folder / name)
        (folder / META_FILE).write_text(json.dumps(meta))
        if groups := tree_groups(meta):
            self._write_trees(folder, groups)
        elif before != self.work.source:
            shutil.copyfile(before / WEIGHTS_FILE, folder / WEIGHTS_FILE)
        if "onnx" in shares_of(meta):
            notes += self._write_graph(before / ONNX_FILE, folder, recipe)
        self.work.stop.check()
        return notes

    def _torch_model(self, steps: list[Mapping[str, Any]], tick: Tick) -> tuple[Path, list[str]]:
        if not steps:
            return self.work.source, []
        if not self.is_tunable:
            message = "The weights that this model was trained to are gone, so it can only be quantised."
            raise ProgramFailure("no_weights", message, hint="Use quantise alone.", blame="settings", field="recipes")
        return self.studio.make(steps, tick)

    def _write_trees(self, folder: Path, groups: Sequence[str]) -> None:
        arrays: trees.Arrays = {}
        for group in groups:
            plain = load_trees(self.work.source / TREES_FILE, group)
            prefix = f"{group}." if group else ""
            arrays |= {prefix + name: value for name, value in trees.quantise(plain).items()}
        trees.save(arrays, folder / TREES_FILE)

    def _write_graph(self, source: Path, folder: Path, recipe: Sequence[Mapping[str, Any]]) -> list[str]:
        """The graph with the steps that concern it, in the smallest form that serving reads."""
        # ONNX's tools take a second to load, and trees do without.
        graphs = importlib.import_module("workers.compression.graphs")
        target, notes = folder / ONNX_FILE, []
        shutil.copyfile(source, target)
        for step in recipe:
            if step["method"] == QUANTISE:
                notes += graphs.quantise_graph(target, target, self.feeds(), step)
            elif step["method"] == SHARE:
                notes += graphs.share_weights(target, target, step["values"])
        if pack(target, folder / PACKED_FILE):
            target.unlink()
        return notes

    def feeds(self) -> list[dict]:
        if self._feeds is None:
            self._feeds = self.work.calibration_feeds()
        return self._feeds
