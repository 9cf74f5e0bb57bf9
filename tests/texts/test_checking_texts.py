"""Somebody uploads texts, as a table or as JSON Lines: what is found in them, and what is said about it."""

import csv
import json

import pytest

from tests.preprocessing.uploads import Prepared, Workplace, csv_text, people
from tests.texts.making import chinese, english

HEADER = ("text", "topic")


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def table(rows: list[tuple[str, str]], header: tuple[str, ...] = HEADER) -> str:
    return csv_text([header, *([f'"{text}"', label] for text, label in rows)])


def json_lines(rows: list[tuple[str, str]]) -> str:
    return "".join(json.dumps(dict(zip(HEADER, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)


def said(done: Prepared, code: str) -> str:
    return next(item["message"] for item in done.report["findings"] if item["code"] == code)


def rows_of(done: Prepared) -> list[list[str]]:
    with open(done.output / "data.csv", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_column_of_texts_and_one_of_labels_are_texts_to_classify(place):
    done = place.prepare({"messages.csv": table(english())})
    assert (done.report["kind"], done.report["task"], done.report["target"]) == (
        "table",
        "text_classification",
        "topic",
    )
    assert done.index["text_column"] == done.report["text"]["column"] == "text"
    assert done.classes == {"delivery": 40, "refund": 40, "praise": 40}
    assert done.report["text"]["scripts"] == [["Latin", 1.0]]
    assert done.report["splits"] == {"train": 96, "val": 12, "test": 12}
    assert done.warnings == set()


def test_json_lines_are_the_same_data_as_a_table(place):
    as_table = place.prepare({"messages.csv": table(english())})
    as_lines = place.prepare({"messages.jsonl": json_lines(english())})
    assert rows_of(as_lines) == rows_of(as_table)
    assert as_lines.report["content_hash"] == as_table.report["content_hash"]
    assert as_lines.report["task"] == "text_classification"


def test_chinese_texts_are_texts_though_they_have_no_blanks(place):
    done = place.prepare({"留言.jsonl": json_lines(chinese())})
    assert done.report["task"] == "text_classification"
    assert done.report["text"]["scripts"] == [["Han", 1.0]]
    assert done.index["columns"][0]["type"] == "text"


def test_the_texts_may_stand_in_the_last_column(place):
    rows = [(label, f'"{text}"') for text, label in english()]
    done = place.prepare({"messages.csv": csv_text([("intent", "text"), *rows])})
    assert (done.report["target"], done.report["text"]["column"]) == ("intent", "text")


def test_a_table_with_many_other_columns_stays_a_table(place):
    rows = [(text, number, number % 7, f"v{number % 5}", label) for number, (text, label) in enumerate(english())]
    done = place.prepare(
        {"orders.csv": csv_text([("note", "price", "items", "kind", "topic"), *rows[:40], *rows[40:]])}
    )
    assert (done.report["task"], done.report["text"], done.index["text_column"]) == (
        "tabular_classification",
        None,
        None,
    )
    assert place.prepare({"people.csv": csv_text(people(60))}).report["task"] == "tabular_classification"


def test_texts_that_stand_in_train_and_test_are_named(place):
    rows = english()
    leaked = [(rows[0][0].upper() + "!", rows[0][1]), rows[1]]
    done = place.prepare({"train.csv": table(rows[:100]), "test.csv": table([*rows[100:], *leaked])})
    assert done.warnings >= {"repeated_texts", "similar_texts", "texts_across_splits"}
    assert "train, val and test: 2," in said(done, "texts_across_splits")


def test_alike_texts_are_kept_on_one_side_of_the_split(place):
    rows = [(form.format(text), label) for text, label in english() for form in ("{}", "{} !", "{}?")]
    done = place.prepare({"messages.csv": table(rows)})
    assert "similar_texts" in done.warnings and "texts_across_splits" not in done.warnings
    sides: dict[str, set[str]] = {}
    for row, split in zip(rows_of(done)[1:], done.index["split"], strict=True):
        sides.setdefault(row[0].rstrip(" !?"), set()).add(split)
    assert len(sides) == 120 and all(len(found) == 1 for found in sides.values())


def test_a_text_with_two_labels_is_shown_with_both(place):
    done = place.prepare(
        {"messages.csv": table([*english(), (english()[0][0], "praise" if english()[0][1] != "praise" else "refund")])}
    )
    assert "several labels: 1" in said(done, "texts_with_two_labels")
    assert "praise" in said(done, "texts_with_two_labels")


def test_empty_and_very_long_texts_are_counted(place):
    rows = [*english(), ("", "praise"), ("what a great lamp " * 300, "praise")]
    done = place.prepare({"messages.csv": table(rows)})
    assert said(done, "empty_texts").endswith(": 1.")
    assert "the longest has 5,399" in said(done, "long_texts")


def test_letters_in_the_wrong_encoding_are_shown(place):
    broken = "the café is wonderful".encode().decode("latin-1")
    done = place.prepare({"messages.csv": table([*english(), (broken, "praise")])})
    assert "cafÃ©" in said(done, "broken_letters")
    honest = place.prepare({"messages.csv": table([*english(), ("the café is wonderful, Ångström", "praise")])})
    assert "broken_letters" not in honest.warnings


def test_several_scripts_and_rare_classes_are_named(place):
    rows = [*english() * 1, *chinese()[:40]]
    done = place.prepare({"messages.csv": table(rows)})
    assert "Latin" in said(done, "several_scripts") and "Han" in said(done, "several_scripts")
    many = [(f"the {number} lamps are wonderful today", "praise") for number in range(500)]
    done = place.prepare({"messages.csv": table([*many, *[row for row in english() if row[1] == "refund"][:8]])})
    assert done.warnings >= {"imbalanced_classes", "small_classes"}


def test_lines_that_are_no_flat_object_are_left_out_by_their_number(place):
    bad = ["[1, 2]", "not json", '{"text": ["a"], "topic": "x"}', '{"text": "a", "topic": "x", "more": 1}']
    done = place.prepare({"messages.jsonl": json_lines(english() * 9) + "\n".join([*bad, "", '{"text": "a"}']) + "\n"})
    assert [(item["code"], item["line"]) for item in done.report["bad"]] == [
        ("bad_json", 1081), ("bad_json", 1082), ("nested_value", 1083), ("unknown_key", 1084), ("missing_target", 1086),
    ]  # fmt: skip
    assert done.report["items"] == 1080


def test_a_key_that_one_line_has_is_a_column_and_not_the_target(place):
    done = place.prepare({"messages.jsonl": json_lines(english()) + '{"text": "a", "topic": "refund", "more": 1}\n'})
    assert rows_of(done)[0] == ["more", "text", "topic"]
    assert (done.report["target"], done.report["text"]["column"]) == ("topic", "text")


def test_values_of_json_are_written_as_in_a_table(place):
    lines = [{"age": 20 + n, "fee": n / 4, "is_new": n % 2 == 0, "note": None if n % 3 else "x", "label": "ab"[n % 2]}
             for n in range(40)]  # fmt: skip
    done = place.prepare({"people.jsonl": "".join(json.dumps(line) + "\n" for line in lines)})
    assert rows_of(done)[2] == ["21", "0.25", "false", "", "b"]
    assert {column["name"]: column["type"] for column in done.report["columns"]}["is_new"] == "boolean"
    assert done.report["task"] == "tabular_classification"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("[]\n[]\n", "no_json_lines"),
        ('{"text": "a"}\n', "one_column"),
        ('{"text ": "a", "label": "b"}\n', "bad_header"),
        ('{"text": "a", "label\\ud83d": "b"}\n', "bad_header"),
        (b'{"text": "\xff", "label": "b"}\n', "wrong_encoding"),
        ('{"text": "a\0", "label": "b"}\n', "nul_bytes"),
    ],
)
def test_a_file_that_is_no_json_lines_is_refused_with_what_is_wrong(place, body, code):
    assert place.refusal({"messages.jsonl": body}).code == code


def test_half_a_letter_that_json_can_escape_becomes_a_question_mark(place):
    whole, half = (
        r'{"text": "well done \ud83d\ude00", "topic": "praise"}',
        r'{"text": "well \ud83d done", "topic": "praise"}',
    )
    done = place.prepare({"messages.jsonl": f"{whole}\n{half}\n" + json_lines(english())})
    assert [row[0] for row in rows_of(done)[1:3]] == ["well done 😀", "well ? done"]


def test_json_lines_and_tables_may_be_parts_of_one_data_set(place):
    rows = english()
    done = place.prepare({"train.csv": table(rows[:100]), "test.jsonl": json_lines(rows[100:])})
    assert done.report["splits"]["test"] == 20 and done.report["split_source"] == "user"
