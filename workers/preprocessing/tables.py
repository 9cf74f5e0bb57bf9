"""Tables: read the rows, type the columns, settle target, task and split, write data.csv and index.json."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from workers.contract import (
    ANSWER_RETRIEVAL,
    KIND_TABLE,
    RECOMMENDATION,
    SPLITS,
    TABULAR_CLASSIFICATION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
    EventWriter,
    PrepareSpec,
    ProgramFailure,
)
from workers.interactions import Roles
from workers.preprocessing.answered import describe_answered, find_answered, warn_of_answered
from workers.preprocessing.columns import MISSING_VALUES, Column, guess_task, shorten
from workers.preprocessing.csv_reader import Rows, Table, open_table
from workers.preprocessing.interactions import (
    Interactions,
    describe_interactions,
    read_interactions,
    split_by_user,
    suggest_roles,
    warn_of_interactions,
)
from workers.preprocessing.json_lines import JsonRows, open_json_lines
from workers.preprocessing.limits import Limits
from workers.preprocessing.pairs import PairColumns, Pairs, describe_pairs, find_pair, read_pairs, warn_of_pairs
from workers.preprocessing.report import BadItems, Progress, Warnings, describe, write_json
from workers.preprocessing.sources import JSON_ENDINGS, Sources, ending_of, splits_of_names, unpack
from workers.preprocessing.splitting import Assignment, assign_splits, count_classes, crossing_keys, warn_of_split
from workers.preprocessing.targets import check_row_number, check_target, choose_target, no_rows
from workers.preprocessing.texts import Texts, describe_texts, find_text_column, read_texts, warn_of_texts

CELLS_PER_CHUNK = 500_000
PEEKED_ROWS = 5_000


@dataclass
class Gathered:
    """What one pass over all rows leaves: statistics per column, and per sound row its target, hash and given split."""

    columns: list[Column]
    targets: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    given: list[str | None] = field(default_factory=list)
    preview: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """One opened table and the split that the user gave it."""

    table: Table
    split: str | None
    is_json: bool = False

    def rows(self, limits: Limits, bad: BadItems) -> Rows | JsonRows:
        return (JsonRows if self.is_json else Rows)(self.table, limits, bad)


def prepare_table(
    sources: Sources, spec: PrepareSpec, output: Path, scratch: Path, limits: Limits, events: EventWriter
) -> dict[str, Any]:
    """Write data.csv and index.json into `output`; return the report. Raises ProgramFailure."""
    bad, warnings = BadItems(limits.max_bad_listed), Warnings()
    parts = open_parts(sources, scratch, limits)
    header = parts[0].table.header
    roles = find_interactions(parts[0], spec.target, limits)
    answered, pair = (None, None) if roles else peek_for_pair(parts[0], spec.target, limits)
    pair = answered or pair
    if roles:
        target = roles.rating or roles.item
    else:
        target = pair.target if pair else choose_target(header, spec.target)
    progress = Progress(events, sum(part.table.path.stat().st_size for part in parts))
    gathered = gather(parts, header.index(target), output / "data.csv", limits, bad, progress)
    if not gathered.keys:
        raise no_rows(target, bad)
    column = gathered.columns[header.index(target)]
    texts, pairs = None, read_pairs(output / "data.csv", pair) if pair else None
    taken = read_interactions(output / "data.csv", roles) if roles else None
    if taken:
        task, splits = RECOMMENDATION, split_taken(taken, gathered, spec, warnings)
    else:
        task = (ANSWER_RETRIEVAL if answered else TRANSLATION) if pairs else guess_task(column)
        if pairs:
            check_row_number(column, limits)
        else:
            check_target(column, task, is_guess=spec.target is None, limits=limits)
            texts = find_texts(gathered, target, task, output / "data.csv")
        splits = split_rows(gathered, task, pairs or texts, spec, warnings)
    warn_of_columns(gathered.columns, warnings)
    task = TEXT_CLASSIFICATION if texts else task
    described = [each.describe(limits.preview_chars) for each in gathered.columns]
    index = {"rows": len(gathered.keys), "columns": described, "target": target, "task": task, "split": splits.splits}
    index |= {"text_column": texts.column if texts else None, "pair": vars(pair) if pair else None}
    index |= {"interactions": roles.to_dict() if roles else None, "split_source": splits.source}
    write_json(output / "index.json", index)
    has_classes = task in (TABULAR_CLASSIFICATION, TEXT_CLASSIFICATION)
    return build_report(gathered, splits, described, bad, warnings) | {
        "task": task,
        "target": target,
        "text": describe_texts(texts) if texts else None,
        "pair": (describe_answered if answered else describe_pairs)(pairs) if pairs else None,
        "interactions": describe_interactions(taken) if taken else None,
        "ignored": sources.ignored,
        "classes": count_classes(gathered.targets, splits.splits) if has_classes else [],
        "data_bytes": (output / "data.csv").stat().st_size,
    }


def find_interactions(part: Part, wanted: str | None, limits: Limits) -> Roles | None:
    """The columns of users and items, where the table is about who took what; what is bad is said in `gather`."""
    rows = part.rows(limits, BadItems(limits.max_bad_listed))
    return suggest_roles(part.table.header, wanted, (row for _line, row in rows))


def split_taken(taken: Interactions, gathered: Gathered, spec: PrepareSpec, warnings: Warnings) -> Assignment:
    """The last items of each user are for the test. Raises ProgramFailure."""
    splits = split_by_user(taken, gathered.given, spec.split_fractions, spec.seed)
    warn_of_split(None, gathered.given, splits, warnings, "rows")
    warn_of_interactions(taken, splits.splits, warnings)
    return splits


def peek_for_pair(part: Part, wanted: str | None, limits: Limits) -> tuple[PairColumns | None, PairColumns | None]:
    """The columns of questions and answers, and those of texts and translations, by the first rows, where the table is
    about one of these: rows without a target are bad, so it must be known before they are read."""
    rows = [[clean_value(value) for value in row] for _line, row in islice(part.rows(limits, BadItems(0)), PEEKED_ROWS)]
    columns = [Column(name, PEEKED_ROWS) for name in part.table.header]
    for column, values in zip(columns, zip(*rows, strict=True), strict=bool(rows)):
        column.add(values)
    return find_answered(columns, wanted), find_pair(columns, wanted)


def find_texts(gathered: Gathered, target: str, task: str, path: Path) -> Texts | None:
    """The texts, where the table is about texts and their classes."""
    column = find_text_column(gathered.columns, target) if task == TABULAR_CLASSIFICATION else None
    return read_texts(path, column) if column else None


def build_report(
    gathered: Gathered, splits: Assignment, described: list[dict[str, Any]], bad: BadItems, warnings: Warnings
) -> dict[str, Any]:
    header = [column.name for column in gathered.columns]
    return {
        "kind": KIND_TABLE,
        "items": len(gathered.keys),
        "bad": bad.listed,
        "bad_total": bad.total,
        "splits": {split: splits.splits.count(split) for split in SPLITS},
        "split_source": splits.source,
        "columns": described,
        "preview": gathered.preview,
        "thumbnails": [],
        "content_hash": hash_content(header, gathered.keys, splits.splits),
        "warnings": warnings.items,
    }


def open_parts(sources: Sources, scratch: Path, limits: Limits) -> list[Part]:
    """Open every file, train first, and check that all have the same columns. Raises ProgramFailure."""
    members = sources.members
    by_archive = [bundle.split for bundle in sources.bundles for _ in bundle.members]
    by_name = splits_of_names([member.path if member.archive else member.name for member in members])
    parts = []
    for (member, path), *splits in zip(unpack(members, scratch, limits), by_name, by_archive, strict=True):
        if path.stat().st_size == 0:
            raise ProgramFailure("empty_file", f"{member.name} is empty (0 bytes).", hint="Upload the file again.")
        split = next((split for split in (member.split, *splits) if split), None)
        is_json = ending_of(member.path) in JSON_ENDINGS
        table = (open_json_lines if is_json else open_table)(path, member.name, limits)
        parts.append(Part(table, split, is_json))
    for part in parts[1:]:
        check_same_columns(parts[0].table, part.table)
    return sorted(parts, key=lambda part: (SPLITS.index(part.split or "train"), part.table.name))


def check_same_columns(first: Table, other: Table) -> None:
    for one, two in ((first, other), (other, first)):
        if lacking := [name for name in one.header if name not in two.header]:
            raise ProgramFailure(
                "headers_differ",
                f"{two.name} lacks the column {describe(lacking)}, which {one.name} has.",
                hint="All files of one data set need the same columns, the target included.",
            )


def gather(
    parts: Sequence[Part], target: int, path: Path, limits: Limits, bad: BadItems, progress: Progress
) -> Gathered:
    """One pass over all rows: write the sound ones to `path` and remember what the split and the report need."""
    header = parts[0].table.header
    max_distinct = max(1_000, limits.max_distinct_values // len(header))
    gathered = Gathered([Column(name, max_distinct) for name in header])
    by_name = sorted(range(len(header)), key=header.__getitem__)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for part, done, chunk in chunks(parts, target, limits, bad):
            writer.writerows(chunk)
            for column, values in zip(gathered.columns, zip(*chunk, strict=True), strict=True):
                column.add(values)
            gathered.targets.extend(row[target] for row in chunk)
            gathered.keys.extend(hash_row([row[place] for place in by_name]) for row in chunk)
            gathered.given.extend([part.split] * len(chunk))
            add_preview(gathered.preview, chunk, limits)
            check_row_count(len(gathered.keys), limits)
            progress.tell(done, f"Read {len(gathered.keys):,} rows")
    return gathered


def chunks(
    parts: Sequence[Part], target: int, limits: Limits, bad: BadItems
) -> Iterator[tuple[Part, int, list[list[str]]]]:
    """(part, bytes read so far, sound rows in the column order of the first part), some thousand rows at a time."""
    header = parts[0].table.header
    size = max(1, min(limits.chunk_rows, CELLS_PER_CHUNK // len(header)))
    done = 0
    for part in parts:
        reader = part.rows(limits, bad)
        sound = sound_rows(reader, header, target)
        while chunk := list(islice(sound, size)):
            yield part, done + reader.bytes_read, chunk
        done += part.table.path.stat().st_size


def sound_rows(reader: Rows | JsonRows, header: Sequence[str], target: int) -> Iterator[list[str]]:
    """The cleaned rows that have a target, values in the order of `header`; those without one are bad."""
    order = [reader.table.header.index(name) for name in header]
    for line, row in reader:
        values = [clean_value(row[place]) for place in order]
        if values[target]:
            yield values
        else:
            reason = f'line {line} has no value in the target "{header[target]}"'
            reader.bad.add(reader.table.name, reason, "missing_target", line)


def clean_value(value: str) -> str:
    """Trimmed, with one kind of line break; empty where it means "not known"."""
    value = value.strip()
    if value in MISSING_VALUES:
        return ""
    return value.replace("\r\n", "\n").replace("\r", "\n") if "\r" in value else value


def hash_row(values: Sequence[str]) -> str:
    return hashlib.sha256("\x1f".join(values).encode()).hexdigest()


def hash_content(header: Sequence[str], keys: Sequence[str], splits: Sequence[str]) -> str:
    """Equal for equal rows, columns and splits, in whatever order of files, columns or rows."""
    total = hashlib.sha256("\x1f".join(sorted(header)).encode())
    for line in sorted(f"\n{key} {split}" for key, split in zip(keys, splits, strict=True)):
        total.update(line.encode())
    return total.hexdigest()


def add_preview(preview: list[list[str]], chunk: Sequence[Sequence[str]], limits: Limits) -> None:
    for row in chunk[: limits.preview_rows - len(preview)]:
        preview.append([shorten(value, limits.preview_chars) for value in row])


def check_row_count(count: int, limits: Limits) -> None:
    if count > limits.max_rows:
        raise ProgramFailure(
            "too_many_rows",
            f"The table has more than {limits.max_rows:,} rows.",
            hint="Upload a part of it.",
        )


def split_rows(
    gathered: Gathered, task: str, texts: Texts | Pairs | None, spec: PrepareSpec, warnings: Warnings
) -> Assignment:
    """Stratified by target where it is a class; texts that are alike stay together, with all their translations.
    Raises ProgramFailure."""
    is_classification = task == TABULAR_CLASSIFICATION
    labels = gathered.targets if is_classification else [""] * len(gathered.targets)
    keys = texts.keys if texts else gathered.keys
    result = assign_splits(labels, keys, gathered.given, spec.split_fractions, spec.seed)
    warn_of_split(labels if is_classification else None, gathered.given, result, warnings, "rows")
    if isinstance(texts, Pairs):
        (warn_of_answered if task == ANSWER_RETRIEVAL else warn_of_pairs)(texts, result.splits, warnings)
        return result
    if texts:
        warn_of_texts(texts, labels, result.splits, warnings)
        return result
    if crossing := crossing_keys(gathered.keys, result.splits):
        warnings.add(
            "duplicate_across_splits", f"Rows that stand in more than one of train, val and test: {crossing:,}."
        )
    if repeated := len(gathered.keys) - len(set(gathered.keys)):
        warnings.add("duplicates", f"Rows that are equal to an earlier one: {repeated:,}.")
    return result


def warn_of_columns(columns: Sequence[Column], warnings: Warnings) -> None:
    """Name columns that carry nothing, and those that a few stray words keep from being numbers."""
    empty = [column.name for column in columns if not column.present]
    constant = [column.name for column in columns if len(column.counts) == 1 and not column.missing]
    if empty:
        warnings.add("empty_column", f"No value at all has the column {describe(empty)}.")
    if constant:
        warnings.add("constant_column", f"The same value in every row has the column {describe(constant)}.")
    for column in columns:
        if column.numbers >= 0.9 * column.present and column.non_numbers:
            warnings.add("almost_numeric", almost_numeric(column))


def almost_numeric(column: Column) -> str:
    others = "1 value that is none" if column.non_numbers == 1 else f"{column.non_numbers:,} values that are none"
    return (
        f'The column "{column.name}" has {column.numbers:,} numbers and {others}, '
        f'such as "{shorten(column.first_word, 40)}", so it is not taken as numbers.'
    )
