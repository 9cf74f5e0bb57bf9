"""Questions and answers of a frozen table: which answers there are, which questions lead to them, and who judges."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from workers.contract import EventWriter, ProgramFailure, TrainSpec
from workers.preprocessing.texts import key_of
from workers.tables.cells import is_missing
from workers.training.pair_data import Sides, choose_columns, settle_splits

MOST_ANSWERS = 100_000
ANSWERED = Sides(
    "question_column", "no_questions", "It is not known which column holds the questions that {target!r} answers."
)


@dataclass(frozen=True)
class Judged:
    """Held-out questions, each once, and the numbers of the answers that are right for each."""

    texts: list[str]
    truths: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.texts)

    def places(self, most: int) -> np.ndarray:
        """The places of so many of them, from all over."""
        return np.linspace(0, len(self) - 1, min(most, len(self))).astype(int)

    def at(self, places: np.ndarray) -> Judged:
        return Judged([self.texts[place] for place in places], [self.truths[place] for place in places])


@dataclass(frozen=True)
class Answered:
    """`questions` by row; `answers` are the different ones, and `answer_of` [rows] says which one each question has.
    `groups` [rows] are equal for questions of the same words. `splits` are row numbers."""

    question_column: str
    answer_column: str
    questions: list[str]
    answers: list[str]
    answer_of: np.ndarray
    groups: np.ndarray
    splits: dict[str, np.ndarray]

    @cached_property
    def known(self) -> np.ndarray:
        """Rows of the questions that the model may know: those of training, each once for an answer, in the order of
        their answers."""
        rows = self.splits["train"]
        _pairs, first = np.unique(np.stack([self.answer_of[rows], self.groups[rows]]), axis=1, return_index=True)
        return rows[first]

    def judged(self, split: str) -> Judged:
        right: dict[int, list[int]] = defaultdict(list)
        for row in self.splits[split].tolist():
            right[int(self.groups[row])].append(row)
        texts = [self.questions[rows[0]] for rows in right.values()]
        return Judged(texts, [np.unique(self.answer_of[rows]) for rows in right.values()])


def read_answered(spec: TrainSpec, events: EventWriter) -> Answered:
    """Raises ProgramFailure: unknown_column, no_questions, one_answer, too_many_answers, no_training_pairs."""
    index = json.loads(Path(spec.index_path).read_text(encoding="utf-8"))
    columns = choose_columns(index, spec, ANSWERED)
    with open(spec.data_path, newline="", encoding="utf-8") as file:
        table = [[row[column].strip() for column in columns] for row in csv.DictReader(file)]
    kept = [number for number, row in enumerate(table) if not any(map(is_missing, row))]
    if len(kept) < len(table):
        events.log(f"{len(table) - len(kept):,} rows lack a question or an answer and are left out.", "warning")
    questions, said = ([table[number][place] for number in kept] for place in (0, 1))
    splits = settle_splits(np.array(index["split"])[kept], questions, spec.hyperparameters["seed"], events)
    answer_of, first = _numbered(said)
    answers = [said[row] for row in first]
    check_answers(answers)
    groups, _first = _numbered(questions)
    return Answered(*columns, questions, answers, answer_of, groups, splits)


def _numbered(texts: Sequence[str]) -> tuple[np.ndarray, list[int]]:
    """A number for each text, equal for texts of the same words, and the row that each number is first seen in."""
    numbers: dict[str, int] = {}
    first: list[int] = []
    found = np.zeros(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        key = key_of(text)
        if key not in numbers:
            numbers[key] = len(numbers)
            first.append(row)
        found[row] = numbers[key]
    return found, first


def check_answers(answers: Sequence[str]) -> None:
    """Raises ProgramFailure (one_answer, too_many_answers)."""
    if len(answers) < 2:
        message = "All questions have the same answer; there is nothing to choose from."
        raise ProgramFailure("one_answer", message, hint="Choose another column of answers.", field="target")
    if len(answers) > MOST_ANSWERS:
        message = f"There are {len(answers):,} different answers; at most {MOST_ANSWERS:,} are searched."
        raise ProgramFailure("too_many_answers", message, hint="Train on a part of them.", field="target")
