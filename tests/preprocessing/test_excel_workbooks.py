"""Somebody keeps their data in Excel: the first sheet is read as a table is, and what cannot be used is said."""

import io
import random
import re
import zipfile
from datetime import date, datetime
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from tests.preprocessing.uploads import Workplace, csv_text, folders, people, zip_bytes
from workers.contract import ProgramFailure
from workers.preprocessing.limits import Limits
from workers.preprocessing.sheets import SHEET_ENDINGS, as_csv, even, text_of


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


def workbook(**sheets) -> bytes:
    """A workbook of sheets with these rows."""
    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return saved(book)


def saved(book: Workbook) -> bytes:
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def changed(book: bytes, member: str, change) -> bytes:
    """`book` with the bytes of one member changed."""
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    return zip_bytes(entries | {member: change(entries[member])})


def test_a_workbook_is_the_same_data_as_a_csv_file(place, tmp_path):
    (tmp_path / "other").mkdir()
    from_csv = Workplace(tmp_path / "other").prepare({"people.csv": csv_text(people())})
    from_excel = place.prepare({"people.xlsx": workbook(People=people())})
    assert from_excel.report["content_hash"] == from_csv.report["content_hash"]
    assert from_excel.report["columns"] == from_csv.report["columns"]
    assert from_excel.report["findings"] == from_csv.report["findings"]


def test_the_sheets_that_are_not_read_are_named(place):
    prepared = place.prepare({"people.xlsx": workbook(People=people(), Notes=[["remember"]], Totals=[[3]])})
    told = {finding["code"]: finding for finding in prepared.report["findings"]}
    assert told["sheets_left_out"]["severity"] == "note"
    assert "people.xlsx" in told["sheets_left_out"]["message"]
    assert "Notes" in told["sheets_left_out"]["message"] and "Totals" in told["sheets_left_out"]["message"]


def test_a_hidden_sheet_is_passed_over(place):
    book = load_workbook(io.BytesIO(workbook(Lists=[["a"], ["b"]], People=people())))
    book["Lists"].sheet_state = "hidden"
    prepared = place.prepare({"people.xlsx": saved(book)})
    assert prepared.report["items"] == 60
    assert "sheets_left_out" not in {finding["code"] for finding in prepared.report["findings"]}


def test_a_table_may_begin_below_a_blank_row_and_beside_a_blank_column(place):
    rows = [[], *([None, *row] for row in people())]
    prepared = place.prepare({"people.xlsx": workbook(People=rows)})
    assert [column["name"] for column in prepared.report["columns"]] == people()[0]
    assert prepared.report["items"] == 60


def test_a_row_that_cannot_be_used_is_told_by_its_number_in_the_sheet(place):
    rows = people()
    rows[7] = [*rows[7][:3], None]
    rows.insert(3, [])
    prepared = place.prepare({"people.xlsx": workbook(People=rows)}, target="bought")
    assert [(bad["line"], bad["code"]) for bad in prepared.report["bad"]] == [(9, "missing_target")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (3, "3"),
        (0.1, "0.1"),
        (datetime(2026, 11, 30), "2026-11-30"),
        (datetime(2026, 11, 30, 8, 5), "2026-11-30 08:05:00"),
        (date(2026, 11, 30), "2026-11-30"),
        ("#N/A", ""),
        ("#1", "#1"),
        ("两个\nlines", "两个\nlines"),
    ],
)
def test_a_cell_is_what_excel_shows(value, text):
    assert text_of(value) == text


def test_a_formula_is_what_it_last_came_to_and_is_not_computed(tmp_path):
    book = changed(
        workbook(S=[["a", "b"], [1, "=A2*100"]]),
        "xl/worksheets/sheet1.xml",
        lambda xml: re.sub(b"<f>A2[*]100</f><v ?(/>|></v>)", b"<f>A2*100</f><v>7</v>", xml),
    )
    (tmp_path / "x.xlsx").write_bytes(book)
    assert as_csv(tmp_path / "x.xlsx", "x.xlsx", tmp_path / "x.csv", Limits()) == []
    assert (tmp_path / "x.csv").read_text() == "a,b\n1,7\n"


