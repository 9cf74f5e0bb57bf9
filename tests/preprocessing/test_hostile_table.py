"""A stranger, or a tired person, uploads a table that cannot be used: a code, a place and what to do."""

import random

import pytest

from tests.preprocessing.uploads import Workplace, csv_text, people, zip_bytes
from workers.contract import ProgramFailure
from workers.preprocessing.limits import Limits


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


def table(header="a,b,class", row="{n},{n}.5,{c}", count=30):
    return header + "\n" + "".join(row.format(n=n, c="xy"[n % 2]) + "\n" for n in range(count))


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "empty_file", "0 bytes"),
        ("\n \n\n", "empty_file", "no lines with content"),
        ("a,b,class\n", "no_rows", "a header and no rows"),
        (table("a,,class"), "missing_header", "Column 2 of x.csv has no name"),
        (table("a,a,class"), "duplicate_header", '"a" 2 times: 1 and 2'),
        (table("1,2.5,3"), "no_header", "only numbers"),
        ("words\n" + "hello\n" * 30, "one_column", '"words"'),
        (table('a,"b"c,class'), "bad_header", "x.csv"),
        (table() + '1,"never closed,x\n' + "1,2,x\n" * 5, "unclosed_quote", "line 32"),
        (table().replace("7,", "\0,"), "nul_bytes", "line 9"),
        ("a,b,class\n" + "1,2\n" * 9, "no_sound_rows", "line 2 has 2 values, the header has 3"),
        (table(row="{n},{n}.5,?"), "target_all_missing", '"class" has no value in any of the 30 rows'),
        (table(row="{n},{n}.5,same"), "one_class", 'all its values are "same"'),
        (table() + "1,2,rare\n", "class_too_small", "rare (1)"),
        (
            table("a,b,c", row="{n},{n}.5,name{n}"),
            "target_unsuitable",
            '"c" was taken as the target, but it holds an identifier',
        ),
        (table("a,b,c", row="{c},x,some words about {n} things", count=80), "target_unsuitable", "free text"),
        (table("a,b,day", row="{n},x,2024-01-{n:02d}"), "target_unsuitable", "dates"),
        ("a,b\n1,2.5\n3,4.5\n5,6.5\n", "too_few_rows", "3 rows"),
        (table(f"{'a' * 201},b,class"), "header_too_long", "201 characters"),
    ],
)
def test_a_table_that_cannot_be_used_says_where_and_why(place, text, code, words):
    failure = place.refusal({"x.csv": text})
    assert failure.code == code
    assert words in failure.message
    assert failure.hint


def test_a_wanted_target_that_is_unsuitable_is_not_called_a_guess(place):
    failure = place.refusal({"x.csv": table(row="name{n},{n}.5,{c}")}, target="a")
    assert (failure.code, failure.field) == ("target_unsuitable", "target")
    assert '"a" cannot be the target' in failure.message


def test_an_unknown_target_names_the_columns(place):
    failure = place.refusal({"x.csv": table()}, target="prize")
    assert (failure.code, failure.blame, failure.field) == ("unknown_target", "settings", "target")
    assert "a, b, class" in failure.hint


def test_a_nearly_numeric_target_tells_which_value_is_no_number(place):
    text = table("a,b,price", row="x,{n},{n}.25", count=80) + "x,1,unknown\n"
    assert '1 of its values are not numbers, such as "unknown"' in place.refusal({"x.csv": text}).message


def test_a_wrong_encoding_is_named_with_line_and_byte(place):
    data = table().encode() + "9,1.5,größe\n".encode("latin-1")
    failure = place.refusal({"x.csv": data})
    assert failure.code == "wrong_encoding"
    assert "line 32 has the byte 0xF6" in failure.message
    assert f"(byte {data.index(0xF6) + 1:,} of the file)" in failure.message
    assert "Save it as UTF-8" in failure.hint


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_place_of_a_wrong_byte_is_right_far_into_the_file(place, mark):
    whole = (mark + table(row="{n},größe,{c}", count=90_000)).encode()
    failure = place.refusal({"x.csv": whole + b"1,\xff,x\n"})
    assert f"line 90002 has the byte 0xFF (byte {len(whole) + 3:,} of the file)" in failure.message


