"""What people do about findings in series, images of several labels, speech, and who took what: the next version is
for the same task, with everything else where it was."""

import json
from datetime import date, timedelta

from apps.core.storage import open_blob
from apps.datasets.models import DatasetVersion
from tests.answers.making import library
from tests.datasets.making import make_version
from tests.multi_label.making import draw, table_of, zip_of
from tests.preprocessing.uploads import csv_text, zip_bytes
from tests.recommending.making import RATED, ratings
from tests.speech.making import described, sentences


def by_day(days: int = 120) -> list[list[object]]:
    return [[date(2024, 1, 1) + timedelta(days=day), "north", 50 + day * 7 % 23] for day in range(days)]


def splits_of(version: DatasetVersion) -> dict[str, str]:
    """The part of the split of each item."""
    name = "index.json" if "index.json" in version.outputs else "index.jsonl"
    with open_blob(version.outputs[name]["sha256"]) as file:
        text = file.read().decode()
    if name == "index.jsonl":
        return {entry["source"]: entry["split"] for entry in map(json.loads, text.splitlines())}
    index = json.loads(text)
    ids = [f"{place['name']}:{line}" for place in index["places"] for line in place["lines"]]
    return dict(zip(ids, index["split"], strict=True))


def act(member, check, version: DatasetVersion, key: str, action: str) -> DatasetVersion:
    """The version that a click on a button of a finding makes."""
    address = f"/data/{version.dataset_id}/versions/{version.number}/findings/{key}/"
    member.page.post(address, {"action": action, "scope": "all"})
    made = version.dataset.versions.first()
    assert made.number == version.number + 1
    return check(made)


def finding(version: DatasetVersion, code: str) -> dict:
    return next(each for each in version.report["findings"] if each["code"] == code)


def assert_same_but_for(made: DatasetVersion, version: DatasetVersion, left_out: int) -> None:
    before, after = splits_of(version), splits_of(made)
    assert (made.status, made.task, made.target) == ("ready", version.task, version.target)
    assert after.items() <= before.items() and len(before) - len(after) == left_out > 0


def test_rows_of_absurd_times_are_left_out_of_a_series_and_the_parts_stay(member, check):
    rows = [*by_day(250), ["9999-12-31", "north", 5], ["2791-03-05", "north", 6]]
    version = check(make_version(member, "Sales", {"s.csv": csv_text([["date", "shop", "sales"], *rows]).encode()}))
    found = finding(version, "unreadable_times")
    assert [item["row"] for item in found["items"]] == [
        [["date", "9999-12-31"], ["sales", "5"]],
        [["date", "2791-03-05"], ["sales", "6"]],
    ]
    assert version.report["series"]["until"] == "2024-09-06"
    made = act(member, check, version, "unreadable_times", "leave_out")
    assert_same_but_for(made, version, 2)
    assert not {"unreadable_times", "split_not_by_time"} & {each["code"] for each in made.report["findings"]}


