"""What was decided about a version of data: steps that somebody added, and steps that are left out.

A recipe is ``{"steps": [step], "without": [id], "split_source", "task"}``, the last two as the version has them that it
is made after. A step is ``{"id", "step", "finding"}`` with what it changes: ``leave_out`` and ``move`` with ``items``
(a list of ids; {id: split}), ``relabel`` with ``items`` ({id: label}, of speech what is said) and, where these are
values of another column of a table than the target, that ``column``, ``drop`` with ``columns``. A version is made of
its uploads and its recipe alone, so a step is undone by making the next version without it. Ids of items are
``archive.zip/path`` of files and ``table.csv:line`` of rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from workers.preprocessing.columns import shorten
from workers.preprocessing.findings import DROP, LEAVE_OUT, MOVE, RELABEL

MISSING_WORDS = "missing_words"
SHOWN_CHARACTERS = 80
REWRITE = "rewrite"  # how a step is told that gives other values in a column
SENTENCES = {
    LEAVE_OUT: "Left out what was chosen",
    RELABEL: "Gave other labels to what was chosen",
    REWRITE: "Wrote other values in a column",
    MOVE: "Moved to another part of the split",
    DROP: "Dropped columns",
}


def read_splits(path: str) -> dict[str, str]:
    """The part of the split that each item has in the index at `path`; of no path none."""
    if not path:
        return {}
    text = Path(path).read_text(encoding="utf-8")
    if path.endswith(".jsonl"):
        return {entry["source"]: entry["split"] for entry in map(json.loads, text.splitlines())}
    index = json.loads(text)
    ids = (f"{place['name']}:{line}" for place in index["places"] for line in place["lines"])
    return dict(zip(ids, index["split"], strict=True))


class Labelled(Protocol):
    """A candidate of an upload of files."""

    label: str
    split: str | None


Candidate = TypeVar("Candidate", bound=Labelled)


class Recipe:
    """The steps that are on, and how much each has touched."""

    def __init__(self, recipe: Mapping[str, Any] | None = None, splits: Mapping[str, str] | None = None) -> None:
        """`splits` is the part of each item in the version that all later ones are made after; empty in that one."""
        recipe = recipe or {}
        self.steps: Sequence[Mapping[str, Any]] = recipe.get("steps", ())
        self.without = frozenset(recipe.get("without", ()))
        self.split_source: str | None = recipe.get("split_source")
        self.task: str | None = recipe.get("task")
        self.touched: Counter[str] = Counter()
        self.examples: dict[str, dict[str, str]] = {}
        self._splits = splits or {}
        self._left_out = self._merge(LEAVE_OUT)
        self._labels = self._merge(RELABEL)
        self._moves = self._merge(MOVE)
        self.rewritten = sorted({step["column"] for step in self.steps if "column" in step and self.is_on(step)})
        self._values = {column: self._merge(RELABEL, column) for column in self.rewritten}
        self._changes = bool(self._splits or self._left_out or self._labels or self._moves)

    def may_be(self, task: str) -> bool:
        """Whether a table may be taken as data for `task`; what a version was for, those made from it are for too."""
        return self.task in (None, task)

    def has(self, step: str) -> bool:
        """Whether a step that every version has is on."""
        return step not in self.without

    def is_on(self, step: Mapping[str, Any]) -> bool:
        return step["id"] not in self.without

    def dropped(self) -> list[str]:
        """The columns that are dropped."""
        steps = [step for step in self.steps if step["step"] == DROP and self.is_on(step)]
        for step in steps:
            self.note(step["id"], ", ".join(step["columns"]), "", count=len(step["columns"]))
        return [column for step in steps for column in step["columns"]]

    def decide(self, item: str, label: str, split: str | None) -> tuple[str, str | None] | None:
        """Label and part of the split of an item; None where it is left out."""
        if not self._changes:
            return label, split
        split = self._splits.get(item, split)
        if found := self._left_out.get(item):
            self.note(found[0], item, "left out")
            return None
        if found := self._labels.get(item):
            step, wanted = found
            self.note(step, f"{label} ({item})", wanted)
            label = wanted
        if found := self._moves.get(item):
            step, wanted = found
            self.note(step, f"{split or '?'} ({item})", wanted)
            split = wanted
        return label, split

    def rewrite(self, item: str, column: str, value: str) -> str:
        """The value of an item in one of the columns that are `rewritten`."""
        if found := self._values[column].get(item):
            step, wanted = found
            self.note(step, f"{value} ({item})", wanted)
            return wanted
        return value

    def choose(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        """The candidates as they were decided about, known by the name of their `member`."""
        for candidate in candidates:
            if decided := self.decide(candidate.member.name, candidate.label, candidate.split):
                label, split = decided
                yield replace(candidate, label=label, split=split)

    def note(self, step: str, before: str, after: str, *, count: int = 1) -> None:
        """`step` has touched something; the first example is kept."""
        self.touched[step] += count
        if step not in self.examples:
            shown = (shorten(value, SHOWN_CHARACTERS) for value in (before, after))
            self.examples[step] = dict(zip(("before", "after"), shown, strict=True))

    def describe(self) -> list[dict[str, Any]]:
        """The added steps as they stand in the report."""
        codes = [REWRITE if "column" in step else step["step"] for step in self.steps]
        return [
            self.said(step["id"], code, SENTENCES[code], is_optional=True) | {"finding": step.get("finding", "")}
            for step, code in zip(self.steps, codes, strict=True)
        ]

    def said(
        self, step: str, code: str, sentence: str, *, is_optional: bool = False, touched: int | None = None,
        noun: str = "",
    ) -> dict[str, Any]:  # fmt: skip
        """One step for people: what it did, and to how many."""
        return {
            "id": step,
            "step": code,
            "message": sentence,
            "touched": self.touched[step] if touched is None else touched,
            "noun": noun,
            "example": self.examples.get(step),
            "is_optional": is_optional,
            "is_on": step not in self.without,
        }

    def _merge(self, kind: str, column: str = "") -> dict[str, tuple[str, str]]:
        """{item: (id of the step, what it becomes)} of all steps of a kind, about this column where they name one, that
        are on, the last of them last."""
        merged: dict[str, tuple[str, str]] = {}
        for step in self.steps:
            if step["step"] == kind and step.get("column", "") == column and self.is_on(step):
                items = step["items"]
                pairs = items.items() if isinstance(items, Mapping) else ((item, "") for item in items)
                merged.update((item, (step["id"], wanted)) for item, wanted in pairs)
        return merged
