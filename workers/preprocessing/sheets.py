"""Read Excel workbooks made by strangers: the first visible sheet becomes a CSV file, which is then read as all tables
are.

A workbook is a ZIP of XML. It has to pass as an archive first, no part of it may be larger than fits into memory, and
its rows are written one by one. What stands in a cell is what Excel last showed there: no formula is computed.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from workers.contract import ProgramFailure, is_disk_full
from workers.preprocessing.archives import Archive
from workers.preprocessing.limits import Limits

SHEET_ENDINGS = {".xlsx", ".xlsm", ".xls"}  # the last are refused with a reason
MAX_SHEET_ROWS = 2**20  # as many as Excel has; a forged row number would give as many empty rows as it says
OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # workbooks of before 2007, and those with a password
ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"})
# What openpyxl raises for damaged workbooks: such with flipped bytes found all of these.
DAMAGE = (
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    EOFError,
    NotImplementedError,
    SyntaxError,  # both parsers of XML that openpyxl may use
    BadZipFile,
    zlib.error,
    OSError,
)


def as_csv(path: Path, name: str, out: Path, limits: Limits) -> list[str]:
    """Write the first visible sheet of the workbook at `path` to `out`, as UTF-8 with commas; return the names of its
    other visible sheets.

    Raises ProgramFailure with the codes old_workbook, damaged_workbook, workbook_too_large, too_many_rows,
    too_many_columns, empty_file, and those of `Archive`.
    """
    check_workbook(path, name, limits)
    try:
        with open(out, "w", newline="", encoding="utf-8") as file:
            return write_rows(path, name, csv.writer(file), limits)
    except DAMAGE as error:
        if isinstance(error, OSError) and is_disk_full(error):
            raise
        detail = str(error)[:200] or type(error).__name__
        raise ProgramFailure(
            "damaged_workbook",
            f"{name} is not a complete Excel workbook ({detail}).",
            hint="Open it, save it as a new XLSX or CSV file, and upload that.",
        ) from error


def check_workbook(path: Path, name: str, limits: Limits) -> None:
    with open(path, "rb") as file:
        head = file.read(len(OLE))
    if head == OLE:
        raise ProgramFailure(
            "old_workbook",
            f"{name} has a password, or is in the format of Excel before 2007.",
            hint="Save it as XLSX without a password, or as CSV, and upload that.",
        )
    with Archive(path, name, limits) as archive:
        largest = max(info.file_size for info in archive.entries.values())
    if largest > limits.max_workbook_part_bytes:
        message = f"A part of {name} unpacks to {largest:,} bytes; {limits.max_workbook_part_bytes:,} are allowed."
        hint = "Save the sheet as CSV, which may be larger, and upload that."
        raise ProgramFailure("workbook_too_large", message, hint=hint)


def write_rows(path: Path, name: str, writer: Any, limits: Limits) -> list[str]:
    import openpyxl  # takes a tenth of a second, and few uploads are workbooks

    with (
        open(path, "rb") as file,
        closing(openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)) as book,
    ):
        visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        if not visible:
            raise ProgramFailure("empty_file", f"{name} has no sheet with cells.", hint="Upload another file.")
        sheet, *others = visible
        sheet.reset_dimensions()  # what a file says of its size may be wrong
        has_rows = False
        for row in even(texts_of(sheet.iter_rows(values_only=True), name, limits)):
            has_rows = has_rows or bool(row)
            writer.writerow(row)
        if not has_rows:
            hint = "Move the sheet with the data to the front, and upload the file again."
            raise ProgramFailure("empty_file", f'The first sheet of {name}, "{sheet.title}", is empty.', hint=hint)
        return [other.title for other in others]


def texts_of(rows: Iterator[Sequence[Any]], name: str, limits: Limits) -> Iterator[list[str]]:
    """Each row as texts, without the empty cells at its end."""
    for number, row in enumerate(rows, 1):
        if number > MAX_SHEET_ROWS:
            message = f"{name} has more than {MAX_SHEET_ROWS:,} rows."
            raise ProgramFailure("too_many_rows", message, hint="Save the sheet as CSV and upload that.")
        texts = [text_of(value) for value in row]
        while texts and not texts[-1]:
            texts.pop()
        if len(texts) > limits.max_columns:
            message = f"Row {number} of {name} reaches to column {len(texts):,}; {limits.max_columns:,} are allowed."
            raise ProgramFailure("too_many_columns", message, hint="Leave out columns that are not needed.")
        yield texts


def even(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """From the column on where the first row with cells begins, and as wide as it is, but where a row is wider; empty
    rows stay, so that lines have the numbers of rows."""
    start = width = 0
    for row in rows:
        if row and not width:
            start = next(place for place, text in enumerate(row) if text)
            width = len(row)
        yield row[start:] + [""] * (width - max(start, len(row))) if row else []


def text_of(value: object) -> str:
    if value is None or isinstance(value, str) and value in ERRORS:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return str(value.date() if value.time() == time() else value)
    return value.isoformat() if isinstance(value, date | time) else str(value)
