"""The files of a table: opened, with the split that each was given, and of the same columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.contract import SPLITS, ProgramFailure
from workers.preprocessing.csv_reader import Rows, Table, open_table
from workers.preprocessing.findings import Findings
from workers.preprocessing.json_lines import JsonRows, open_json_lines
from workers.preprocessing.limits import Limits
from workers.preprocessing.report import BadItems, describe
from workers.preprocessing.sources import JSON_ENDINGS, Sources, ending_of, splits_of_names, unpack_tables


@dataclass(frozen=True)
class Part:
    """One opened table and the split that the user gave it."""

    table: Table
    split: str | None
    is_json: bool = False

    def rows(self, limits: Limits, bad: BadItems) -> Rows | JsonRows:
        return (JsonRows if self.is_json else Rows)(self.table, limits, bad)

    def columns(self, header: Sequence[str], limits: Limits) -> Iterator[list[str]]:
        """The values of `header` in every row; what is bad is not told, as `gather` does that."""
        places = [self.table.header.index(name) for name in header]
        for _line, row in self.rows(limits, BadItems(limits.max_bad_listed)):
            yield [row[place] for place in places]


def open_part(path: Path, name: str, split: str | None, limits: Limits) -> Part:
    """Raises ProgramFailure."""
    is_json = ending_of(name) in JSON_ENDINGS
    return Part((open_json_lines if is_json else open_table)(path, name, limits), split, is_json)


def open_parts(sources: Sources, scratch: Path, limits: Limits, findings: Findings) -> list[Part]:
    """Open every file, train first, and check that all have the same columns. Raises ProgramFailure."""
    members = sources.members
    by_archive = [bundle.split for bundle in sources.bundles for _ in bundle.members]
    by_name = splits_of_names([member.path if member.archive else member.name for member in members])
    unpacked, parts = unpack_tables(members, scratch, limits), []
    for (member, path, others), *splits in zip(unpacked, by_name, by_archive, strict=True):
        if path.stat().st_size == 0:
            raise ProgramFailure("empty_file", f"{member.name} is empty (0 bytes).", hint="Upload the file again.")
        split = next((split for split in (member.split, *splits) if split), None)
        parts.append(open_part(path, member.name, split, limits))
        if others:
            message = f"Of {member.name} only the first sheet was read, and not {describe(others)}."
            findings.add("sheets_left_out", message, about=member.name)
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
