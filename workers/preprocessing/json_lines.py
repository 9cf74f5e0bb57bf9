"""Read JSON Lines made by strangers: one object per line, whose keys are the columns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from workers.contract import ProgramFailure
from workers.preprocessing.columns import shorten
from workers.preprocessing.csv_reader import TELL_EVERY_LINES, Table, check_header, encoding_of, lines, open_text
from workers.preprocessing.limits import Limits
from workers.preprocessing.report import BadItems

SNIFFED_LINES = 1_000
HINT = 'Each line must be an object such as {"text": "Where is my parcel?", "label": "delivery"}.'


def open_json_lines(path: Path, name: str, limits: Limits) -> Table:
    """Find out encoding and columns: the keys of the first objects, in the order in which they occur; but those that
    few objects have stand in front, so that none of them is taken for the target.

    Raises ProgramFailure with the codes wrong_encoding, nul_bytes, line_too_long, no_json_lines, bad_header,
    header_too_long, too_many_columns, one_column.
    """
    encoding = encoding_of(path, name)
    with open_text(path, encoding) as file:
        sample = [parse(line) for line in islice(lines(file, name, limits), SNIFFED_LINES)]
    objects = [found for found in sample if isinstance(found, dict)]
    counts = Counter(key for found in objects for key in found)
    if not counts:
        raise ProgramFailure("no_json_lines", f"{name} has no line with a JSON object.", hint=HINT)
    header = tuple(sorted(counts, key=lambda key: counts[key] >= len(objects) / 2))
    if strange := next((key for key in header if key != key.strip()), None):
        raise ProgramFailure("bad_header", f"{name} has a key with blanks around it, {strange!r}.", hint=HINT)
    if broken := next((key for key in header if key != sound_text(key)), None):
        raise ProgramFailure("bad_header", f"{name} has a key with half a letter in it, {broken!r}.", hint=HINT)
    check_header(header, name, limits)
    return Table(name, path, encoding, "", header)


def parse(line: str) -> Any:
    """What the line holds; None where that is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class JsonRows:
    """As csv_reader.Rows, for JSON Lines: a line that is no object, or holds a list or an object as a value, or a key
    that no object at the beginning has, is bad. A key that is left out is a missing value."""

    def __init__(self, table: Table, limits: Limits, bad: BadItems) -> None:
        self.table, self.limits, self.bad = table, limits, bad
        self.bytes_read = 0

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        with open_text(self.table.path, self.table.encoding) as file:
            for number, line in enumerate(lines(file, self.table.name, self.limits), 1):
                if number % TELL_EVERY_LINES == 0:
                    self.bytes_read = file.buffer.tell()
                if not line.strip():
                    continue
                found = parse(line)
                if reason := self._fault(found):
                    self.bad.add(self.table.name, f"line {number} {reason[1]}", reason[0], number)
                else:
                    yield number, [written(found.get(name)) for name in self.table.header]

    def _fault(self, found: Any) -> tuple[str, str] | None:
        """Code and words, or None where the row is sound."""
        if not isinstance(found, dict):
            return "bad_json", "is not a JSON object"
        for key, value in found.items():
            if key not in self.table.header:
                return "unknown_key", f'has the key "{shorten(key, 40)}", which the first lines do not have'
            if isinstance(value, list | dict):
                kind = "a list" if isinstance(value, list) else "an object"
                return (
                    "nested_value",
                    f'has {kind} under "{shorten(key, 40)}"; a text, a number or true or false is needed',
                )
            if isinstance(value, str) and len(value) > self.limits.max_field_chars:
                return (
                    "value_too_long",
                    f'has more than {self.limits.max_field_chars:,} characters under "{shorten(key, 40)}"',
                )
        return None


def written(value: Any) -> str:
    """As it would stand in a CSV file."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return sound_text(value.replace("\0", "")) if isinstance(value, str) else repr(value)


def sound_text(text: str) -> str:
    """JSON can escape halves of a letter, which no file can hold; each becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")
