"""Pairs of a frozen table, a text and its translation each, as pieces of words."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from workers.contract import SPLITS, EventWriter, ProgramFailure, TrainSpec
from workers.preprocessing.texts import key_of
from workers.subwords import Subwords, tidy
from workers.tables.cells import is_missing
from workers.texts import words_of
from workers.training.text_data import Ragged

CHUNK = 2_000
VALIDATION_SHARE, MOST_VALIDATION_PAIRS = 0.1, 1_000
LEARNED_FROM = 200_000  # texts that pieces are learned from at most
# A small table learns more from each pair, and a large one writes shorter (Sennrich and Zhang 2019, "Revisiting
# Low-Resource Neural Machine Translation").
WORDS_PER_PIECE, FEWEST_PIECES, MOST_PIECES = 40, 500, 16_000


@dataclass(frozen=True)
class Pairs:
    """Tidied texts and their translations, and row numbers by split."""

    source_column: str
    target_column: str
    sources: list[str]
    targets: list[str]
    splits: dict[str, np.ndarray]


class Cutting(Protocol):
    """A table of pieces: one that was learned (workers.subwords.Subwords), or a checkpoint's."""

    def __len__(self) -> int: ...

    def ids(self, text: str) -> np.ndarray:
        """int32 [L]: the pieces of a text, and the end."""

    def text(self, ids: Sequence[int]) -> str:
        """What the pieces spell."""


def read_pairs(spec: TrainSpec, events: EventWriter) -> Pairs:
    """Raises ProgramFailure: unknown_column, no_pair, no_training_pairs."""
    index = json.loads(Path(spec.index_path).read_text(encoding="utf-8"))
    columns = choose_columns(index, spec)
    with open(spec.data_path, newline="", encoding="utf-8") as file:
        table = [[row[column] for column in columns] for row in csv.DictReader(file)]
    kept = [number for number, row in enumerate(table) if not any(map(is_missing, row))]
    if len(kept) < len(table):
        events.log(f"{len(table) - len(kept):,} pairs lack one side and are left out.", "warning")
    sources, targets = ([tidy(table[number][place]) for number in kept] for place in (0, 1))
    splits = settle_splits(np.array(index["split"])[kept], sources, spec.hyperparameters["seed"], events)
    return Pairs(*columns, sources, targets, splits)


@dataclass(frozen=True)
class Sides:
    """How a task speaks of its two columns: `field` is the setting that names the first, `code` and `unknown` say that
    it is not known, with the target in braces."""

    field: str
    code: str
    unknown: str


TRANSLATED = Sides("source_column", "no_pair", "It is not known which column is translated into {target!r}.")


def choose_columns(index: Mapping[str, Any], spec: TrainSpec, sides: Sides = TRANSLATED) -> tuple[str, str]:
    """The first column and the target. Raises ProgramFailure (the sides' code, unknown_column)."""
    names = [column["name"] for column in index["columns"]]
    target = spec.target or index["target"]
    first = spec.hyperparameters[sides.field] or other_side(index.get("pair"), target)
    if not first or first == target:
        hint = f"Choose one of {', '.join(name for name in names if name != target)[:200]}."
        message = sides.unknown.format(target=target)
        raise ProgramFailure(sides.code, message, hint=hint, blame="settings", field=sides.field)
    for name, field in ((first, sides.field), (target, "target")):
        if name not in names:
            message = f"The table has no column {name!r}."
            raise ProgramFailure("unknown_column", message, hint=f"It has {', '.join(names)[:200]}.", field=field)
    return first, target


def other_side(pair: Mapping[str, str] | None, target: str) -> str:
    """The column that goes with `target`, of the two that were found; "" where it is none of them."""
    pair = pair or {}
    return {pair.get("target"): pair.get("source"), pair.get("source"): pair.get("target")}.get(target) or ""


def settle_splits(
    split: np.ndarray, sources: Sequence[str], seed: int, events: EventWriter | None = None
) -> dict[str, np.ndarray]:
    """Row numbers by split. Pairs that judge and whose source is also trained on are left out: the model knows them.
    Without validation pairs, a tenth of the training sources, with all their translations, takes their place."""
    keys = np.array([key_of(source) for source in sources])
    splits = {name: np.flatnonzero(split == name) for name in SPLITS}
    if not len(splits["train"]):
        raise ProgramFailure("no_training_pairs", "No pair of the data set is for training.", hint="Add a train split.")
    if not len(splits["val"]):
        splits["train"], splits["val"] = _carve_validation(splits["train"], keys, seed)
    for name in ("val", "test"):
        is_known = np.isin(keys[splits[name]], keys[splits["train"]])
        if is_known.any() and not is_known.all():
            splits[name] = splits[name][~is_known]
            if events:
                events.log(f"{is_known.sum():,} {name} pairs have a source that is trained on; they judge nothing.")
    if not len(splits["val"]):
        message = "There is one training pair; none is left to judge by."
        raise ProgramFailure("too_few_pairs", message, hint="Add pairs, some hundreds at least.")
    return splits


def _carve_validation(rows: np.ndarray, keys: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    different = np.random.default_rng(seed).permutation(np.unique(keys[rows]))
    count = min(MOST_VALIDATION_PAIRS, max(1, round(VALIDATION_SHARE * len(different))))
    is_taken = np.isin(keys[rows], different[:count] if len(different) > 1 else different[:0])
    return rows[~is_taken], rows[is_taken]


def learn_pieces(pairs: Pairs, settings: Mapping[str, Any], is_shared: bool) -> tuple[Subwords, Subwords]:
    """Tables for the sources and for the targets, of the training pairs alone; the same where `is_shared`."""
    rows = pairs.splits["train"][:: max(1, len(pairs.splits["train"]) // LEARNED_FROM)]
    sides = [[texts[row] for row in rows] for texts in (pairs.sources, pairs.targets)]
    if is_shared:
        table = Subwords.learn(sides[0] + sides[1], settings["pieces"] or choose_size(sides[0] + sides[1]))
        return table, table
    source, target = (Subwords.learn(texts, settings["pieces"] or choose_size(texts)) for texts in sides)
    return source, target


def choose_size(texts: Sequence[str]) -> int:
    words = sum(len(words_of(text)) for text in texts)
    return min(MOST_PIECES, max(FEWEST_PIECES, words // WORDS_PER_PIECE))


def encode_all(pieces: Cutting, texts: Sequence[str], progress: Callable[[float], None]) -> Ragged:
    """`progress` is told the share that is done and may raise to stop."""
    rows: list[np.ndarray] = []
    for start in range(0, len(texts), CHUNK):
        rows.extend(pieces.ids(text) for text in texts[start : start + CHUNK])
        progress(len(rows) / len(texts))
    return Ragged(rows)
