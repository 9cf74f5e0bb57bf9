"""Texts of a frozen table as ids, and how much each id counts."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.contract import EventWriter, ProgramFailure, TrainSpec
from workers.tables.cells import is_missing, missing_words
from workers.texts import Encoder, TextEncoder, normalise, pad, words_of
from workers.training.classifiers import sort_classes, split_rows
from workers.training.text_networks import READS_BAGS, READS_ORDER

MAX_CLASSES = 1000
CHUNK = 2_000
# What fewer training texts have says more of these texts than of their class.
FEWEST_TEXTS_IN_BAG, FEWEST_TEXTS_IN_ORDER = 2, 1
SMALLEST_TABLE, LARGEST_TABLE = 2**9, 2**16
SAMPLED_TEXTS, COUNTING_BUCKETS = 20_000, 2**24


@dataclass(frozen=True)
class TextRows:
    """What stands in the table: texts and their labels, and row numbers by split."""

    column: str
    target: str
    texts: list[str]
    classes: list[str]
    labels: np.ndarray
    splits: dict[str, np.ndarray]


class Ragged:
    """Rows of ids of many lengths, which take no more room than they need. Rows that are asked for together come
    padded to the longest of them, int32 [n, L]."""

    def __init__(self, rows: Sequence[np.ndarray]) -> None:
        self.flat = np.concatenate([np.zeros(0, dtype=np.int32), *rows])
        self.ends = np.cumsum([len(row) for row in rows], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        return pad([self.row(number) for number in numbers])

    def row(self, number: int) -> np.ndarray:
        return self.flat[self.ends[number - 1] if number else 0 : self.ends[number]]

    def lengths(self, numbers: np.ndarray) -> np.ndarray:
        return np.diff(self.ends, prepend=0)[numbers]


def read_rows(spec: TrainSpec, events: EventWriter) -> TextRows:
    """Raises ProgramFailure: unknown_column, no_text_column, one_class, too_many_classes, no_training_texts."""
    index = json.loads(Path(spec.index_path).read_text(encoding="utf-8"))
    column, target = choose_columns(index, spec)
    with open(spec.data_path, newline="", encoding="utf-8") as file:
        table = [(row[column], row[target].strip()) for row in csv.DictReader(file)]
    words = missing_words(index)
    kept = [number for number, row in enumerate(table) if not any(is_missing(value, words) for value in row)]
    if len(kept) < len(table):
        events.log(f"{len(table) - len(kept):,} rows have no text or no label and are left out.", "warning")
    texts, names = ([table[number][place] for number in kept] for place in (0, 1))
    splits = settle_splits(np.array(index["split"])[kept], names, spec.hyperparameters["seed"])
    classes = name_classes({names[number] for number in np.concatenate([splits["train"], splits["val"]])}, target)
    places = {name: place for place, name in enumerate(classes)}
    labels = np.array([places.get(name, -1) for name in names], dtype=np.int64)
    known = splits["test"][labels[splits["test"]] >= 0]
    if unknown := len(splits["test"]) - len(known):
        events.log(f"{unknown:,} test rows have a class that no training row has; they are left out.", "warning")
    return TextRows(column, target, texts, classes, labels, {**splits, "test": known})


def choose_columns(index: Mapping[str, Any], spec: TrainSpec) -> tuple[str, str]:
    """The columns of the texts and of the labels. Raises ProgramFailure (unknown_column, no_text_column)."""
    names = [column["name"] for column in index["columns"]]
    target = spec.target or index["target"]
    column = spec.hyperparameters["text_column"] or index.get("text_column") or ""
    if not column or column == target:
        message = "It is not known which column holds the texts."
        hint = f"Choose one of {', '.join(name for name in names if name != target)[:200]}."
        raise ProgramFailure("no_text_column", message, hint=hint, blame="settings", field="text_column")
    for name, field in ((column, "text_column"), (target, "target")):
        if name not in names:
            message = f"The table has no column {name!r}."
            raise ProgramFailure("unknown_column", message, hint=f"It has {', '.join(names)[:200]}.", field=field)
    return column, target


def name_classes(names: set[str], target: str) -> list[str]:
    """In the order people expect: 2 before 10 where all are numbers. Raises ProgramFailure."""
    if len(names) < 2:
        message = f"All training texts have the same value in {target!r}; there is nothing to tell apart."
        raise ProgramFailure("one_class", message, hint="Choose another target.", field="target")
    if len(names) > MAX_CLASSES:
        message = f"{target!r} has {len(names):,} different values; at most {MAX_CLASSES:,} classes are told apart."
        raise ProgramFailure("too_many_classes", message, hint="Choose another target.", field="target")
    return sort_classes(names)


def settle_splits(split: np.ndarray, names: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Row numbers by split. Without validation texts, a tenth of each class's training texts is taken for them."""
    splits = split_rows(split, names, seed, "text")
    if not len(splits["val"]):
        message = "Every class has a single text; none is left to judge by."
        raise ProgramFailure("too_few_texts", message, hint="Add texts, two of each class at least.")
    return splits


