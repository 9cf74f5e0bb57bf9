"""Tables that say what is heard in the recordings of an upload: which file, which label or what is said, who speaks."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workers.contract import ProgramFailure
from workers.preprocessing.csv_reader import Rows, Table, encoding_of, lines, open_table, open_text
from workers.preprocessing.limits import Limits
from workers.preprocessing.report import BadItems, describe
from workers.preprocessing.sources import Member, unpack_tables
from workers.preprocessing.splitting import split_of_folder
from workers.preprocessing.transcripts import is_said

FILE_COLUMNS = ("file_name", "path", "file", "filename", "audio")
LABEL_COLUMNS = ("label", "class", "target", "category")
TRANSCRIPT_COLUMNS = ("transcript", "transcription", "sentence", "text", "normalized_transcript")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")
SPLIT_COLUMNS = ("split", "set", "subset")
FORM = (
    'A table beside recordings needs the columns "file_name" and "label", or "transcript" for what is said; "speaker" '
    'and "split" are used too.'
)


@dataclass(frozen=True)
class Described:
    """What a table says of one recording; None, or "" for a label, where it says nothing."""

    label: str
    transcript: str | None
    speaker: str | None
    split: str | None


@dataclass(frozen=True)
class Columns:
    """Where in a row stands what is read of it; None for what the table does not have."""

    file: int
    label: int | None
    transcript: int | None
    speaker: int | None
    split: int | None


BAR, PLAIN = "|", Columns(file=0, label=None, transcript=1, speaker=None, split=None)


def read_metadata(
    tables: Sequence[Member], recordings: Sequence[Member], scratch: Path, limits: Limits, bad: BadItems
) -> dict[Member, Described]:
    """What `tables` say of `recordings`. Rows about no recording are bad items. Raises ProgramFailure missing_columns
    and those of `open_table`."""
    places, found = Places(recordings), {}
    for member, path, _others in unpack_tables(tables, scratch, limits):
        for line, row, columns in read_table(member, path, places, limits, bad):
            name = row[columns.file].strip()
            recording = places.find(member, name)
            if recording is None:
                bad.add(member.name, f'line {line} names "{name[:200]}", which was not uploaded', "missing_file", line)
            elif recording in found:
                bad.add(member.name, f"line {line} names {recording.name} once more", "described_twice", line)
            elif columns.label is not None and not _value(row, columns.label):
                bad.add(member.name, f"line {line} has no label", "missing_label", line)
            elif columns.label is None and not is_said(row[columns.transcript]):
                bad.add(member.name, f"line {line} has no transcript", "missing_transcript", line)
            else:
                found[recording] = _describe(row, columns)
    return found


def read_table(
    member: Member, path: Path, places: Places, limits: Limits, bad: BadItems
) -> Iterator[tuple[int, Sequence[str], Columns]]:
    """(line, row, columns) of a table with a header, or of one as LJSpeech's: "LJ001-0001|text|text in words", without
    a header and without quotes."""
    with open_text(path, encoding_of(path, member.name)) as file:
        source = lines(file, member.name, limits)
        is_plain = places.find(member, next(source, "").partition(BAR)[0].strip()) is not None
        file.seek(0)
        if is_plain:
            for number, line in enumerate(lines(file, member.name, limits), 1):
                name, *texts = line.strip().split(BAR)
                if name:
                    yield number, (name, next((text for text in reversed(texts) if text.strip()), "")), PLAIN
            return
    table = open_table(path, member.name, limits)
    columns = find_columns(table)
    for number, row in Rows(table, limits, bad):
        yield number, row, columns


def find_columns(table: Table) -> Columns:
    """Raises ProgramFailure missing_columns."""
    by_name = {name.lower(): place for place, name in reversed(list(enumerate(table.header)))}

    def place_of(names: Iterable[str]) -> int | None:
        return next((by_name[name] for name in names if name in by_name), None)

    file, label, transcript = place_of(FILE_COLUMNS), place_of(LABEL_COLUMNS), place_of(TRANSCRIPT_COLUMNS)
    if file is None or label is None and transcript is None:
        lacking = 'column "file_name"' if file is None else 'column "label" and none called "transcript"'
        raise ProgramFailure(
            "missing_columns", f"{table.name} has no {lacking}; it has {describe(table.header)}.", hint=FORM
        )
    return Columns(file, label, transcript, place_of(SPEAKER_COLUMNS), place_of(SPLIT_COLUMNS))


def _describe(row: Sequence[str], columns: Columns) -> Described:
    transcript, speaker, split = (_value(row, each) for each in (columns.transcript, columns.speaker, columns.split))
    label = _value(row, columns.label) or ""
    return Described(label, transcript, speaker, split_of_folder(split) if split else None)


def clean(value: str) -> str:
    """macOS writes "é" as two characters, other systems as one; it is one class."""
    return unicodedata.normalize("NFC", " ".join(value.split()))


def _value(row: Sequence[str], place: int | None) -> str | None:
    return None if place is None else clean(row[place]) or None


class Places:
    """Finds the recording that a table means: beside it, or wherever one alone ends in that path, with its ending or
    without."""

    def __init__(self, recordings: Sequence[Member]) -> None:
        self._by_path = {(member.archive, _plain(member.path)): member for member in recordings}
        self._by_name: dict[str, list[Member]] = defaultdict(list)
        for member in recordings:
            path = PurePosixPath(_plain(member.path))
            for name in (path.name, path.stem):
                self._by_name[name].append(member)

    def find(self, table: Member, name: str) -> Member | None:
        name = _plain(name.replace("\\", "/").removeprefix("./"))
        beside = str(PurePosixPath(_plain(table.path)).parent / name)
        if found := self._by_path.get((table.archive, beside)):
            return found
        alike = [
            member
            for member in self._by_name.get(PurePosixPath(name).name, ())
            if f"/{_plain(member.path)}".endswith((f"/{name}", f"/{name}{PurePosixPath(member.path).suffix}"))
            and table.archive in (None, member.archive)
        ]
        return alike[0] if len(alike) == 1 else None


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path)