def test_a_workbook_may_say_what_is_on_images(place):
    images = folders(prefix="all/", classes=["a"], count=20)
    names = [name.rpartition("/")[2] for name in images]
    rows = [["file_name", "label"], *([name, "xy"[number % 2]] for number, name in enumerate(names))]
    flat = {name.rpartition("/")[2]: data for name, data in images.items()}
    prepared = place.prepare({"pictures.zip": zip_bytes(flat | {"metadata.xlsx": workbook(M=rows)})})
    assert {each["name"]: each["count"] for each in prepared.report["classes"]} == {"x": 10, "y": 10}


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(5_000), "old_workbook", "has a password, or is in the format"),
        (b"age,bought\n1,2\n", "corrupt_archive", "not a complete ZIP"),
        (zip_bytes({"a.txt": b"no workbook"}), "damaged_workbook", "not a complete Excel workbook"),
        (workbook(Empty=[], People=people()), "empty_file", '"Empty", is empty'),
        (workbook(Wide=[["a"] * 2_001]), "too_many_columns", "reaches to column 2,001"),
        (workbook(People=[["only"], *[[n] for n in range(9)]]), "one_column", "only"),
    ],
    ids=["old", "renamed", "zip", "empty", "wide", "one"],
)
def test_a_workbook_that_cannot_be_used_says_why(place, data, code, words):
    failure = place.refusal({"x.xlsx": data})
    assert failure.code == code
    assert words in failure.message and failure.hint


def test_an_old_workbook_is_told_what_to_do(place):
    failure = place.refusal({"x.xls": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(5_000)})
    assert failure.code == "old_workbook" and "XLSX" in failure.hint


def test_what_would_not_fit_into_memory_is_refused_before_it_is_read(place):
    failure = place.refusal({"x.xlsx": workbook(P=people())}, limits=Limits(max_workbook_part_bytes=100))
    assert failure.code == "workbook_too_large"


def test_a_forged_row_number_ends_after_as_many_rows_as_excel_has(place):
    book = changed(
        workbook(P=people(10)),
        "xl/worksheets/sheet1.xml",
        lambda xml: xml.replace(b'<row r="9"', b'<row r="999999999999"'),
    )
    assert place.refusal({"x.xlsx": book}).code == "too_many_rows"


def test_what_a_document_type_declares_is_not_loaded(place, tmp_path):
    (tmp_path / "secret.txt").write_text("top secret")
    declared = f'<!DOCTYPE x [<!ENTITY leak SYSTEM "file://{tmp_path}/secret.txt">]>'.encode()
    book = changed(
        workbook(P=people()),
        "xl/worksheets/sheet1.xml",
        lambda xml: declared + xml[xml.index(b"<worksheet") :].replace(b">red<", b">&leak;<", 1),
    )
    assert place.refusal({"x.xlsx": book}).code == "damaged_workbook"


def still(book: bytes) -> bytes:
    """`book` without the moment at which it was made."""
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if name != "docProps/core.xml"}
    return zip_bytes((zipfile.ZipInfo(name), data) for name, data in entries.items())


def test_a_damaged_workbook_is_refused_or_read_and_never_breaks_the_program(tmp_path):
    sound, chance = still(workbook(P=people(20), Q=[["x"]])), random.Random(0)
    codes = {code_of(tmp_path, flipped(sound, chance)) for _round in range(60)}
    members = zipfile.ZipFile(io.BytesIO(sound)).namelist()
    for _round in range(60):
        codes.add(code_of(tmp_path, changed(sound, chance.choice(members), lambda xml: flipped(xml, chance))))
    assert {"corrupt_archive", "damaged_workbook"} <= codes


def flipped(data: bytes, chance: random.Random) -> bytes:
    """With some bytes changed, and in one case of three without its end."""
    damaged = bytearray(data)
    for _flip in range(chance.choice((1, 3, 20))):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    return bytes(damaged[: chance.choice((len(damaged), len(damaged), len(damaged) - 30))])


def code_of(folder, book: bytes) -> str:
    (folder / "x.xlsx").write_bytes(book)
    try:
        as_csv(folder / "x.xlsx", "x.xlsx", folder / "x.csv", Limits())
    except ProgramFailure as failure:
        return failure.code
    return ""


CELLS = st.lists(st.sampled_from(["", "a", "b"]), max_size=5).map(
    lambda row: row[: max((place for place, text in enumerate(row, 1) if text), default=0)]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(CELLS, max_size=6))
def test_no_cell_right_of_where_the_header_begins_is_lost(rows):
    evened = list(even(iter(rows)))
    first = next((row for row in rows if row), [])
    start = next((place for place, text in enumerate(first) if text), 0)
    assert [len(row) for row in evened if row] == [max(len(first), len(row)) - start for row in rows if row]
    kept = [text for row in rows for text in row[start:] if text]
    assert [text for text in chain.from_iterable(evened) if text] == kept
    assert all(not row for row, original in zip(evened, rows, strict=True) if not original)


def test_the_endings_are_those_that_excel_gives():
    assert {".xlsx", ".xlsm", ".xls"} == SHEET_ENDINGS