def count_words(texts: Sequence[str], settings: Mapping[str, Any]) -> float:
    """About how many words these texts have in all, as far as they would be read."""
    sample = texts[:: max(1, len(texts) // SAMPLED_TEXTS)]
    counts = [len(words_of(normalise(text, settings["max_characters"]))) for text in sample]
    return len(texts) * float(np.mean(np.minimum(counts, settings["max_words"])))


def choose_encoder(architecture: str, settings: Mapping[str, Any], texts: Sequence[str]) -> TextEncoder:
    """What the network reads. Its tables have room for what these training texts repeat, or as the settings say."""
    characters, tokens = settings["max_characters"], settings["max_words"]
    sample = texts[:: max(1, len(texts) // SAMPLED_TEXTS)]
    many, own = COUNTING_BUCKETS, settings["buckets"]
    order = words = runs = 0
    if architecture in READS_ORDER:
        order = own or table_size(TextEncoder(many, 0, 0, characters, tokens), sample, FEWEST_TEXTS_IN_ORDER)
    if architecture in READS_BAGS:
        words = own or table_size(TextEncoder(0, many, 0, characters), sample, FEWEST_TEXTS_IN_BAG)
        runs = own or table_size(TextEncoder(0, 0, many, characters), sample, FEWEST_TEXTS_IN_BAG)
    return TextEncoder(order, words, runs, characters, tokens if order else 0, form=int(words > 0))


def table_size(counting: TextEncoder, texts: Sequence[str], fewest: int) -> int:
    """A power of two above the number of ids which so many of the texts have."""
    ids = np.concatenate([np.unique(counting.ids(text)) for text in texts])
    repeated = int((np.unique(ids, return_counts=True)[1] >= fewest).sum())
    return min(LARGEST_TABLE, max(SMALLEST_TABLE, 2 ** repeated.bit_length()))


def encode_all(encoder: Encoder, texts: Sequence[str], progress: Callable[[float], None]) -> Ragged:
    """`progress` is told the share that is done and may raise to stop."""
    rows: list[np.ndarray] = []
    for start in range(0, len(texts), CHUNK):
        rows.extend(encoder.ids(text) for text in texts[start : start + CHUNK])
        progress(len(rows) / len(texts))
    return Ragged(rows)


def weights_of(encoder: TextEncoder, store: Ragged, rows: np.ndarray) -> np.ndarray:
    """How much each id counts, float32 [ids_in_all], by how many of the training texts `rows` have it: 1 for words in
    order and ln((1 + N) / (1 + n)) + 1 in the bag (TF-IDF's smooth inverse document frequency); nothing where too few
    have it."""
    counts = np.zeros(encoder.ids_in_all, dtype=np.int64)
    for row in rows:
        counts[np.unique(store.row(row))] += 1
    is_bag = np.arange(len(counts)) > encoder.order_buckets
    weights = np.where(is_bag, np.log((1 + len(rows)) / (1 + counts)) + 1, 1.0)
    weights[counts < np.where(is_bag, FEWEST_TEXTS_IN_BAG, FEWEST_TEXTS_IN_ORDER)] = 0
    return weights.astype(np.float32)
