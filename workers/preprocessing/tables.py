"""Tables: read the rows, type the columns, settle target, task and split, write data.csv and index.json."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from workers.contract import (
    ANSWER_RETRIEVAL,
    FORECASTING,
    KIND_TABLE,
    RECOMMENDATION,
    SPLITS,
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
    EventWriter,
    PrepareSpec,
    ProgramFailure,
)
from workers.interactions import Roles
from workers.preprocessing.answered import describe_answered, find_answered, warn_of_answered
from workers.preprocessing.cleaning import Cleaner, SoundRow, clean_value
from workers.preprocessing.column_warnings import warn_of_columns
from workers.preprocessing.columns import NUMERIC, Column, guess_task, shorten
from workers.preprocessing.csv_reader import Rows, Table, open_table
from workers.preprocessing.doctor.tables import examine_table, items_of
from workers.preprocessing.findings import Findings
from workers.preprocessing.interaction_warnings import warn_of_interactions
from workers.preprocessing.interactions import (
    Interactions,
    describe_interactions,
    read_interactions,
    split_by_user,
    suggest_roles,
)
from workers.preprocessing.items import Items, RowIds
from workers.preprocessing.json_lines import JsonRows, open_json_lines
from workers.preprocessing.limits import Limits
from workers.preprocessing.pair_warnings import warn_of_pairs
from workers.preprocessing.pairs import PairColumns, Pairs, describe_pairs, find_pair, read_pairs
from workers.preprocessing.recipe import MISSING_WORDS, Recipe
from workers.preprocessing.report import BadItems, Progress, describe, write_json
from workers.preprocessing.series import (
    TimedRows,
    describe_series,
    read_timed_rows,
    split_by_times,
    suggest_columns,
)
from workers.preprocessing.series_warnings import warn_of_series
from workers.preprocessing.sources import JSON_ENDINGS, Sources, ending_of, splits_of_names, unpack
from workers.preprocessing.splitting import Assignment, assign_splits, count_classes, warn_of_split
from workers.preprocessing.targets import check_row_number, check_target, choose_target, no_rows
from workers.preprocessing.texts import Texts, describe_texts, find_text_column, read_texts, warn_of_texts
from workers.series.columns import SeriesColumns

CELLS_PER_CHUNK = 500_000
PEEKED_ROWS = 5_000
SHOWN = 240  # characters of a text that a finding shows


@dataclass
class Gathered:
    """What one pass over all rows leaves: statistics per column, and per sound row its target, hash and given split."""

    columns: list[Column]
    targets: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    given: list[str | None] = field(default_factory=list)
    preview: list[list[str]] = field(default_factory=list)
    ids: RowIds = field(default_factory=RowIds)


@dataclass(frozen=True)
class Part:
    """One opened table and the split that the user gave it."""

    table: Table
    split: str | None
    is_json: bool = False

    def rows(self, limits: Limits, bad: BadItems) -> Rows | JsonRows:
        return (JsonRows if self.is_json else Rows)(self.table, limits, bad)


@dataclass(frozen=True)
class About:
    """What the columns of a table say that it is about: who took what (`roles`), questions and answers or texts and
    translations (`pair`, and `is_answered` tells these apart), values over time (`timed`), or none of these."""

    roles: Roles | None = None
    pair: PairColumns | None = None
    is_answered: bool = False
    timed: SeriesColumns | None = None

    def target(self, header: Sequence[str], wanted: str | None) -> str:
        """Raises ProgramFailure."""
        if self.roles:
            return self.roles.rating or self.roles.item
        found = self.pair or self.timed
        return found.target if found else choose_target(header, wanted)

    def needed(self, *, is_series: bool) -> set[str | None]:
        """The columns beside the target that what it is about needs; `is_series` where its values are numbers."""
        if self.roles:
            return set(self.roles.to_dict().values())
        if self.pair:
            return set(vars(self.pair).values())
        return {self.timed.time} if self.timed and is_series else set()

    def to_index(self, *, is_series: bool) -> dict[str, Any]:
        """As it stands in index.json."""
        return {
            "pair": vars(self.pair) if self.pair else None,
            "interactions": self.roles.to_dict() if self.roles else None,
            "series": self.timed.to_dict() if self.timed and is_series else None,
        }


def recognise(part: Part, header: Sequence[str], wanted: str | None, recipe: Recipe, limits: Limits) -> About:
    """By the names of the columns and the first rows."""
    if recipe.may_be(RECOMMENDATION) and (roles := find_interactions(part, header, wanted, limits)):
        return About(roles=roles)
    answered, pair = peek_for_pair(part, header, wanted, recipe, limits)
    if answered or pair:
        return About(pair=answered or pair, is_answered=answered is not None)
    return About(timed=find_series(part, header, wanted, limits) if recipe.may_be(FORECASTING) else None)


def prepare_table(
    sources: Sources,
    spec: PrepareSpec,
    recipe: Recipe,
    output: Path,
    scratch: Path,
    limits: Limits,
    events: EventWriter,
) -> dict[str, Any]:
    """Write data.csv and index.json into `output`; return the report. Raises ProgramFailure."""
    bad, findings = BadItems(limits.max_bad_listed), Findings()
    parts = open_parts(sources, scratch, limits)
    dropped = recipe.dropped()
    header = [name for name in parts[0].table.header if name not in dropped]
    wanted = None if spec.target in dropped else spec.target
    about = recognise(parts[0], header, wanted, recipe, limits)
    target = about.target(header, wanted)
    progress = Progress(events, sum(part.table.path.stat().st_size for part in parts))
    cleaner = Cleaner(recipe, header, header.index(target))
    gathered = gather(parts, cleaner, output / "data.csv", limits, bad, progress)
    if not gathered.keys:
        raise no_rows(target, bad)
    column = gathered.columns[header.index(target)]
    texts, pairs = None, read_pairs(output / "data.csv", about.pair) if about.pair else None
    taken = read_interactions(output / "data.csv", about.roles) if about.roles else None
    series = read_timed_rows(output / "data.csv", about.timed) if about.timed and column.type == NUMERIC else None
    if taken:
        task, splits = RECOMMENDATION, split_taken(taken, gathered, spec, recipe, findings)
    elif series:
        task, splits = FORECASTING, split_timed(series, gathered, spec, recipe, findings)
    else:
        task = (ANSWER_RETRIEVAL if about.is_answered else TRANSLATION) if pairs else task_of(column, recipe)
        if pairs:
            check_row_number(column, limits)
        else:
            check_target(column, task, is_guess=wanted is None, limits=limits)
            texts = find_texts(gathered, target, task, output / "data.csv")
        splits = split_rows(gathered, task, pairs or texts, spec, recipe, findings)
    needed = {target} | about.needed(is_series=series is not None)
    warn_of_columns(output / "data.csv", gathered.columns, needed, gathered.ids, splits.splits, findings)
    task = TEXT_CLASSIFICATION if texts else task
    events.progress(0.96, "Looking for wrong labels and for columns that give the target away")
    if task in (TABULAR_CLASSIFICATION, TABULAR_REGRESSION):
        items = items_of(gathered.ids, gathered.targets, splits.splits)
        examine_table(output / "data.csv", gathered.columns, gathered.keys, target, task, items, findings)
    described = [each.describe(limits.preview_chars) for each in gathered.columns]
    index = {"rows": len(gathered.keys), "columns": described, "target": target, "task": task, "split": splits.splits}
    index |= about.to_index(is_series=series is not None) | {"text_column": texts.column if texts else None}
    index |= {"places": gathered.ids.to_index(), "missing_words": recipe.has(MISSING_WORDS)}
    index["split_source"] = "time" if series and not splits.is_users else splits.source
    write_json(output / "index.json", index)
    has_classes = task in (TABULAR_CLASSIFICATION, TEXT_CLASSIFICATION)
    return build_report(gathered, splits, described, bad, findings) | {
        "task": task,
        "target": target,
        "steps": cleaner.describe(len(gathered.keys), bad),
        "text": describe_texts(texts) if texts else None,
        "pair": (describe_answered if about.is_answered else describe_pairs)(pairs) if pairs else None,
        "interactions": describe_interactions(taken) if taken else None,
        "series": describe_series(series) if series else None,
        "split_source": index["split_source"],
        "ignored": sources.ignored,
        "classes": count_classes(gathered.targets, splits.splits) if has_classes else [],
        "data_bytes": (output / "data.csv").stat().st_size,
    }


def find_interactions(part: Part, header: Sequence[str], wanted: str | None, limits: Limits) -> Roles | None:
    """The columns of users and items, where the table is about who took what; what is bad is said in `gather`."""
    return suggest_roles(header, wanted, rows_of(part, header, limits))


def rows_of(part: Part, header: Sequence[str], limits: Limits) -> Iterator[list[str]]:
    """The columns of `header` in every row."""
    places = [part.table.header.index(name) for name in header]
    for _line, row in part.rows(limits, BadItems(limits.max_bad_listed)):
        yield [row[place] for place in places]


def task_of(target: Column, recipe: Recipe) -> str:
    """A version that was made from another is for the same task, however few of its values are left."""
    if recipe.task == TABULAR_CLASSIFICATION or (recipe.task == TABULAR_REGRESSION and target.type == NUMERIC):
        return recipe.task
    return guess_task(target)


def split_taken(
    taken: Interactions, gathered: Gathered, spec: PrepareSpec, recipe: Recipe, findings: Findings
) -> Assignment:
    """The last items of each user are for the test. Raises ProgramFailure."""
    splits = split_by_user(taken, gathered.given, spec.split_fractions, spec.seed).as_before(recipe.split_source)
    items = Items(gathered.ids, [""] * len(gathered.ids), splits.splits, taken.shown)
    warn_of_split(items, gathered.given, splits, findings, "rows", has_classes=False)
    warn_of_interactions(taken, items, findings)
    return splits


def find_series(part: Part, header: Sequence[str], wanted: str | None, limits: Limits) -> SeriesColumns | None:
    """The columns of times and values, where the table is about values over time."""
    return suggest_columns(header, wanted, rows_of(part, header, limits))


def split_timed(
    series: TimedRows, gathered: Gathered, spec: PrepareSpec, recipe: Recipe, findings: Findings
) -> Assignment:
    """The last part of time is for the test, whatever the seed."""
    splits = split_by_times(series, gathered.given, spec.split_fractions, findings).as_before(recipe.split_source)
    for split in splits.carved:
        count = splits.splits.count(split)
        findings.add(
            f"{split}_carved", f"There was no {split} part; the last rows of train were taken for it: {count:,}."
        )
    warn_of_series(series, Items(gathered.ids, [""] * len(gathered.ids), splits.splits, series.shown), findings)
    return splits


def peek_for_pair(
    part: Part, header: Sequence[str], wanted: str | None, recipe: Recipe, limits: Limits
) -> tuple[PairColumns | None, PairColumns | None]:
    """The columns of questions and answers, and those of texts and translations, by the first rows, where the table is
    about one of these: rows without a target are bad, so it must be known before they are read."""
    rows = [[clean_value(value) for value in row] for _line, row in islice(part.rows(limits, BadItems(0)), PEEKED_ROWS)]
    columns = [Column(name, PEEKED_ROWS) for name in part.table.header]
    for column, values in zip(columns, zip(*rows, strict=True), strict=bool(rows)):
        column.add(values)
    kept = [column for column in columns if column.name in header]
    answered = find_answered(kept, wanted) if recipe.may_be(ANSWER_RETRIEVAL) else None
    return answered, find_pair(kept, wanted) if recipe.may_be(TRANSLATION) else None


def find_texts(gathered: Gathered, target: str, task: str, path: Path) -> Texts | None:
    """The texts, where the table is about texts and their classes."""
    column = find_text_column(gathered.columns, target) if task == TABULAR_CLASSIFICATION else None
    return read_texts(path, column) if column else None


def build_report(
    gathered: Gathered, splits: Assignment, described: list[dict[str, Any]], bad: BadItems, findings: Findings
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
        "findings": findings.ordered(),
        "remedies": findings.remedies,
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
    parts: Sequence[Part], cleaner: Cleaner, path: Path, limits: Limits, bad: BadItems, progress: Progress
) -> Gathered:
    """One pass over all rows: write the sound ones to `path` and remember what the split and the report need."""
    header, target = cleaner.header, cleaner.target
    max_distinct = max(1_000, limits.max_distinct_values // len(header))
    gathered = Gathered([Column(name, max_distinct) for name in header])
    by_name = sorted(range(len(header)), key=header.__getitem__)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for done, found in chunks(parts, cleaner, limits, bad, gathered.ids):
            chunk = [row for _line, _split, row in found]
            writer.writerows(chunk)
            gathered.ids.lines.extend(line for line, _split, _row in found)
            gathered.given.extend(split for _line, split, _row in found)
            for column, values in zip(gathered.columns, zip(*chunk, strict=True), strict=True):
                column.add(values)
            gathered.targets.extend(row[target] for row in chunk)
            gathered.keys.extend(hash_row([row[place] for place in by_name]) for row in chunk)
            add_preview(gathered.preview, chunk, limits)
            check_row_count(len(gathered.keys), limits)
            progress.tell(done, f"Read {len(gathered.keys):,} rows")
    return gathered


def chunks(
    parts: Sequence[Part], cleaner: Cleaner, limits: Limits, bad: BadItems, ids: RowIds
) -> Iterator[tuple[int, list[SoundRow]]]:
    """(bytes read so far, sound rows in the column order of the first part), some thousand rows at a time."""
    size = max(1, min(limits.chunk_rows, CELLS_PER_CHUNK // len(cleaner.header)))
    done = 0
    for part in parts:
        reader = part.rows(limits, bad)
        sound = cleaner.sound_rows(reader, part.split)
        ids.begin(part.table.name)
        while chunk := list(islice(sound, size)):
            yield done + reader.bytes_read, chunk
        done += part.table.path.stat().st_size


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
    gathered: Gathered,
    task: str,
    texts: Texts | Pairs | None,
    spec: PrepareSpec,
    recipe: Recipe,
    findings: Findings,
) -> Assignment:
    """Stratified by target where it is a class; texts that are alike stay together, with all their translations.
    Raises ProgramFailure."""
    is_classification = task == TABULAR_CLASSIFICATION
    labels = gathered.targets if is_classification else [""] * len(gathered.targets)
    keys = texts.keys if texts else gathered.keys
    result = assign_splits(labels, keys, gathered.given, spec.split_fractions, spec.seed)
    result = result.as_before(recipe.split_source)
    items = Items(gathered.ids, labels, result.splits, show_row(texts))
    warn_of_split(items, gathered.given, result, findings, "rows", has_classes=is_classification)
    if isinstance(texts, Pairs):
        (warn_of_answered if task == ANSWER_RETRIEVAL else warn_of_pairs)(texts, items, findings)
        return result
    if texts:
        warn_of_texts(texts, items, findings)
    return result


def show_row(texts: Texts | Pairs | None) -> Callable[[int], dict[str, Any]]:
    """What findings show of a row: its texts, or what stands in it, which is filled in at the end (`fill_rows`)."""
    if isinstance(texts, Pairs):
        return texts.shown
    if texts:
        return lambda number: {"text": shorten(texts.values[number], SHOWN)}
    return lambda number: {"number": number}
