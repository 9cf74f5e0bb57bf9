"""What is asked about, item by item and always in the same order: the rows of a table, or the files of an archive.

An item is what the model is asked (`body`) and what stands beside the answer (`cells`). One that cannot even be read
has an error in place of a body, and is passed on like all others, so that as many rows come out as went in.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from workers.contract import MULTI_LABEL_IMAGES, SPEECH_RECOGNITION, PredictSpec, ProgramFailure
from workers.predicting.asking import Body
from workers.predicting.kinds import missing_columns, reads_rows, text_column, what_to_send
from workers.preprocessing.archives import Archive
from workers.preprocessing.limits import MIB, Limits
from workers.preprocessing.report import BadItems
from workers.preprocessing.sources import TABLE_ENDINGS, ending_of, plain_table
from workers.preprocessing.table_parts import Part, open_part
from workers.tables.cells import is_missing

LIMITS = Limits(min_columns=1, max_entry_bytes=64 * MIB)
FILE, LABEL, TRANSCRIPT, SPLIT = "file", "label", "transcript", "split"


@dataclass(frozen=True)
class Item:
    """`truth` is the right answer where the data knows it, as text."""

    cells: Mapping[str, Any]
    body: Body | None
    truth: str | None = None
    error: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Source:
    """`columns` are those of `cells`; ``items(start)`` gives all but the first `start`, and ``count()`` says how many
    there are in all. `has_truth` says whether the data knows the right answers."""

    columns: list[str]
    items: Callable[[int], Iterator[Item]]
    count: Callable[[], int]
    has_truth: bool = False


@contextmanager
def open_source(spec: PredictSpec, meta: Mapping[str, Any]) -> Iterator[Source]:
    """What `spec` names, for a model with this meta.json. Raises ProgramFailure where the file is of another kind than
    the model reads, lacks a column, or cannot be read."""
    path = Path(spec.data_path)
    is_table = ending_of(path.name if spec.index_path else spec.name) in TABLE_ENDINGS
    if is_table != reads_rows(meta["task"]):
        message = f"{spec.name} is not what this model reads."
        raise ProgramFailure("wrong_kind", message, hint=what_to_send(meta["task"]))
    if is_table:
        yield _table_source(_frozen_rows(spec) if spec.index_path else _uploaded_rows(spec), spec.name, meta)
    elif spec.index_path:
        yield _frozen_files(spec, meta["task"])
    else:
        with Archive(path, spec.name, LIMITS) as archive:
            is_of_one = meta["task"] != MULTI_LABEL_IMAGES  # a folder does not say which labels an image has not
            yield _uploaded_files(archive, meta.get("classes", []) if is_of_one else [])


# Tables


@dataclass(frozen=True)
class RowReader:
    """`rows` yields the values under `header`, or an error for a row that cannot be read."""

    header: tuple[str, ...]
    rows: Callable[[], Iterator[list[str] | Mapping[str, str]]]


def _table_source(reader: RowReader, name: str, meta: Mapping[str, Any]) -> Source:
    if missing := missing_columns(meta, reader.header):
        named = ", ".join(map(repr, missing))
        message = f"{name} lacks the column{'s' if len(missing) > 1 else ''} {named}."
        raise ProgramFailure("missing_column", message, hint=what_to_send(meta["task"]), field=missing[0])
    column = text_column(meta, reader.header)
    target = meta.get("target") or ""
    has_truth = target in reader.header and target != column

    def items(start: int) -> Iterator[Item]:
        for row in islice(reader.rows(), start, None):
            if isinstance(row, Mapping):
                yield Item({}, None, error=row)
                continue
            cells = dict(zip(reader.header, row, strict=True))
            truth = cells[target].strip() if has_truth and not is_missing(cells[target]) else None
            yield Item(cells, cells if column is None else cells[column], truth)

    return Source(list(reader.header), items, lambda: sum(1 for _row in reader.rows()), has_truth)


def _frozen_rows(spec: PredictSpec) -> RowReader:
    index = json.loads(Path(spec.index_path).read_text(encoding="utf-8"))

    def rows() -> Iterator[list[str]]:
        csv.field_size_limit(LIMITS.max_field_chars)
        with open(spec.data_path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            next(reader)
            for row, split in zip(reader, index["split"], strict=True):
                if not spec.split or split == spec.split:
                    yield row

    with open(spec.data_path, newline="", encoding="utf-8") as file:
        header = tuple(next(csv.reader(file)))
    return RowReader(header, rows)


def _uploaded_rows(spec: PredictSpec) -> RowReader:
    path, _others = plain_table(Path(spec.data_path), spec.name, Path(spec.work_dir, "sheet.csv"), LIMITS)
    part = open_part(path, spec.name, None, LIMITS)
    return RowReader(part.table.header, partial(_rows_and_faults, part))


@dataclass
class _Faults(BadItems):
    """Rows that cannot be read, until they are taken."""

    waiting: list[Mapping[str, str]] = field(default_factory=list)

    def add(self, path: str, reason: str, code: str, line: int | None = None) -> None:
        self.waiting.append({"code": code, "message": f"{reason[:1].upper()}{reason[1:]}."})

    def take(self) -> list[Mapping[str, str]]:
        taken, self.waiting = self.waiting, []
        return taken


def _rows_and_faults(part: Part) -> Iterator[list[str] | Mapping[str, str]]:
    """Every row in its place, or what is wrong with it."""
    faults = _Faults(0)
    for _line, row in part.rows(LIMITS, faults):
        yield from faults.take()
        yield row
    yield from faults.take()


# Files


def _frozen_files(spec: PredictSpec, task: str) -> Source:
    lines = Path(spec.index_path).read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if not spec.split or row["split"] == spec.split]

    def items(start: int) -> Iterator[Item]:
        with zipfile.ZipFile(spec.data_path) as archive:
            for row in rows[start:]:
                truth = row.get(name) or row[LABEL]
                cells = {FILE: row["source"], name: truth, SPLIT: row["split"]}
                yield Item(cells, archive.read(row["member"]), truth)

    name = TRANSCRIPT if task == SPEECH_RECOGNITION else LABEL
    return Source([FILE, name, SPLIT], items, lambda: len(rows), has_truth=True)


def _uploaded_files(archive: Archive, classes: list[str]) -> Source:
    """Where every file lies in a folder that is called like a class, the folders are the right answers."""
    folders = [(path, PurePosixPath(path).parent.name) for path in archive.entries]
    has_truth = {folder for _path, folder in folders} <= set(classes)

    def items(start: int) -> Iterator[Item]:
        for path, folder in folders[start:]:
            body = archive.read(path)
            if len(body) > LIMITS.max_entry_bytes:
                message = f"The file has more than {LIMITS.max_entry_bytes // MIB} MB."
                yield Item({FILE: path}, None, error={"code": "file_too_large", "message": message})
            else:
                yield Item({FILE: path}, body, folder if has_truth else None)

    return Source([FILE], items, lambda: len(folders), has_truth)
