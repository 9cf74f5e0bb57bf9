"""Whatever is found in translations, answers, interactions, series, speech and images of several labels: the button
that is offered makes it go, touches nothing else, and leaves every item in its part."""

import csv
import json
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.answers.making import library
from tests.audio.making import encoded
from tests.forecasting.making import DAILY
from tests.multi_label.making import draw, table_of, zip_of
from tests.preprocessing.uploads import Prepared, Workplace, csv_text, zip_bytes
from tests.recommending.making import RATED, ratings
from tests.speech.making import described, say, sentences
from tests.translation.making import toy
from workers.preprocessing import findings
from workers.preprocessing.pair_warnings import numbers_in

Files = dict[str, bytes | str]
WORD = "the king comes home and likes to see a bird and the"
CAFE = "The coffee stands in the hall, next to the lift, until {} in the evening."


def translations() -> Files:
    rows = [*toy()[:240], toy()[0], ("", "ka ruf wos okar"), ("the same here", "the same here")]
    rows += [
        ("yes", "po dom " * 20),
        ("the king " * 70, "ka rox " * 70),
        (toy()[5][1] + " wos", toy()[5][0] + " water"),
    ]
    rows += [("the dog sees a house", "po dom " * number) for number in (4, 5)]
    rows += [("the dog finds 12 stones", "po gat 21 ka ruf ifan")]
    rows += [("Привет", "ka ruf okar"), ("the caf\u00c3\u00a9", "ka ruf")]
    rows += [(f"{WORD} {thing}", "zu ka rox po tik ka lin okar") for thing in ("tree", "trees")]
    test = [*toy()[240:], toy()[3], (f"{WORD} tree now", "zu ka rox po tik ka lin okar")]
    header = ("english", "toy")
    return {"train.csv": csv_text([header, *rows]), "test.csv": csv_text([header, *test])}


def answers() -> Files:
    rows = [*library()[:38], library()[0], ("how do I pay for a library card", "A library card costs ten euros.")]
    rows += [("Where can I eat soup?", "where can I eat soup"), ("", "An answer."), ("may I eat here", "x " * 1_500)]
    rows += [(f"where is the coffee {number}", CAFE.format(number)) for number in ("five", "six")]
    rows += [(f"{WORD} {thing}", CAFE.format("five")) for thing in ("tree", "trees")]
    test = [*library()[38:], library()[1], (f"{WORD} tree now", CAFE.format("five"))]
    test.append(("who is the head", "Nobody has learned of her."))
    header = ("question", "answer")
    return {"train.tsv": csv_text([header, *rows], "\t"), "test.tsv": csv_text([header, *test], "\t")}


def interactions() -> Files:
    stars = [
        (user, item, name, str(1 + number % 5), str(1_600_000_000 + int(time) * 3_607))
        for number, (user, item, name, _rating, time) in enumerate(ratings())
    ]
    rows = [*stars, stars[0], (*stars[1][:4], "1600000009"), ("", "m1", "Film 1", "3", "1600000000")]
    rows += [(f"new{n}", f"m{n % 50}", f"Film {n % 50}", "3", str(1_600_000_000 + n)) for n in range(30)]
    rows += [("robot", f"m{n % 50}", f"Film {n % 50}", str(1 + n % 5), str(1_600_000_001 + n * 3)) for n in range(600)]
    rows += [("u1", "m1", "Film 1", "55", "1600000000"), ("u2", "m2", "Film 2", "good", "1600000001")]
    rows += [("u3", "m3", "Film 3", "4", time) for time in ("0", "4102444800", "yesterday")]
    rows += [("u4", "m4", "Film Four", "4", "1600000007"), ("robot", "m4", "Film IV", "4", "1600000008")]
    rows += [("anna", f"m{n}", f"Film {n}", "3", str(1_600_000_100 + n)) for n in range(8)]
    rows += [("Anna", "m9", "Film 9", "3", "1600000200"), ("ANNA", "m10", "Film 10", "3", "1600000201")]
    test = [stars[2], *((f"u{n}", "m9", "Film 9", "3", "1690000000") for n in range(9))]
    return {"train.csv": csv_text([RATED, *rows]), "test.csv": csv_text([RATED, *test])}


def series() -> Files:
    days = [str(date(2024, 1, 1) + timedelta(days=number)) for number in range(240)]
    rows = [(day, "good", 100 + n % 7) for n, day in enumerate(days) if n not in (30, 31, 90)]
    rows += [(day, "flat", 3) for day in days]
    rows += [(day, "spiky", 9_999 if n == 40 else n % 9) for n, day in enumerate(days)]
    rows += [(day, "new", n % 5) for n, day in enumerate(days[220:])]
    rows += [(days[5], "good", 90), ("9999-12-31", "good", 5)]
    return {"sales.csv": csv_text([DAILY, *rows])}


