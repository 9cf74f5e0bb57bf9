"""One pass over all rows of a table: writes the sound ones, and keeps what the split and the report need of each."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from workers.contract import ProgramFailure
from workers.preprocessing.cleaning import Cleaner, SoundRow
from workers.preprocessing.columns import Column, shorten
from workers.preprocessing.items import RowIds
from workers.preprocessing.limits import Limits
from workers.preprocessing.report import BadItems, Progress
from workers.preprocessing.table_parts import Part

CELLS_PER_CHUNK = 500_000


@dataclass
class Gathered:
    """What one pass over all rows leaves: statistics per column, and per sound row its target, hash and given split."""

    columns: list[Column]
    targets: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    given: list[str | None] = field(default_factory=list)
    preview: list[list[str]] = field(default_factory=list)
    ids: RowIds = field(default_factory=RowIds)


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
