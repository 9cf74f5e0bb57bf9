"""Tables that say what is heard in the recordings of an upload: which file, which label, who speaks."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workers.contract import ProgramFailure
from workers.preprocessing.csv_reader import Rows, Table, open_table
from workers.preprocessing.limits import Limits
from workers.preprocessing.report import BadItems, describe
from workers.preprocessing.sources import Member, unpack
from workers.preprocessing.splitting import split_of_folder

FILE_COLUMNS = ("file_name", "path", "file", "filename")
LABEL_COLUMNS = ("label", "class", "target", "category")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")
SPLIT_COLUMNS = ("split", "set", "subset")
FORM = 'A table beside recordings needs the columns "file_name" and "label"; "speaker" and "split" are used too.'


@dataclass(frozen=True)
class Described:
    """What a table says of one recording; None where it says nothing."""

    label: str
    speaker: str | None
    split: str | None


@dataclass(frozen=True)
class Columns:
    """Where in a row stands what is read of it; None for what the table does not have."""

    file: int
    label: int
    speaker: int | None
    split: int | None


def read_metadata(
    tables: Sequence[Member], recordings: Sequence[Member], scratch: Path, limits: Limits, bad: BadItems
) -> dict[Member, Described]:
    """What `tables` say of `recordings`. Rows about no recording are bad items. Raises ProgramFailure missing_columns
    and those of `open_table`."""
    places, found = Places(recordings), {}
    for member, path in unpack(tables, scratch, limits):
        table = open_table(path, member.name, limits)
        columns = find_columns(table)
        for line, row in Rows(table, limits, bad):
            name = row[columns.file].strip()
            recording = places.find(member, name)
            if recording is None:
                bad.add(table.name, f'line {line} names "{name[:200]}", which was not uploaded', "missing_file", line)
            elif recording in found:
                bad.add(table.name, f"line {line} names {recording.name} once more", "described_twice", line)
            elif not (label := clean(row[columns.label])):
                bad.add(table.name, f"line {line} has no label", "missing_label", line)
            else:
                speaker, split = (_value(row, place) for place in (columns.speaker, columns.split))
                found[recording] = Described(label, speaker, split_of_folder(split) if split else None)
    return found


def find_columns(table: Table) -> Columns:
    """Raises ProgramFailure missing_columns."""
    by_name = {name.lower(): place for place, name in reversed(list(enumerate(table.header)))}

    def place_of(names: Iterable[str]) -> int | None:
        return next((by_name[name] for name in names if name in by_name), None)

    file, label = place_of(FILE_COLUMNS), place_of(LABEL_COLUMNS)
    if file is None or label is None:
        lacking = "file_name" if file is None else "label"
        raise ProgramFailure(
            "missing_columns",
            f'{table.name} has no column "{lacking}"; it has {describe(table.header)}.',
            hint=FORM,
        )
    return Columns(file, label, place_of(SPEAKER_COLUMNS), place_of(SPLIT_COLUMNS))


def clean(value: str) -> str:
    """macOS writes "é" as two characters, other systems as one; it is one class."""
    return unicodedata.normalize("NFC", " ".join(value.split()))


def _value(row: Sequence[str], place: int | None) -> str | None:
    return None if place is None else clean(row[place]) or None


class Places:
    """Finds the recording that a table means: beside it, or wherever one alone ends in that path."""

    def __init__(self, recordings: Sequence[Member]) -> None:
        self._by_path = {(member.archive, _plain(member.path)): member for member in recordings}
        self._by_name: dict[str, list[Member]] = defaultdict(list)
        for member in recordings:
            self._by_name[PurePosixPath(_plain(member.path)).name].append(member)

    def find(self, table: Member, name: str) -> Member | None:
        name = _plain(name.replace("\\", "/").removeprefix("./"))
        beside = str(PurePosixPath(_plain(table.path)).parent / name)
        if found := self._by_path.get((table.archive, beside)):
            return found
        alike = [
            member
            for member in self._by_name.get(PurePosixPath(name).name, ())
            if f"/{_plain(member.path)}".endswith(f"/{name}") and (table.archive in (None, member.archive))
        ]
        return alike[0] if len(alike) == 1 else None


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path)