def pictures() -> Files:
    found = [(picture, list(labels)) for picture, labels in draw(80)]
    found[5][1].append("zebra")
    found[6] = (found[6][0], ["zebra"])
    found[7] = (found[7][0], [])
    return {"marks.zip": zip_of(found, table_of(found))}


def speech() -> Files:
    texts = [f"{text} {number % 7 * 'ma '}bo" for number, text in enumerate(sentences(30, seed=5))]
    texts += ["ma bo " * 30, "ma 25 bo", "[ma] bo", "ma b\u00f6", "ma\u00c3\u00a9 bo", "<unk>", "bo [noise] ma bo", "m"]
    files = described(texts)
    files |= {"clips/30.wav": encoded(say("ma")), "clips/37.wav": encoded(say("ma bo ma bo ea bo ma bo"))}
    return {"speech.zip": zip_bytes(files)}


KINDS = {each.__name__: cache(each) for each in (translations, answers, interactions, series, pictures, speech)}
EXPECTED = {
    "translations": {
        "sources_across_splits", "near_copies_across_splits", "near_copies", "empty_sources", "untranslated",
        "long_pairs", "broken_letters", "unlike_lengths", "repeated_pairs", "many_translations", "other_script",
        "wrong_language", "unlike_numbers",
    },
    "answers": {
        "questions_across_splits", "near_copies_across_splits", "near_copies", "empty_questions", "repeated_questions",
        "conflicting_answers", "long_answers", "rare_answers", "answers_without_training", "similar_answers",
        "echoed_questions",
    },
    "interactions": {
        "interactions_across_splits", "missing_user_or_item", "short_histories", "busy_users", "duplicates",
        "repeated_interactions", "ratings_no_numbers", "ratings_out_of_scale", "unreadable_times", "strange_times",
        "several_names", "same_but_for_case",
    },
    "series": {"unreadable_times", "repeated_times", "short_series", "constant_series", "outlying_values"},
    "pictures": {"rare_labels", "label_missing_in_split", "no_label_at_all"},
    "speech": {
        "long_transcripts", "unlike_rates", "broken_letters", "digits_in_transcripts", "rare_characters",
        "marks_in_transcripts",
    },
}  # fmt: skip


class Clinic:
    """Prepares one upload again and again."""

    def __init__(self, folder: Path, files: Files) -> None:
        self.place, self.files = Workplace(folder), files
        self.first = self.place.prepare(files)
        self.index = next(str(path) for path in self.first.output.glob("index.json*"))

    def remedies(self) -> dict[str, Any]:
        return json.loads((self.first.output / "findings.json").read_text())

    def after(self, action: str, chosen: Any) -> Prepared:
        """The version after a click, as the site asks for it."""
        holds = "columns" if action == "drop" else "items"
        recipe = {"steps": [{"id": "step", "step": action, "finding": "", holds: chosen}], "without": []}
        recipe |= {name: self.first.report[name] for name in ("split_source", "task")}
        target = self.first.report["target"]
        return self.place.prepare(self.files, recipe=recipe, first_index=self.index, target=target)


def splits_of(done: Prepared) -> dict[str, str]:
    if (done.output / "index.jsonl").exists():
        return {entry["source"]: entry["split"] for entry in done.images}
    ids = [f"{place['name']}:{line}" for place in done.index["places"] for line in place["lines"]]
    return dict(zip(ids, done.index["split"], strict=True))


