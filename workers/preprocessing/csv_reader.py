"""Read CSV and TSV files made by strangers, row by row: encoding, delimiter, header, and which rows are ragged."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from workers.contract import ProgramFailure
from workers.preprocessing.columns import is_number
from workers.preprocessing.limits import Limits
from workers.preprocessing.report import BadItems

QUOTES = 'A value with a quote or a line break must stand in quotes, with inner quotes doubled: "say ""hi""".'
DELIMITERS = ",;\t|"
SNIFFED_LINES = 30
SNIFFED_CHARS = 2**20
BLOCK_BYTES = 2**20
TELL_EVERY_LINES = 1_000
ENCODINGS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Table:
    """One file to read: `name` for people, `header` stripped and checked."""

    name: str
    path: Path
    encoding: str
    delimiter: str
    header: tuple[str, ...]


def open_table(path: Path, name: str, limits: Limits) -> Table:
    """Find out encoding, delimiter and header.

    Raises ProgramFailure with the codes wrong_encoding, nul_bytes, line_too_long, empty_file, no_header, bad_header,
    missing_header, duplicate_header, header_too_long, too_many_columns, one_column.
    """
    encoding = encoding_of(path, name)
    csv.field_size_limit(limits.max_field_chars)
    with open_text(path, encoding) as file:
        sample = take_sample(lines(file, name, limits))
        if not sample:
            raise ProgramFailure("empty_file", f"{name} has no lines with content.", hint="Upload the file again.")
        delimiter = sniff_delimiter(sample)
        file.seek(0)
        header = read_header(make_reader(lines(file, name, limits), delimiter), name)
    check_header(header, name, limits)
    return Table(name, path, encoding, delimiter, header)


def read_header(reader: Iterator[list[str]], name: str) -> tuple[str, ...]:
    try:
        return tuple(value.strip() for value in next(row for row in reader if row))
    except csv.Error as error:
        raise ProgramFailure("bad_header", f"The header of {name} cannot be read: {error}.", hint=QUOTES) from error


def encoding_of(path: Path, name: str) -> str:
    with open(path, "rb") as file:
        head = file.read(4)
    if head in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        raise wrong_encoding(name, "it is UTF-32")
    return next((encoding for mark, encoding in ENCODINGS if head.startswith(mark)), "utf-8")


def wrong_encoding(name: str, detail: str) -> ProgramFailure:
    return ProgramFailure(
        "wrong_encoding",
        f"{name} is not UTF-8: {detail}.",
        hint='Save it as UTF-8 (in Excel: "CSV UTF-8") and upload it again.',
    )


def open_text(path: Path, encoding: str) -> TextIOWrapper:
    return open(path, encoding=encoding, newline="")


def lines(file: TextIOWrapper, name: str, limits: Limits) -> Iterator[str]:
    """Decoded lines with their ends. Raises ProgramFailure wrong_encoding, nul_bytes or line_too_long."""
    number = 0
    try:
        while line := file.readline(limits.max_line_chars):
            number += 1
            check_line(line, number, name, limits)
            yield line
    except UnicodeDecodeError as error:
        raise wrong_encoding(name, locate_bad_byte(Path(file.name), file.encoding)) from error


def check_line(line: str, number: int, name: str, limits: Limits) -> None:
    if "\0" in line:
        raise ProgramFailure(
            "nul_bytes",
            f"{name} has NUL bytes in line {number}: it is not a text file, or it is UTF-16 without its mark.",
            hint="Save it as CSV in UTF-8 and upload it again.",
        )
    if len(line) >= limits.max_line_chars:
        raise ProgramFailure(
            "line_too_long",
            f"Line {number} of {name} is longer than {limits.max_line_chars:,} characters.",
            hint="A table has one row per line. Check the line ends and the number of columns.",
        )


def locate_bad_byte(path: Path, encoding: str) -> str:
    """Which line and byte cannot be decoded, as part of a sentence."""
    decoder = codecs.getincrementaldecoder(encoding.removesuffix("-sig"))()
    offset, newlines = 0, 0
    with open(path, "rb") as file:
        while True:
            block = file.read(BLOCK_BYTES)
            pending = decoder.getstate()[0]
            try:
                newlines += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                bad = error.object[error.start]
                sound = error.object[: error.start].decode(error.encoding)
                place = offset - len(pending) + error.start + 1
                return (
                    f"line {newlines + sound.count(chr(10)) + 1} has the byte 0x{bad:02X} (byte {place:,} of the file)"
                )
            offset += len(block)
            if not block:
                return "its end is cut off"


