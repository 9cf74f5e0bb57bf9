"""The answers as files for people: a CSV and JSON Lines, both with the columns that came in."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.predicting.kinds import CSV_FILE, JSON_FILE
from workers.predicting.parts import Record
from workers.spreadsheets import harmless

PREVIEW_ROWS, PREVIEW_CHARACTERS, PREVIEW_COLUMNS = 10, 120, 12
PREDICTION, PROBABILITY, PROBABILITIES, ERROR = "prediction", "probability", "probabilities", "error"
RANK, SCORE, LIFT = "rank", "score", "lift"


@dataclass(frozen=True)
class Columns:
    """`given` came in; the others are ours, under names that none of the given has. `classes` maps a class to its
    column, and is empty where those were not asked for."""

    given: Sequence[str]
    names: Mapping[str, str]
    classes: Mapping[str, str]
    has_probability: bool

    @classmethod
    def of(
        cls, given: Sequence[str], classes: Sequence[str], *, has_class_columns: bool, is_sure: bool = False
    ) -> Columns:
        """`is_sure` of answers that are no classes, and come with how sure the model is of them."""
        taken = set(given)
        names = {
            name: _free(name, taken) for name in (PREDICTION, PROBABILITY, PROBABILITIES, ERROR, RANK, SCORE, LIFT)
        }
        own = {name: _free(f"{PROBABILITY} {name}", taken) for name in classes} if has_class_columns else {}
        return cls(list(given), names, own, bool(classes) or is_sure)

    @property
    def header(self) -> list[str]:
        ours = [PREDICTION, *([PROBABILITY] if self.has_probability else [])]
        return [*self.given, *(self.names[name] for name in ours), *self.classes.values(), self.names[ERROR]]

    @property
    def target_header(self) -> list[str]:
        """Of a list of those to turn to first."""
        return [self.names[RANK], *self.given, self.names[SCORE], self.names[LIFT]]

    def cells(self, record: Record) -> list[Any]:
        """One line of the CSV."""
        answer, error = record["answer"] or {}, record["error"] or {}
        shown = [_certainty(answer, "")] if self.has_probability else []
        probabilities = probabilities_of(answer)
        given = [record["cells"].get(name, "") for name in self.given]
        said = "" if record["answer"] is None else said_by(answer)
        return [*given, said, *shown, *(probabilities.get(name, "") for name in self.classes), error.get("message", "")]

    def as_object(self, record: Record) -> dict[str, Any]:
        """One line of the JSON Lines."""
        names, answer = self.names, record["answer"]
        made: dict[str, Any] = {name: record["cells"].get(name) for name in self.given}
        made[names[PREDICTION]] = None if answer is None else said_by(answer)
        if self.has_probability:
            made[names[PROBABILITY]] = None if answer is None else _certainty(answer, None)
        if self.classes and answer is not None:
            made[names[PROBABILITIES]] = {name: probabilities_of(answer).get(name) for name in self.classes}
        if record["error"]:
            made[names[ERROR]] = record["error"]
        return made


def _free(name: str, taken: set[str]) -> str:
    """`name`, with a number where the data has such a column already."""
    number, found = 2, name
    while found in taken:
        number, found = number + 1, f"{name} {number}"
    taken.add(found)
    return found


def said_by(answer: Mapping[str, Any]) -> Any:
    """The answer in one cell: a class, a value, the best of several answers where the model knows one, or whatever else
    stands first in it."""
    if "knows" in answer:
        return answer["answers"][0]["answer"] if answer["knows"] else ""
    for name in ("class", "value"):
        if name in answer:
            return answer[name]
    first = next(iter(answer.values()), "")
    return json.dumps(first, ensure_ascii=False) if isinstance(first, list | dict) else first


def _certainty(answer: Mapping[str, Any], unknown: Any) -> Any:
    return answer.get(PROBABILITY, answer.get("confidence", unknown))


def probabilities_of(answer: Mapping[str, Any]) -> dict[str, float]:
    return {item["class"]: item[PROBABILITY] for item in answer.get("classes", [])}


def write_files(
    records: Iterable[Record], columns: Columns, output: Path, tell: Callable[[int], None]
) -> Iterator[Record]:
    """Write both files while the records pass by; `tell` is told how many have, and may raise to stop."""
    output.mkdir(parents=True, exist_ok=True)
    with (
        open(output / CSV_FILE, "w", newline="", encoding="utf-8") as csv_file,
        open(output / JSON_FILE, "w", encoding="utf-8") as json_file,
    ):
        writer = csv.writer(csv_file)
        writer.writerow([harmless(name) for name in columns.header])
        for number, record in enumerate(records, 1):
            writer.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in columns.cells(record)])
            json_file.write(json.dumps(columns.as_object(record), ensure_ascii=False) + "\n")
            if number % 1000 == 0:
                tell(number)
            yield record


class Overview:
    """What a page says of the answers: the first rows, how often what was said, and what could not be answered."""

    def __init__(self, columns: Columns) -> None:
        shown = columns.given[:PREVIEW_COLUMNS]
        self.columns, self._shown = columns, len(shown)
        self.rows = self.errors = 0
        self.preview: list[list[str]] = []
        self.counts: Counter[str] = Counter()
        self.error_kinds: dict[str, dict[str, Any]] = {}

    def add(self, record: Record) -> None:
        self.rows += 1
        if len(self.preview) < PREVIEW_ROWS:
            self.preview.append(self._in_short(self.columns.cells(record)))
        if record["error"]:
            self.errors += 1
            kind = self.error_kinds.setdefault(record["error"]["code"], {"count": 0, **record["error"]})
            kind["count"] += 1
        elif "class" in record["answer"]:
            self.counts[record["answer"]["class"]] += 1

    def _in_short(self, cells: list[Any]) -> list[str]:
        ours = len(self.columns.given)
        ends = 2 if self.columns.has_probability else 1
        kept = [*cells[: self._shown], *cells[ours : ours + ends], cells[-1]]
        return [str(cell)[:PREVIEW_CHARACTERS] for cell in kept]

    def as_dict(self) -> dict[str, Any]:
        header = self._in_short(list(self.columns.header))
        return {
            "rows": self.rows,
            "errors": self.errors,
            "error_kinds": list(self.error_kinds.values()),
            "columns": header,
            "hidden_columns": len(self.columns.given) - self._shown,
            "preview": self.preview,
            "counts": dict(self.counts.most_common()),
        }