def found(done: Prepared, key: str) -> dict[str, Any] | None:
    return next((each for each in done.report["findings"] if each["key"] == key), None)


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_is_found_with_its_cost_and_its_items(tmp_path, kind):
    clinic = Clinic(tmp_path, KINDS[kind]())
    by_code = {each["code"]: each for each in clinic.first.report["findings"]}
    assert EXPECTED[kind] <= by_code.keys()
    remedies = clinic.remedies()
    for code in EXPECTED[kind]:
        finding = by_code[code]
        assert finding["cost"] and finding["actions"] and finding["items"], code
        remedy = remedies[finding["key"]]
        known = {item for action in finding["actions"] for item in remedy[action]} | remedy.get("groups", {}).keys()
        assert {item["id"] for item in finding["items"] if "stays" not in item} <= known, code
        assert {action: len(remedy[action]) for action in finding["actions"]} == finding["actions"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_out_is_gone_and_all_else_stays_where_it_was(tmp_path, kind):
    """All remedies of a kind at once."""
    clinic = Clinic(tmp_path, KINDS[kind]())
    before, remedies = splits_of(clinic.first), clinic.remedies()
    whole = [key for key in remedies if key.partition("-")[0] in EXPECTED[kind] - {"answers_without_training"}]
    gone = {item for key in whole for item in remedies[key]["leave_out"]}
    done = clinic.after("leave_out", sorted(gone))
    assert splits_of(done) == {item: split for item, split in before.items() if item not in gone}
    assert done.report["task"] == clinic.first.report["task"]
    left = {key for key in whole if remedies[key]["leave_out"] and found(done, key)}
    assert left <= {"rare_answers", "rare_characters", "short_histories"}  # what is left of others can be rare in turn


def values_of(done: Prepared, *columns: str) -> list[tuple[str, ...]]:
    with open(done.output / "data.csv", encoding="utf-8", newline="") as file:
        return [tuple(row[column] for column in columns) for row in csv.DictReader(file)]


def test_of_several_answers_the_first_stays(tmp_path):
    clinic = Clinic(tmp_path, answers())
    done = clinic.after("leave_out", clinic.remedies()["conflicting_answers"]["leave_out"])
    told = dict(values_of(done, "question", "answer"))
    asked = dict(reversed(library()))["how do I pay for a library card"]
    assert told["how do I pay for a library card"] == asked != "A library card costs ten euros."


def test_of_several_ratings_of_one_thing_the_newest_stays_wherever_it_stands(tmp_path):
    rows = [(f"user{n % 12}", f"item{n * 7 % 11}", n % 5 + 1, 1_000 + n) for n in range(130)]
    rows += [("user1", "new", rating, time) for rating, time in ((2, 5_000), (4, 9_000), (3, 7_000))]
    clinic = Clinic(tmp_path, {"taken.csv": csv_text([("user", "item", "rating", "time"), *rows])})
    done = clinic.after("leave_out", clinic.remedies()["repeated_interactions"]["leave_out"])
    assert [row for row in values_of(done, "item", "rating", "time") if row[0] == "new"] == [("new", "4", "9000")]


def test_a_translation_into_the_wrong_language_is_found_where_its_source_is_right(tmp_path):
    rows = [*toy(), (f"{toy()[5][0]} water", f"{toy()[7][0]} the boat")]
    done = Workplace(tmp_path).prepare({"pairs.csv": csv_text([("english", "toy"), *rows])})
    assert [item["id"] for item in found(done, "wrong_language")["items"]] == ["pairs.csv:302"]


def test_questions_of_answers_that_nobody_learned_go_to_training(tmp_path):
    clinic = Clinic(tmp_path, answers())
    move = clinic.remedies()["answers_without_training"]["move"]
    done = clinic.after("move", move)
    assert set(move.values()) == {"train"} and splits_of(done) == splits_of(clinic.first) | move
    assert not found(done, "answers_without_training")


def test_answers_that_are_almost_alike_become_one(tmp_path):
    clinic = Clinic(tmp_path, answers())
    done = clinic.after("relabel", clinic.remedies()["similar_answers"]["relabel"])
    told = [answer for (answer,) in values_of(done, "answer")]
    assert CAFE.format("six") not in told and told.count(CAFE.format("five")) == 5
    assert done.report["items"] == clinic.first.report["items"] and not found(done, "similar_answers")


def relabelled(clinic: Clinic, code: str) -> Prepared:
    """The version after a click on the button that writes other values."""
    (remedy,) = [each for key, each in clinic.remedies().items() if key.partition("-")[0] == code]
    step = {"id": "relabel_1", "step": "relabel", "finding": code, "items": remedy["relabel"]}
    recipe = {"steps": [step | {"column": remedy["column"]}], "without": []}
    recipe |= {name: clinic.first.report[name] for name in ("split_source", "task")}
    target = clinic.first.report["target"]
    return clinic.place.prepare(clinic.files, recipe=recipe, first_index=clinic.index, target=target)


def test_items_with_several_names_get_their_first_and_nothing_else_changes(tmp_path):
    clinic = Clinic(tmp_path, interactions())
    done = relabelled(clinic, "several_names")
    before, after = (values_of(each, *RATED) for each in (clinic.first, done))
    changed = [(old[2], new[2]) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [("Film Four", "Film 4"), ("Film IV", "Film 4")]
    assert splits_of(done) == splits_of(clinic.first) and not found(done, "several_names")
    step = done.report["steps"][-1]
    assert (step["step"], step["touched"], step["example"]["after"]) == ("rewrite", 2, "Film 4")


def test_users_who_differ_in_case_alone_become_the_one_with_most_rows(tmp_path):
    clinic = Clinic(tmp_path, interactions())
    done = relabelled(clinic, "same_but_for_case")
    users = [{user for (user,) in values_of(each, "user_id")} for each in (clinic.first, done)]
    assert users[0] - users[1] == {"Anna", "ANNA"} and users[1] <= users[0]
    assert splits_of(done) == splits_of(clinic.first)
    assert not [each for each in done.report["findings"] if each["code"] == "same_but_for_case"]


def test_codes_that_differ_in_case_are_different_users(tmp_path):
    codes = [f"{'aB' if n % 2 else 'Ab'}{n % 12:02}Qz" for n in range(130)]
    rows = [(code, f"item{n * 7 % 11}", 1 + n % 5) for n, code in enumerate(codes)]
    done = Workplace(tmp_path).prepare({"taken.csv": csv_text([("user", "item", "rating"), *rows])})
    assert done.report["task"] == "recommendation"
    assert not [each for each in done.report["findings"] if each["code"] == "same_but_for_case"]


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("I was born in 1990.", "我出生于1990年。"),
        ("It costs 150,000 yen.", "这要15万日元。"),
        ("He has 20 cats.", "他有二十只猫。"),
        ("We meet at 2:30 p.m.", "我们在14点30分见面。"),
    ],
)
def test_one_number_that_is_written_in_several_ways_is_no_fault(english, chinese):
    one, other = numbers_in(english), numbers_in(chinese)
    assert not other or one & other