@pytest.mark.parametrize("encoding", ["utf-32", "utf-16-le", "cp1252", "shift_jis"])
def test_other_encodings_are_refused(place, encoding):
    text = (
        table(row="{n},é,{c}")
        if encoding == "cp1252"
        else table(row="{n},ソ,{c}")
        if encoding == "shift_jis"
        else table()
    )
    assert place.refusal({"x.csv": text.encode(encoding)}).code in {"wrong_encoding", "nul_bytes"}


def test_a_utf_16_file_with_half_a_character_at_its_end_is_refused(place):
    assert place.refusal({"x.csv": table().encode("utf-16")[:-1]}).code == "wrong_encoding"


def test_a_million_columns_are_refused(place):
    header = ",".join(f"c{n}" for n in range(1_000_000))
    failure = place.refusal({"x.csv": f"{header}\n{header}\n"})
    assert (failure.code, "1,000,000 columns" in failure.message) == ("too_many_columns", True)


def test_two_thousand_columns_are_fine(place):
    header = ",".join(f"c{n}" for n in range(2_000))
    rows = "".join(",".join([str(n)] * 1_999) + f",{'xy'[n % 2]}\n" for n in range(20))
    assert len(place.prepare({"x.csv": f"{header}\n{rows}"}).report["columns"]) == 2_000


def test_limits_on_values_lines_and_rows_are_named(place):
    failure = place.refusal({"x.csv": table() + f"1,{'z' * 2000},x\n"}, limits=Limits(max_field_chars=1000))
    assert (failure.code, "line 32" in failure.message) == ("field_too_long", True)
    failure = place.refusal({"x.csv": table() + f"1,{'z' * 2000},x\n"}, limits=Limits(max_line_chars=1000))
    assert (failure.code, "Line 32" in failure.message) == ("line_too_long", True)
    assert place.refusal({"x.csv": table()}, limits=Limits(max_rows=29)).code == "too_many_rows"


def test_a_quote_that_swallows_the_file_is_found_at_its_line(place):
    text = table() + '1,"open,x\n' + "1,2,x\n" * 1000
    failure = place.refusal({"x.csv": text}, limits=Limits(max_field_chars=2000))
    assert (failure.code, "line 32" in failure.message) == ("field_too_long", True)


def test_a_zip_bomb_of_a_table_is_refused(place):
    bomb = zip_bytes({"x.csv": b"a,b\n" + b"1,2\n" * 500_000})
    assert place.refusal({"x.zip": bomb}, limits=Limits(ratio_counts_above_bytes=1_000_000)).code == "zip_bomb"


def test_an_empty_table_in_a_zip_is_refused(place):
    assert place.refusal({"x.zip": zip_bytes({"a.csv": b"", "b.csv": table().encode()})}).code == "empty_file"


def test_the_same_name_twice_is_refused(place):
    spec = place.spec({"a/x.csv": table(), "a//x.csv": table()})
    with pytest.raises(ProgramFailure) as caught:
        place.prepare({file.name: table() for file in spec.files})
    assert (caught.value.code, "'a/x.csv'" in caught.value.message) == ("same_name_twice", True)


def test_an_unknown_split_is_refused(place):
    assert place.refusal({"x.csv": table()}, splits={"x.csv": "holdout"}).code == "unknown_split"


def test_an_upload_of_hidden_files_only_is_refused(place):
    assert place.refusal({".DS_Store": b"x"}).code == "no_files"


def test_random_damage_ends_in_a_report_or_a_sentence(place):
    whole = csv_text(people(40)).encode()
    codes = set()
    for seed in range(150):
        chance = random.Random(seed)
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.choice(b'",;\n\r\t\0\xff ax1')
        try:
            done = place.prepare({"x.csv": bytes(data)})
            assert done.report["items"] + done.report["bad_total"] > 0
        except ProgramFailure as failure:
            assert failure.message.endswith(".")
            codes.add(failure.code)
    assert {"wrong_encoding", "nul_bytes", "class_too_small"} <= codes