def take_sample(source: Iterator[str]) -> list[str]:
    """The first lines with content, not many and not long."""
    sample: list[str] = []
    size = 0
    for line in source:
        size += len(line)
        if line.strip():
            sample.append(line)
        if len(sample) >= SNIFFED_LINES or size > SNIFFED_CHARS:
            break
    return sample


def sniff_delimiter(sample: list[str]) -> str:
    """The delimiter under which most lines of the sample have as many values as the first, more than one."""

    def score(delimiter: str) -> tuple[int, int]:
        try:
            widths = [len(row) for row in csv.reader(sample, delimiter=delimiter) if row]
        except csv.Error:  # the whole line is one over-long value under this delimiter
            return 0, 0
        width = widths[0] if widths else 1
        return (Counter(widths)[width], width) if width > 1 else (0, 0)

    return max(DELIMITERS, key=score)


def make_reader(source: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    return csv.reader(source, delimiter=delimiter, strict=True, skipinitialspace=True)


def check_header(header: tuple[str, ...], name: str, limits: Limits) -> None:
    """Raises ProgramFailure for a header that cannot name the columns."""
    hint = "The first line must name every column once."
    if len(header) > limits.max_columns:
        raise ProgramFailure(
            "too_many_columns",
            f"{name} has {len(header):,} columns; {limits.max_columns:,} are allowed.",
            hint="Leave out columns that the prediction does not need. Are rows and columns exchanged?",
        )
    if all(is_number(value) for value in header):
        raise ProgramFailure("no_header", f"{name} has no header: its first line holds only numbers.", hint=hint)
    if "" in header:
        place = header.index("") + 1
        raise ProgramFailure("missing_header", f"Column {place} of {name} has no name in the header.", hint=hint)
    if too_long := next((value for value in header if len(value) > limits.max_header_chars), None):
        raise ProgramFailure(
            "header_too_long",
            f'The column name "{too_long[:40]}..." of {name} has {len(too_long):,} characters.',
            hint=hint,
        )
    twice, count = Counter(header).most_common(1)[0]
    if count > 1:
        places = " and ".join(str(place) for place, value in enumerate(header, 1) if value == twice)
        raise ProgramFailure("duplicate_header", f'{name} has the column "{twice}" {count} times: {places}.', hint=hint)
    if len(header) < limits.min_columns:
        raise ProgramFailure(
            "one_column",
            f'{name} has only the column "{header[0][:60]}".',
            hint="Values must be separated by comma, semicolon, tab or |; a prediction needs at least two columns.",
        )


class Rows:
    """Iterates over (line number, values) of the rows below the header that have as many values as it; others are bad.

    The line number is that of the row's first line. Raises ProgramFailure field_too_long, unclosed_quote and those of
    `lines`.
    """

    def __init__(self, table: Table, limits: Limits, bad: BadItems) -> None:
        self.table, self.limits, self.bad = table, limits, bad
        self.bytes_read = 0

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        width = len(self.table.header)
        for line, row in self._all_rows():
            if len(row) == width:
                yield line, row
            elif len(row) > 1 or "".join(row).strip():
                values = "1 value" if len(row) == 1 else f"{len(row)} values"
                reason = f"line {line} has {values}, the header has {width}"
                self.bad.add(self.table.name, reason, "ragged_row", line)

    def _all_rows(self) -> Iterator[tuple[int, list[str]]]:
        with open_text(self.table.path, self.table.encoding) as file:
            reader = make_reader(lines(file, self.table.name, self.limits), self.table.delimiter)
            next(row for row in reader if row)
            while True:
                line = reader.line_num + 1
                try:
                    row = next(reader, None)
                except csv.Error as error:
                    add_unreadable(error, self.table, line, self.limits, self.bad)
                    continue
                if row is None:
                    return
                if line % TELL_EVERY_LINES == 0:
                    self.bytes_read = file.buffer.tell()
                yield line, row


def add_unreadable(error: csv.Error, table: Table, line: int, limits: Limits, bad: BadItems) -> None:
    """A stray quote costs one row; a quote that is never closed swallows all the rest, so it is fatal."""
    if "field larger" in str(error):
        raise ProgramFailure(
            "field_too_long",
            f"{table.name} has a value of more than {limits.max_field_chars:,} characters from line {line} on.",
            hint=f"Often a closing quote is missing. {QUOTES}",
        ) from error
    if "unexpected end" in str(error):
        raise ProgramFailure(
            "unclosed_quote",
            f"{table.name} has a quote in line {line} that is never closed.",
            hint=QUOTES,
        ) from error
    bad.add(table.name, f"line {line} cannot be read: {error}", "bad_quoting", line)
