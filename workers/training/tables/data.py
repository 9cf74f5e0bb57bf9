"""A frozen table as training needs it: rows, encoded features, targets, splits and folds."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workers.contract import SPLITS, TABULAR_CLASSIFICATION, EventWriter, ProgramFailure, TrainSpec
from workers.tables.cells import NO_WORDS, is_missing, missing_words
from workers.tables.encoder import Encoded, Row, TableEncoder

MIN_ROWS = 10
MIN_VAL_ROWS = 2
VAL_SHARE = 0.1
MAX_CLASSES = 1000


@dataclass(frozen=True)
class Target:
    """What is predicted. `classes` is empty for regression, where targets are standardised by `mean` and `scale`."""

    name: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    def original(self, standardised: np.ndarray) -> np.ndarray:
        return standardised * self.scale + self.mean


@dataclass(frozen=True)
class Fold:
    """Row numbers to train on and to judge on."""

    train: np.ndarray
    holdout: np.ndarray


@dataclass(frozen=True)
class Table:
    """`rows` that have a target; `targets` are class numbers int64 [N] or standardised values float64 [N]."""

    rows: list[Row]
    encoder: TableEncoder
    encoded: Encoded
    targets: np.ndarray
    target: Target
    splits: dict[str, np.ndarray]

    @property
    def development(self) -> np.ndarray:
        """The rows of train and val: all that a model may learn from."""
        return np.sort(np.concatenate([self.splits["train"], self.splits["val"]]))

    def folds(self, count: int, seed: int, repeats: int = 1) -> list[Fold]:
        """`count` ways to set aside another part of the development rows; one: train and val as they are.

        With `repeats` the rows are dealt out so many times. Every class has a row to train on in every fold.
        """
        if count == 1:
            return [self._with_all_classes(Fold(self.splits["train"], self.splits["val"]))]
        rows = self.development
        deals = [_parts(self.targets[rows], count, seed + number) for number in range(repeats)]
        folds = [Fold(rows[part != number], rows[part == number]) for part in deals for number in range(count)]
        return [self._with_all_classes(fold) for fold in folds]

    def _with_all_classes(self, fold: Fold) -> Fold:
        if not self.target.classes:
            return fold
        absent = ~np.isin(self.targets[fold.holdout], self.targets[fold.train])
        moved = fold.holdout[absent]
        return Fold(np.sort(np.concatenate([fold.train, moved])), fold.holdout[~absent])


def _parts(targets: np.ndarray, count: int, seed: int) -> np.ndarray:
    """A part number for each row, such that every part has its share of each class, or of low and high values."""
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    order = shuffled[np.argsort(targets[shuffled], kind="stable")]
    part = np.empty(len(targets), dtype=np.intp)
    part[order] = np.arange(len(targets)) % count
    return part


def load_table(spec: TrainSpec, events: EventWriter) -> Table:
    """Read data.csv and its index and learn the encoder from the training rows.

    Raises ProgramFailure: unknown_target, too_few_rows, one_class, too_many_classes, wrong_type,
    no_usable_columns.
    """
    index = json.loads(Path(spec.index_path).read_text())
    name = spec.target or index.get("target")
    columns = [column for column in index["columns"] if column["name"] != name]
    if len(columns) == len(index["columns"]):
        raise ProgramFailure("unknown_target", f"The table has no column {name!r} to predict.", field="target")
    rows, split = _with_target(_read_rows(spec.data_path), index, name, events)
    splits = _settle_splits(split, [row[name] for row in rows], spec)
    target, targets = _read_target(spec.task, name, rows, splits)
    keeps_words = missing_words(index) == NO_WORDS
    encoder = TableEncoder.fit(columns, [rows[number] for number in splits["train"]], keeps_words=keeps_words)
    for dropped in encoder.dropped:
        events.log(f"Column {dropped['name']!r} is not used: {dropped['reason']}.")
    splits = _drop_unknown_classes(splits, targets, events)
    return Table(rows, encoder, encoder.encode(rows), targets, target, splits)


def _read_rows(path: str) -> list[Row]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _with_target(rows: list[Row], index: dict, name: str, events: EventWriter) -> tuple[list[Row], np.ndarray]:
    words = missing_words(index)
    kept = [number for number, row in enumerate(rows) if not is_missing(row[name], words)]
    if len(kept) < len(rows):
        events.log(f"{len(rows) - len(kept)} rows have no value in {name!r} and are left out.", "warning")
    if len(kept) < MIN_ROWS:
        raise ProgramFailure(
            "too_few_rows",
            f"Only {len(kept)} rows have a value in {name!r}; at least {MIN_ROWS} are needed.",
            hint="Upload more rows or choose another target.",
        )
    return [rows[number] for number in kept], np.array(index["split"])[kept]


def _settle_splits(split: np.ndarray, labels: list[str], spec: TrainSpec) -> dict[str, np.ndarray]:
    """Row numbers of train, val and test. Without validation rows a part of the training rows takes their place."""
    splits = {name: np.flatnonzero(split == name) for name in SPLITS}
    if len(splits["val"]) >= MIN_VAL_ROWS:
        return splits
    rows = np.sort(np.concatenate([splits["train"], splits["val"]]))
    keys = np.unique([labels[number] for number in rows], return_inverse=True)[1]
    part = _parts(keys, round(1 / VAL_SHARE), spec.hyperparameters["seed"])
    return {**splits, "train": rows[part > 0], "val": rows[part == 0]}


def _read_target(task: str, name: str, rows: list[Row], splits: dict[str, np.ndarray]) -> tuple[Target, np.ndarray]:
    values = [row[name].strip() for row in rows]
    development = np.concatenate([splits["train"], splits["val"]])
    if task == TABULAR_CLASSIFICATION:
        return _read_classes(name, values, development)
    numbers = _read_numbers(name, values)
    known = numbers[development]
    return Target(name, (), float(known.mean()), float(known.std()) or 1.0), (numbers - known.mean()) / (
        known.std() or 1
    )


def _read_classes(name: str, values: list[str], development: np.ndarray) -> tuple[Target, np.ndarray]:
    counts = Counter(values[number] for number in development)
    if len(counts) < 2:
        message = f"Every training row has the same value in {name!r}; there is nothing to tell apart."
        raise ProgramFailure("one_class", message, hint="Choose another target.", field="target")
    if len(counts) > MAX_CLASSES:
        message = f"{name!r} has {len(counts)} different values; classification handles up to {MAX_CLASSES}."
        raise ProgramFailure("too_many_classes", message, hint="Train a regression or choose another target.")
    classes = tuple(sorted(counts, key=_class_order))
    numbers = {value: number for number, value in enumerate(classes)}
    return Target(name, classes), np.array([numbers.get(value, -1) for value in values])


def _class_order(value: str) -> tuple[int, float, str]:
    """Numbers by size, then words by alphabet."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def _read_numbers(name: str, values: list[str]) -> np.ndarray:
    numbers = np.empty(len(values))
    for position, value in enumerate(values):
        try:
            numbers[position] = float(value)
        except ValueError:
            numbers[position] = np.nan
        if not np.isfinite(numbers[position]):
            message = f"The target {name!r} must be a number, but a row has {value[:40]!r}."
            hint = "Train a classification, or choose another target."
            raise ProgramFailure("wrong_type", message, hint=hint, field="target")
    return numbers


def _drop_unknown_classes(
    splits: dict[str, np.ndarray], targets: np.ndarray, events: EventWriter
) -> dict[str, np.ndarray]:
    test = splits["test"]
    known = targets[test] >= 0 if targets.dtype.kind == "i" else np.ones(len(test), dtype=bool)
    if not known.all():
        count = int((~known).sum())
        events.log(f"{count} test rows have a class that no training row has; they are left out.", "warning")
    return {**splits, "test": test[known]}