def test_notes_are_taken_out_of_transcripts_and_sounds_stay_as_they_are(tmp_path):
    clinic = Clinic(tmp_path, speech())
    relabel = clinic.remedies()["marks_in_transcripts"]["relabel"]
    assert sorted(relabel.values()) == ["bo", "bo ma bo"]
    done = clinic.after("relabel", relabel)
    told = [{row["source"]: row["transcript"] for row in each.images} for each in (clinic.first, done)]
    assert told[1] == told[0] | relabel and splits_of(done) == splits_of(clinic.first)
    assert {row["label"] for row in done.images} == {""}
    assert found(done, "marks_in_transcripts")["total"] == 1  # of <unk> nothing is left that could be said


def test_a_rare_label_is_taken_off_images_that_have_others(tmp_path):
    clinic = Clinic(tmp_path, pictures())
    ((item, labels),) = clinic.remedies()["rare_labels"]["relabel"].items()
    assert "zebra" not in labels
    done = clinic.after("relabel", {item: labels})
    assert {row["source"]: row["label"] for row in done.images}[item] == labels


def test_a_part_that_lacks_a_label_gets_an_image_of_it_and_training_keeps_one(tmp_path):
    clinic = Clinic(tmp_path, pictures())
    lacking = [each for each in clinic.first.report["findings"] if each["code"] == "label_missing_in_split"]
    moved = clinic.remedies()[lacking[0]["key"]]["move"]
    done = clinic.after("move", moved)
    (part,) = set(moved.values())
    counts = next(row for row in done.report["classes"] if row["name"] == "zebra")
    assert lacking[0]["part"] == part and counts[part] == 1 and counts["train"] >= 1
    assert not found(done, lacking[0]["key"])


def test_ratings_that_say_nothing_are_dropped_and_each_row_is_an_event(tmp_path):
    rows = [(f"user{n % 12}", f"item{n * 7 % 11}", 1) for n in range(130)]
    clinic = Clinic(tmp_path, {"taken.csv": csv_text([("user", "item", "rating"), *rows])})
    assert clinic.remedies()["ratings_constant"]["drop"] == ["rating"]
    done = clinic.after("drop", ["rating"])
    assert (done.report["task"], done.report["target"]) == ("recommendation", "item")
    assert done.index["interactions"]["rating"] is None and splits_of(done) == splits_of(clinic.first)


def test_of_more_items_than_a_recipe_holds_the_button_counts_what_it_changes(monkeypatch):
    monkeypatch.setattr(findings, "KEPT_ITEMS", 10)
    monkeypatch.setattr(findings, "KEPT_CHARACTERS", 12)
    ids = [f"t.csv:{line}" for line in range(2, 32)]
    found = findings.Findings()
    remedy = findings.Remedy(ids, dict.fromkeys(ids, "abc"), groups={"user = a": ids[:20], "user = b": ids[20:]})
    found.add("busy_users", "Two.", remedy=remedy, total=2)
    (told,) = found.items
    assert told["actions"] == {"leave_out": 10, "relabel": 4}
    assert "no more than a button says" in told["sampled"] and "ticked alone these are 5" in told["sampled"]
    assert [len(items) for items in found.remedies["busy_users"]["groups"].values()] == [5, 5]
    with pytest.raises(ValueError, match="say what each is about"):
        found.add("busy_users", "Two more.")
    found.add("busy_users", "Others.", about="other")
    assert found.items[1]["key"].startswith("busy_users-") and found.items[1]["sampled"] == ""
