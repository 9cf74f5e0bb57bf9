"""Somebody uploads questions with their answers: what is found in them, and what is said about it."""

import pytest

from tests.answers.making import CHINESE, THINGS, WAYS, library
from tests.preprocessing.uploads import Prepared, Workplace, csv_text
from workers.preprocessing.doctor.near_copies import near_texts

Rows = list[tuple[str, str]]


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def table(rows: Rows, header: tuple[str, str] = ("question", "answer")) -> str:
    return csv_text([header, *rows], "\t")


def said(done: Prepared, code: str) -> str:
    return next((item["message"] for item in done.report["findings"] if item["code"] == code), "")


@pytest.mark.parametrize("header", [("question", "answer"), ("Question", "Answers"), ("q", "a"), ("问题", "答案")])
def test_questions_and_answers_are_found_by_the_names_of_their_columns(place, header):
    done = place.prepare({"faq.tsv": table(library(), header)})
    assert (done.report["task"], done.report["target"]) == ("answer_retrieval", header[1])
    assert done.index["pair"] == {"source": header[0], "target": header[1]}
    assert done.report["pair"]["answers"] == 12 and done.report["classes"] == []
    assert sum(done.report["splits"].values()) == 42 and done.report["splits"]["test"] > 0


@pytest.mark.parametrize("answers", [["yes", "no"], ["billing", "delivery", "returns"], ["1", "2", "3", "4"]])
def test_a_column_of_classes_is_not_taken_for_answers(place, answers):
    asked = [f"{way.format(verb=verb, thing=thing)} now?" for way in WAYS for _said, thing, verb in THINGS.values()]
    rows = [(question, answers[number % len(answers)]) for number, question in enumerate(asked)]
    assert place.prepare({"faq.tsv": table(rows)}).report["task"] != "answer_retrieval"


def test_another_target_than_the_answers_is_another_task(place):
    rows = [(question, answer, "ab"[number % 2]) for number, (question, answer) in enumerate(library())]
    done = place.prepare({"faq.tsv": csv_text([("question", "answer", "desk"), *rows], "\t")}, target="desk")
    assert done.report["task"] == "text_classification"


def test_the_same_question_stays_on_one_side_whatever_its_case_and_marks(place):
    rows = [row for question, answer in library() for row in ((question, answer), (f"{question.upper()} !", answer))]
    done = place.prepare({"faq.tsv": table(rows)})
    sides = dict.fromkeys(range(42), set())
    for number, split in enumerate(done.index["split"]):
        sides[number // 2] = sides[number // 2] | {split}
    assert all(len(side) == 1 for side in sides.values())
    assert "42" in said(done, "repeated_questions")


def test_what_would_mislead_a_model_is_said(place):
    rows = [
        *library(),
        ("how do I pay for a library card", "A library card costs ten euros."),
        ("may I eat here", "x " * 1_500),
        ("is there coffee", "The coffee stands in the hall, next to the lift, until five in the evening."),
        ("where is coffee", "The coffee stands in the hall, next to the lift, until six in the evening."),
    ]
    done = place.prepare({"faq.tsv": table(rows)})
    assert "how do I pay for a library card" in said(done, "conflicting_answers")
    assert "3,000" in said(done, "long_answers") or "2,999" in said(done, "long_answers")
    assert said(done, "rare_answers").startswith("Answers that a single question leads to: ")
    assert "The coffee stands in the hall" in said(done, "similar_answers")
    assert said(done, "few_questions")


def test_questions_that_are_missing_are_counted_and_answers_that_are_missing_are_bad_rows(place):
    done = place.prepare({"faq.tsv": table([*library(), ("", "An answer to nothing at all."), ("and this?", "")])})
    assert said(done, "empty_questions").endswith("1.")
    assert (done.report["items"], done.report["bad_total"]) == (43, 1)


def test_texts_that_differ_in_a_word_are_near_copies_and_others_are_not():
    long = "the reading room on the second floor is open for everybody from nine in the morning until seven"
    close, other = f"{long} today", "the printer beside the stairs takes coins and cards and prints on both sides"
    assert near_texts([long, other, close]) == [[0, 2]]
    assert near_texts(["", "", long, other, *CHINESE.values()]) == []