def test_the_name_of_the_only_series_is_dropped_and_neither_time_nor_values_can_be(member, check):
    version = check(make_version(member, "Sales", {"s.csv": csv_text([["date", "shop", "sales"], *by_day()]).encode()}))
    address = f"/api/v1/datasets/{version.dataset_id}/versions/1/findings/constant_column/"
    for column in ("date", "sales"):
        asked = {"action": "drop", "items": [column]}
        answer = member.api.post(address, asked, content_type="application/json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "no_items")
    made = act(member, check, version, "constant_column", "drop")
    assert made.task == "forecasting" and made.report["series"]["series"] is None
    assert splits_of(made) == splits_of(version)


def test_ratings_that_are_all_equal_cannot_be_dropped_as_they_say_what_the_table_is_about(member, check):
    rows = [[f"user{n % 12}", f"item{n * 7 % 11}", 1, "shop"] for n in range(130)]
    table = csv_text([["user", "item", "rating", "where"], *rows]).encode()
    version = check(make_version(member, "Taken", {"r.csv": table}))
    assert version.task == "recommendation" and finding(version, "constant_column")["actions"] == {"drop": 1}
    made = act(member, check, version, "constant_column", "drop")
    assert (made.status, made.task, made.target) == ("ready", "recommendation", "rating")
    assert [each["name"] for each in made.report["columns"]] == ["user", "item", "rating"]


def test_a_user_with_far_too_many_rows_is_ticked_and_goes_with_all_of_them(member, stranger, check):
    rows = [(user, item, name, 3, time) for user, item, name, _rating, time in ratings()]
    rows += [("robot", f"m{n % 50}", f"Film {n % 50}", 3, n) for n in range(400)]
    rows += [("robot 2", f"m{n % 50}", f"Film {n % 50}", 3, n) for n in range(350)]
    version = check(make_version(member, "Taken", {"r.csv": csv_text([RATED, *rows]).encode()}))
    found = finding(version, "busy_users")
    assert [item["row"] for item in found["items"]] == [
        [["user_id", "robot"], ["rows", "400"]],
        [["user_id", "robot 2"], ["rows", "350"]],
    ]
    page = member.page.get(f"/data/{version.dataset_id}/").content.decode()
    assert "Leave 750 rows out" in page and 'value="user_id = robot 2"' in page
    address = f"/data/{version.dataset_id}/versions/1/findings/busy_users/"
    asked = {"action": "leave_out", "scope": "chosen", "item": ["user_id = robot 2"]}
    assert stranger.page.post(address, asked).status_code == 404
    member.page.post(address, asked | {"item": ["user_id = somebody"]})
    assert version.dataset.versions.count() == 1
    member.page.post(address, asked)
    made = check(version.dataset.versions.first())
    assert_same_but_for(made, version, 350)
    assert finding(made, "busy_users")["total"] == 1


def test_items_of_several_names_get_one_by_a_click_that_can_be_undone(member, check):
    rows = [*ratings(), ("u1", "m7", "Film Seven", "3", 9), ("u2", "m7", "FILM 7", "3", 9)]
    version = check(make_version(member, "Taken", {"r.csv": csv_text([RATED, *rows]).encode()}))
    page = member.page.get(f"/data/{version.dataset_id}/").content.decode()
    assert "Give each item its first name" in page
    made = act(member, check, version, "several_names", "relabel")
    assert splits_of(made) == splits_of(version) and made.target == version.target
    assert not [each for each in made.report["findings"] if each["code"] == "several_names"]
    assert "Wrote other values in a column" in member.page.get(f"/data/{version.dataset_id}/").content.decode()
    member.page.post(f"/data/{version.dataset_id}/versions/2/redo/", {"without": "relabel_1"})
    undone = check(version.dataset.versions.first())
    assert (undone.number, undone.content_hash) == (3, version.content_hash) != (3, made.content_hash)


def test_of_users_written_in_two_ways_one_row_alone_is_ticked(member, check):
    rows = [*ratings(), *(("anna", f"m{n}", f"Film {n}", "3", n) for n in range(5))]
    rows += [("Anna", "m8", "Film 8", "4", 8), ("Anna", "m9", "Film 9", "4", 9)]
    version = check(make_version(member, "Taken", {"r.csv": csv_text([RATED, *rows]).encode()}))
    found = finding(version, "same_but_for_case")
    assert [(item["label"], item["suggested"]) for item in found["items"]] == [("Anna", "anna")] * 2
    address = f"/data/{version.dataset_id}/versions/1/findings/{found['key']}/"
    member.page.post(address, {"action": "relabel", "scope": "chosen", "item": [found["items"][1]["id"]]})
    made = check(version.dataset.versions.first())
    assert finding(made, "same_but_for_case")["total"] == 1 and splits_of(made) == splits_of(version)


def test_the_first_of_those_that_are_alike_is_shown_and_cannot_be_ticked(member, check):
    rows = [
        *library(),
        (library()[0][0], "Something else that nobody would say."),
        (library()[1][0], "And this as well."),
    ]
    version = check(
        make_version(member, "Questions", {"q.tsv": csv_text([("question", "answer"), *rows], "\t").encode()})
    )
    found = finding(version, "conflicting_answers")
    assert [("stays" in item, item["row"][1][1]) for item in found["items"]] == [
        (True, library()[0][1]),
        (False, "Something else that nobody would say."),
        (True, library()[1][1]),
        (False, "And this as well."),
    ]
    page = member.page.get(f"/data/{version.dataset_id}/").content.decode()
    form = page.partition('id="finding-conflicting_answers"')[2].partition("</form>")[0]
    assert form.count('type="checkbox"') == 2 and "Leave 2 rows out" in form
    made = act(member, check, version, "conflicting_answers", "leave_out")
    assert_same_but_for(made, version, 2)


def test_classes_that_are_numbers_beside_days_stay_classes(member, check):
    rows = [[day, place % 4, f"x{place % 7}"] for place, (day, _shop, _sales) in enumerate(by_day(200))]
    table = csv_text([["date", "label", "x"], *rows, [rows[-1][0], 1, "NA"], rows[0]]).encode()
    version = check(make_version(member, "Labels", {"t.csv": table}))
    assert version.task == "tabular_classification"
    made = act(member, check, version, "duplicates", "leave_out")
    assert_same_but_for(made, version, 1)


def test_copies_of_images_with_several_labels_go(member, check):
    pictures = draw(60)
    twice = next(each for each in pictures if len(each[1]) > 1)
    pictures.append(twice)
    version = check(make_version(member, "Marks", {"marks.zip": zip_of(pictures, table_of(pictures))}))
    assert version.task == "multi_label_images"
    page = member.page.get(f"/data/{version.dataset_id}/").content.decode()
    assert ", ".join(sorted(twice[1])) in page and "|".join(sorted(twice[1])) not in page
    made = act(member, check, version, "duplicates", "leave_out")
    assert_same_but_for(made, version, 1)


def test_copies_of_speech_go(member, check):
    files = described(sentences(40))
    files["clips/40.wav"] = files["clips/3.wav"]
    name = b"clips/3.wav,"
    line = next(line for line in files["metadata.csv"].splitlines() if line.startswith(name))
    files["metadata.csv"] += line.replace(name, b"clips/40.wav,") + b"\n"
    version = check(make_version(member, "Speech", {"speech.zip": zip_bytes(files)}))
    assert version.task == "speech_recognition"
    made = act(member, check, version, "duplicates", "leave_out")
    assert_same_but_for(made, version, 1)


def test_a_version_of_older_times_still_shows_its_warnings_and_lets_them_be(member, stranger, check):
    version = check(make_version(member, "Old", {"s.csv": csv_text([["date", "shop", "sales"], *by_day()]).encode()}))
    report = {name: value for name, value in version.report.items() if name not in ("findings", "steps")}
    report["warnings"] = [{"code": "constant_column", "message": "The same value in every row has the column shop."}]
    DatasetVersion.objects.filter(pk=version.pk).update(report=report)
    page = member.page.get(f"/data/{version.dataset_id}/")
    assert page.status_code == 200 and "Columns with one value" in page.content.decode()
    address = f"/data/{version.dataset_id}/versions/1/findings/constant_column/"
    assert member.page.post(address, {"action": "keep"}).status_code == 302
    assert "Take up again" in member.page.get(f"/data/{version.dataset_id}/").content.decode()
    assert stranger.page.post(address, {"action": "reopen"}).status_code == 404
    for key in ("label_errors", "x" * 300, "constant_column-2"):
        other = address.replace("constant_column", key)
        assert {member.page.post(other, {"action": action}).status_code for action in ("keep", "reopen")} == {404}
