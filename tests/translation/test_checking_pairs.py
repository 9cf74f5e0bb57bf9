"""Somebody uploads texts with their translations: what is found in them, and what is said about it."""

import csv
import json
import random

import pytest

from tests.preprocessing.uploads import Prepared, Workplace, csv_text
from tests.translation.making import Pair, toy

CHINESE = ("我", "你", "他", "狗", "猫", "看", "吃", "在", "不", "大", "小", "水", "山", "人")


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def table(rows: list[Pair], header: tuple[str, ...] = ("source", "target"), delimiter: str = ",") -> str:
    return csv_text([header, *rows], delimiter)


def said(done: Prepared, code: str) -> str:
    return next(item["message"] for item in done.report["findings"] if item["code"] == code)


def codes(done: Prepared) -> set[str]:
    return {item["code"] for item in done.report["findings"]}


def chinese(count: int = 100) -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices(CHINESE, k=5)) + "。" for _ in range(count)]


def test_texts_and_their_translations_are_found_by_the_names_of_the_columns(place):
    done = place.prepare({"pairs.csv": table(toy())})
    assert (done.report["kind"], done.report["task"], done.report["target"]) == ("table", "translation", "target")
    assert done.index["pair"] == {"source": "source", "target": "target"}
    assert (done.report["classes"], done.report["text"], done.index["text_column"]) == ([], None, None)
    assert done.report["splits"] == {"train": 240, "val": 30, "test": 30}
    assert codes(done) == {"few_pairs"}
    assert done.report["pair"]["source"]["scripts"] == [["Latin", 1.0]]
    assert 0.6 < done.report["pair"]["length_ratio"] < 1


@pytest.mark.parametrize("header", [("en", "zh"), ("English", "Chinese"), ("text_en", "text_zh"), ("en-GB", "zh_cn")])
def test_columns_called_after_languages_are_a_pair_among_others(place, header):
    rows = [(english, han, f"CC-BY #{number}") for number, ((english, _toy), han) in enumerate(zip(toy(), chinese()))]  # noqa: B905
    done = place.prepare({"pairs.tsv": table(rows, (*header, "attribution"), "\t")})
    assert done.index["pair"] == {"source": header[0], "target": header[1]}
    assert done.report["pair"]["target"]["scripts"] == [["Han", 1.0]]


def test_two_columns_of_texts_alone_are_a_pair_whatever_they_are_called(place):
    done = place.prepare({"pairs.jsonl": "".join(json.dumps({"a": a, "b": b}) + "\n" for a, b in toy())})
    assert (done.report["task"], done.index["pair"]) == ("translation", {"source": "a", "target": "b"})


def test_the_column_to_translate_into_can_be_said(place):
    done = place.prepare({"pairs.csv": table(toy())}, target="source")
    assert done.index["pair"] == {"source": "target", "target": "source"}
    assert done.report["target"] == "source"


def test_columns_with_such_names_that_hold_no_texts_are_none(place):
    rows = [(number, number % 7, f"kind {number % 4}", "yes" if number % 3 else "no") for number in range(60)]
    for header in (("id", "no", "source", "target"), ("no", "is", "it", "he")):
        done = place.prepare({"orders.csv": csv_text([header, *rows])})
        assert (done.report["task"], done.index["pair"]) == ("tabular_classification", None)


def test_one_text_with_many_translations_stays_on_one_side_of_the_split(place):
    rows = [(form.format(source), f"{target} {number}") for source, target in toy()
            for number, form in enumerate(("{}", "{} !", "{}?"))]  # fmt: skip
    done = place.prepare({"pairs.csv": table(rows)})
    assert "many_translations" in codes(done) and "sources_across_splits" not in codes(done)
    assert "several translations: 300" in said(done, "many_translations")
    with open(done.output / "data.csv", encoding="utf-8", newline="") as file:
        sources = [row[0].rstrip(" !?") for row in csv.reader(file)][1:]
    sides: dict[str, set[str]] = {}
    for source, split in zip(sources, done.index["split"], strict=True):
        sides.setdefault(source, set()).add(split)
    assert len(sides) == 300 and all(len(found) == 1 for found in sides.values())


def test_what_would_spoil_a_translator_is_named(place):
    rows = toy()
    rows += [rows[0], ("", "ka ruf wos okar"), ("the same here", "the same here")]
    rows += [("yes", "po dom " * 20), ("the dog sees a house", "po dom " * 10), ("the dog sees a house", "po dom " * 4)]
    rows += [("the king " * 70, "ka rox " * 70)]
    done = place.prepare({"pairs.csv": table(rows)})
    assert said(done, "repeated_pairs").endswith(": 1.")
    assert said(done, "empty_sources").endswith(": 1.")
    assert 'on both sides: 1, such as "the same here"' in said(done, "untranslated")
    assert 'others: 2, such as "yes"' in said(done, "unlike_lengths")
    assert "more than 500 characters on a side: 1" in said(done, "long_pairs")


def test_a_row_without_a_translation_is_left_out_by_its_line(place):
    done = place.prepare({"pairs.csv": table([*toy(), ("the dog", "")])})
    assert done.report["items"] == 300
    assert (done.report["bad"][0]["code"], done.report["bad"][0]["line"]) == ("missing_target", 302)


def test_texts_in_another_script_than_their_column_are_shown(place):
    rows = [(english, han) for (english, _toy), han in zip(toy(), chinese(), strict=False)]
    done = place.prepare({"pairs.csv": table([*rows, ("你好吗", "ka ruf okar")], ("en", "zh"))})
    messages = [item["message"] for item in done.report["findings"] if item["code"] == "other_script"]
    assert len(messages) == 2
    assert 'column "en" that are not written in Latin like the others: 1, such as "你好吗"' in messages[0]
    assert 'column "zh" that are not written in Han' in messages[1]


def test_kana_and_han_together_are_japanese(place):
    rows = [(english, f"{han}です" if n % 2 else han) for n, ((english, _), han) in enumerate(zip(toy(), chinese()))]  # noqa: B905
    assert "other_script" not in codes(place.prepare({"pairs.csv": table(rows, ("en", "ja"))}))


def test_a_text_that_is_also_tested_on_is_named_where_the_split_is_the_users(place):
    rows = toy()
    done = place.prepare({"train.csv": table(rows[:200]), "test.csv": table([*rows[200:], rows[0]])})
    assert "train, val and test: 1." in said(done, "sources_across_splits")
