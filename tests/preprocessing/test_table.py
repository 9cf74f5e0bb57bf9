"""A person uploads a table."""

import csv
import random

import pytest

from tests.preprocessing.uploads import Workplace, csv_text, people, picture, zip_bytes
from workers.preprocessing.columns import Column, guess_task


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


def data_rows(done):
    with open(done.output / "data.csv", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def types(done):
    return {column["name"]: column["type"] for column in done.report["columns"]}


def test_a_csv_becomes_a_data_set(place):
    done = place.prepare({"people.csv": csv_text(people(100))})
    assert (done.report["kind"], done.report["task"], done.report["target"]) == (
        "table",
        "tabular_classification",
        "bought",
    )
    assert types(done) == {"age": "numeric", "income": "numeric", "colour": "categorical", "bought": "boolean"}
    assert done.classes == {"no": 50, "yes": 50}
    assert done.report["splits"] == {"train": 80, "val": 10, "test": 10}
    assert done.report["split_source"] == "stratified"
    assert len(data_rows(done)) == 101
    assert done.report["preview"] == [[str(value) for value in row] for row in people(10)[1:]]
    assert done.report["data_bytes"] == (done.output / "data.csv").stat().st_size


def test_the_index_names_the_split_of_each_row(place):
    done = place.prepare({"people.csv": csv_text(people(100))})
    assert done.index["rows"] == len(done.index["split"]) == len(data_rows(done)) - 1
    assert done.index["columns"] == done.report["columns"]
    by_class = [(row[3], split) for row, split in zip(data_rows(done)[1:], done.index["split"], strict=True)]
    assert by_class.count(("yes", "val")) == by_class.count(("no", "test")) == 5


def test_files_called_train_val_and_test_are_the_users_split(place):
    uploads = {
        "test.csv": csv_text(people(10, 1000)),
        "train.csv": csv_text(people(40)),
        "val.csv": csv_text(people(12, 2000)),
    }
    done = place.prepare(uploads)
    assert done.report["splits"] == {"train": 40, "val": 12, "test": 10}
    assert (done.report["split_source"], done.warnings) == ("user", set())
    assert done.report["preview"][0] == ["20", "0.5", "blue", "no"]


def test_an_explicit_split_wins_over_the_name(place):
    uploads = {"test.csv": csv_text(people(50)), "b.csv": csv_text(people(10, 500))}
    done = place.prepare(uploads, splits={"test.csv": "train", "b.csv": "test"})
    assert done.report["splits"]["test"] == 10


def test_columns_may_stand_in_another_order_in_another_file(place):
    swapped = [list(reversed(row)) for row in people(20, 700)]
    done = place.prepare({"train.csv": csv_text(people(60)), "test.csv": csv_text(swapped)})
    assert data_rows(done)[-1] == [str(value) for value in people(20, 700)[-1]]


def test_files_with_other_columns_are_refused_by_name(place):
    short = [row[:-1] for row in people(20)]
    failure = place.refusal({"train.csv": csv_text(people(60)), "test.csv": csv_text(short)})
    assert failure.code == "headers_differ"
    assert failure.message == "test.csv lacks the column bought, which train.csv has."


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(place, delimiter):
    done = place.prepare({"people.csv": csv_text(people(), delimiter)})
    assert list(types(done)) == ["age", "income", "colour", "bought"]


def test_a_delimiter_inside_quotes_does_not_mislead(place):
    rows = "".join(f'"a, b, c, {n}";{n % 2}\n' for n in range(30))
    done = place.prepare({"x.csv": "words;class\n" + rows})
    assert data_rows(done)[1] == ["a, b, c, 0", "0"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_read_in_every_allowed_form(place, encoding, end):
    mark = "\ufeff" if encoding.endswith(("le", "be")) else ""
    text = mark + "größe,klasse\n" + "".join(f"{n},{'süß' if n % 2 else '酸'}\n" for n in range(40))
    done = place.prepare({"x.csv": text.replace("\n", end).encode(encoding)})
    assert list(types(done)) == ["größe", "klasse"]
    assert done.classes == {"süß": 20, "酸": 20}


def test_values_are_trimmed_and_missing_ones_are_empty(place):
    tokens = ["", "?", " NA ", "N/A", "NaN", "null", "None", " x "]
    rows = "".join(f" {n} ,{token}, {'a' if n % 2 else 'b'}\n" for n, token in enumerate(tokens * 3))
    done = place.prepare({"x.csv": "n,token,class\n" + rows})
    assert {row[1] for row in data_rows(done)[1:]} == {"", "x"}
    token = done.report["columns"][1]
    assert (token["missing"], token["unique"], token["top"]) == (21, 1, [["x", 3]])


def test_values_with_quotes_and_line_breaks_survive(place):
    rows = [[f'say "{n}",\nplease\r\nnow', "ab"[n % 2]] for n in range(20)]
    text = "words,class\n" + "".join('"' + a.replace('"', '""') + f'",{b}\n' for a, b in rows)
    done = place.prepare({"x.csv": text})
    assert data_rows(done)[1:] == [[a.replace("\r\n", "\n"), b] for a, b in rows]


def test_the_wanted_target_is_used(place):
    done = place.prepare({"people.csv": csv_text(people())}, target="income")
    assert (done.report["target"], done.report["task"], done.report["classes"]) == ("income", "tabular_regression", [])


@pytest.mark.parametrize("name", ["target", "Label", "CLASS", "y", "outcome"])
def test_a_column_with_a_usual_name_is_the_target(place, name):
    rows = [[name, "a", "b"], *[["uv"[n % 2], n, n + 0.5] for n in range(30)]]
    assert place.prepare({"x.csv": csv_text(rows)}).report["target"] == name


def test_rows_are_not_counted_bad_for_blank_lines(place):
    text = csv_text(people(30)).replace("\n", "\n\n", 5) + "\n  \n"
    done = place.prepare({"x.csv": "\n" + text})
    assert (done.report["items"], done.report["bad_total"]) == (30, 0)


def test_bad_rows_are_named_with_line_and_counts(place):
    lines = csv_text(people(60)).splitlines()
    lines[16] = "1,2,3"
    lines[20] += ",5,6"
    lines[30] = '1,"a"b,red,yes'
    lines[40] = "30,1.5,red,?"
    done = place.prepare({"people.csv": "\n".join(lines)})
    assert [(bad["line"], bad["code"]) for bad in done.report["bad"]] == [
        (17, "ragged_row"),
        (21, "ragged_row"),
        (31, "bad_quoting"),
        (41, "missing_target"),
    ]
    assert done.report["bad"][0] == {
        "path": "people.csv",
        "line": 17,
        "reason": "line 17 has 3 values, the header has 4",
        "code": "ragged_row",
    }
    assert done.report["items"] == 56


def test_line_numbers_count_the_lines_of_long_values(place):
    text = "words,class\n" + "".join(f'"one\ntwo {n}",{n % 2}\n' for n in range(20)) + "ragged\n"
    assert place.prepare({"x.csv": text}).report["bad"][0]["line"] == 42


def test_a_zip_of_tables_is_read_as_those_tables(place):
    entries = {
        "w/train.csv": csv_text(people(40)),
        "w/test.csv": csv_text(people(10, 900)),
        "__MACOSX/w/._test.csv": "x",
    }
    done = place.prepare({"people.zip": zip_bytes({name: text.encode() for name, text in entries.items()})})
    assert (done.report["kind"], done.report["ignored"]) == ("table", 1)
    assert done.report["splits"]["test"] == 10


def test_split_folders_and_zip_names_hold_for_tables_too(place):
    parts = {"train": people(40), "test": people(10, 900)}
    in_folders = {f"{split}/data.csv": csv_text(rows).encode() for split, rows in parts.items()}
    assert place.prepare({"people.zip": zip_bytes(in_folders)}).report["splits"]["test"] == 10
    zips = {f"people_{split}.zip": zip_bytes({"data.csv": csv_text(rows).encode()}) for split, rows in parts.items()}
    assert place.prepare(zips).report["splits"]["test"] == 10


def test_equal_rows_stay_on_one_side(place):
    rows = people(40)
    done = place.prepare({"x.csv": csv_text(rows + rows[1:])})
    homes = {}
    for row, split in zip(data_rows(done)[1:], done.index["split"], strict=True):
        homes.setdefault(tuple(row), set()).add(split)
    assert all(len(splits) == 1 for splits in homes.values())
    assert done.warnings == {"duplicates"}


def test_equal_content_has_an_equal_hash_and_split_in_any_order(place):
    header, *rows = people(80)
    one = place.prepare({"x.csv": csv_text([header, *rows])})
    random.Random(1).shuffle(rows)
    two = place.prepare(
        {"y.csv": csv_text([[row[2], row[0], row[3], row[1]] for row in [header, *rows]], ";")}, target="bought"
    )
    assert one.report["content_hash"] == two.report["content_hash"]
    assert one.report["content_hash"] != place.prepare({"x.csv": csv_text(people(81))}).report["content_hash"]


def test_columns_that_help_nobody_are_told(place):
    rows = [[n, "same", "", "x" if n == 7 else n, "ab"[n % 2]] for n in range(60)]
    done = place.prepare({"x.csv": csv_text([["n", "constant", "empty", "nearly", "class"], *rows])})
    assert done.warnings == {"constant_column", "empty_column", "almost_numeric", "identifier_column"}
    messages = {warning["code"]: warning["message"] for warning in done.report["findings"]}
    nearly = next(each for each in done.report["findings"] if each["code"] == "almost_numeric")
    assert [item["row"] for item in nearly["items"]] == [[["nearly", "x"]]] and nearly["actions"] == {"leave_out": 1}
    assert '"nearly" has 59 numbers and 1 value that is none, such as "x"' in messages["almost_numeric"]


def test_a_large_table_is_read_in_chunks_with_the_same_result(place):
    done = place.prepare({"x.csv": csv_text(people(9000))})
    assert done.report["items"] == 9000
    income = done.report["columns"][1]
    assert (income["min"], income["max"], income["unique"]) == (0.5, 8999.5, 9000)
    assert income["mean"] == pytest.approx(4500.0)


def test_what_is_no_data_is_called_neither_image_recording_nor_table(place):
    failure = place.refusal({"paper.pdf": b"%PDF-1.7"})
    assert failure.message == "paper.pdf is neither an image, a recording nor a table."


def test_a_table_among_pictures_is_refused(place):
    failure = place.refusal({"a.csv": csv_text(people()), "cats/1.png": picture(1)})
    assert failure.code == "unknown_kind"


@pytest.mark.parametrize(
    ("name", "data"),
    [("paper.pdf", b"%PDF-1.7"), ("cat.png", picture(1)), ("sheet.ods", b"PK\x03\x04"), ("noise.zip", None)],
)
def test_anything_else_is_refused_and_told_what_to_upload(place, name, data):
    failure = place.refusal({name: zip_bytes({"a.mid": b"MThd", "b.csv": b"a,b"}) if data is None else data})
    assert failure.code == "unknown_kind"
    assert "Upload a ZIP with one folder of images" in failure.hint


def column(values, name="x", max_distinct=10_000):
    column = Column(name, max_distinct)
    column.add(values)
    return column


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "2.5", "-3e2", ".5", ""], "numeric"),
        (["1", "2", "1_000"], "categorical"),
        (["1", "2", "inf"], "categorical"),
        (["0", "1", "1"], "boolean"),
        (["Yes", "no", "YES"], "categorical"),
        (["Yes", "No", "Yes"], "boolean"),
        (["t", "f"], "boolean"),
        (["2024-01-31", "2024-02-01 10:00", "2024-02-01T10:00:00Z"], "date"),
        (["31/01/2024", "1.2.2024"], "date"),
        (["1.2.3", "4.5.6"], "categorical"),
        (["red", "blue", "red"], "categorical"),
        ([f"K{n}-X" for n in range(30)], "identifier"),
        ([f"name {n} of person" for n in range(60)], "text"),
        ([f"this is sentence number {n % 60}" for n in range(200)], "text"),
        ([f"town {n % 60}" for n in range(200)], "categorical"),
        (["", "", ""], "categorical"),
    ],
)
def test_column_types(values, expected):
    assert column(values).type == expected


def test_unique_whole_numbers_are_an_identifier_only_by_name():
    values = [str(n) for n in range(50)]
    assert column(values, "customer_id").type == column(values, "rowID").type == "identifier"
    assert column(values, "paid").type == column(values, "price").type == "numeric"


def test_a_column_with_too_many_values_says_that_unique_is_a_lower_bound():
    many = column([f"K{n}" for n in range(500)], max_distinct=100)
    many.add([f"K{n}" for n in range(500, 600)])
    described = many.describe(200)
    assert (described["unique"], described["unique_is_exact"], described["type"]) == (500, False, "identifier")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([f"{n}.5" for n in range(100)], "tabular_regression"),
        ([str(n) for n in range(100)], "tabular_regression"),
        ([str(n % 10) for n in range(500)], "tabular_classification"),
        ([str(n % 25) for n in range(500)], "tabular_classification"),
        ([f"{n % 3}.5" for n in range(500)], "tabular_classification"),
        ([f"{n}.5" for n in range(12)], "tabular_regression"),
        (["a", "b"] * 50, "tabular_classification"),
        (["0", "1"] * 50, "tabular_classification"),
    ],
)
def test_the_task_is_guessed_from_the_target(values, expected):
    assert guess_task(column(values)) == expected
