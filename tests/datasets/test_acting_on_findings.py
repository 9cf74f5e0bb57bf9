"""What people do about findings and steps: each click makes the next version, and the old one stays as it is."""

import csv
import io

import numpy as np
import pytest

from apps.core.storage import open_blob
from apps.datasets.models import DatasetVersion
from tests.datasets.making import RAGGED, make_version
from tests.site_helpers import digits


def table() -> bytes:
    """Rows with a column that gives the target away, copies, and "NA" for a country."""
    draws = np.random.default_rng(0)
    rows = []
    for _ in range(120):
        age = int(draws.integers(18, 70))
        bought = "yes" if age + draws.normal(0, 8) > 44 else "no"
        rows.append([age, draws.choice(["NA", "DE"]), draws.choice(["a", "b"]), f"{draws.normal():.3f}"])
        rows[-1] += [f"g-{bought}", bought]
    rows += rows[:6]
    out = io.StringIO()
    csv.writer(out).writerows([["age", "country", "shop", "noise", "group", "bought"], *rows])
    return out.getvalue().encode()


@pytest.fixture
def people(member, check) -> DatasetVersion:
    return check(make_version(member, "People", {"people.csv": table()}, target="bought"))


def path_of(version: DatasetVersion, rest: str) -> str:
    return f"/data/{version.dataset_id}/versions/{version.number}/{rest}"


def newest(version: DatasetVersion) -> DatasetVersion:
    return version.dataset.versions.first()


def rows_of(version: DatasetVersion) -> list[dict[str, str]]:
    with open_blob(version.outputs["data.csv"]["sha256"]) as file:
        return list(csv.DictReader(io.TextIOWrapper(file, "utf-8")))


def keys(version: DatasetVersion) -> set[str]:
    return {finding["key"] for finding in version.report["findings"]}


def test_copies_are_left_out_by_one_click_in_a_version_of_its_own(member, people, check):
    page = member.page.get(f"/data/{people.dataset_id}/").content.decode()
    assert "Leave 6 rows out" in page and "A column gives the answer away" in page and "What it may cost" in page
    before = DatasetVersion.objects.values().get(pk=people.pk)
    answer = member.page.post(path_of(people, "findings/duplicates/"), {"action": "leave_out", "scope": "all"})
    assert answer.url == f"/data/{people.dataset_id}/?version=2"
    made = check(newest(people))
    assert (made.status, made.item_count, made.parent) == ("ready", 120, people)
    assert "duplicates" not in keys(made)
    assert DatasetVersion.objects.values().get(pk=people.pk) == before
    page = member.page.get(f"/data/{people.dataset_id}/").content.decode()
    assert "version 1" in page and "Left out what was chosen" in page and "6 rows" in page


def test_a_column_is_dropped_and_comes_back_when_that_is_undone(member, people, check):
    member.page.post(path_of(people, "findings/target_leakage/"), {"action": "drop"})
    dropped = check(newest(people))
    assert "group" not in rows_of(dropped)[0] and "target_leakage" not in keys(dropped)
    page = member.page.get(f"/data/{people.dataset_id}/").content.decode()
    assert "Undo" in page
    member.page.post(path_of(dropped, "redo/"), {"without": "drop_1"})
    undone = check(newest(people))
    assert undone.content_hash == people.content_hash and undone.number == 3
    assert "Do again" in member.page.get(f"/data/{people.dataset_id}/").content.decode()
    member.page.post(path_of(undone, "redo/"), {})
    assert check(newest(people)).content_hash == dropped.content_hash


def test_words_for_not_known_become_values_when_that_step_is_undone(member, people, check):
    made = member.api.post(
        f"/api/v1/datasets/{people.dataset_id}/versions/1/redo/",
        {"without": ["missing_words"]},
        content_type="application/json",
    )
    assert (made.status_code, made.json()["made_from"], made.json()["status"]) == (201, 1, "checking")
    assert {row["country"] for row in rows_of(people)} == {"", "DE"}
    assert {row["country"] for row in rows_of(check(newest(people)))} == {"NA", "DE"}


def test_only_what_is_ticked_gets_the_suggested_label(member, check):
    files = dict(digits("01", 60))
    wrong = sorted(name for name in files if "/0/" in name)[:3]
    for name in wrong:
        files[name.replace("/0/", "/1/x")] = files.pop(name)
    version = check(make_version(member, "Digits", files))
    found = next(each for each in version.report["findings"] if each["code"] == "label_errors")
    chosen = wrong[0].replace("/0/", "/1/x")
    assert {item["id"]: item["suggested"] for item in found["items"]}[chosen] == "0"
    page = member.page.get(f"/data/{version.dataset_id}/").content.decode()
    assert "Use the suggested labels" in page and f'src="{path_of(version, "thumbs/")}' in page
    member.page.post(
        path_of(version, "findings/label_errors/"), {"action": "relabel", "scope": "chosen", "item": [chosen]}
    )
    made = check(newest(version))
    counts = [{each["name"]: each["count"] for each in each_of.report["classes"]} for each_of in (version, made)]
    assert counts[1] == {"0": counts[0]["0"] + 1, "1": counts[0]["1"] - 1}
    assert made.report["steps"][-1]["example"] == {"before": f"1 ({chosen})", "after": "0"}


def test_copies_in_the_test_data_go_to_training_and_nothing_else_moves(member, check):
    body = table().decode().splitlines()
    train, test = "\n".join(body[:100]), "\n".join([body[0], *body[90:]])
    files = {"train.csv": train.encode(), "test.csv": test.encode()}
    version = check(make_version(member, "Parts", files, target="bought"))
    found = next(each for each in version.report["findings"] if each["code"] == "duplicate_across_splits")
    member.page.post(path_of(version, "findings/duplicate_across_splits/"), {"action": "move"})
    made = check(newest(version))
    assert "duplicate_across_splits" not in keys(made)
    moved = made.report["splits"]["train"] - version.report["splits"]["train"]
    assert moved == found["actions"]["move"] > 0
    assert made.item_count == version.item_count and made.report["split_source"] == "user"


def test_a_finding_that_is_fine_is_kept_and_later_versions_know_it(member, people, check):
    member.page.post(path_of(people, "findings/duplicates/"), {"action": "keep"})
    people.refresh_from_db()
    assert people.kept == ["duplicates"] and people.dataset.versions.count() == 1
    member.page.post(path_of(people, "findings/target_leakage/"), {"action": "drop"})
    assert newest(people).kept == ["duplicates"]
    member.page.post(path_of(people, "findings/duplicates/"), {"action": "reopen"})
    people.refresh_from_db()
    assert people.kept == []


def test_what_was_kept_of_one_column_stays_kept_when_another_is_dropped(member, check):
    rows = [[n % 7, "x" if n < 3 else "", "y" if n < 4 else "", "no" if n % 3 else "yes"] for n in range(200)]
    out = io.StringIO()
    csv.writer(out).writerows([["age", "first", "second", "bought"], *rows])
    version = check(make_version(member, "Sparse", {"sparse.csv": out.getvalue().encode()}, target="bought"))
    one, other = (each["key"] for each in version.report["findings"] if each["code"] == "nearly_empty_column")
    for key in (f"nearly_empty_column-{'0' * 8}", "nearly_empty_column"):  # unknown, and of two
        assert member.page.post(path_of(version, f"findings/{key}/"), {"action": "keep"}).status_code == 404
    member.page.post(path_of(version, f"findings/{other}/"), {"action": "keep"})
    member.page.post(path_of(version, f"findings/{one}/"), {"action": "drop"})
    made = check(newest(version))
    left = next(each for each in made.report["findings"] if each["code"] == "nearly_empty_column")
    assert '"second"' in left["message"] and made.kept == [other] == [left["key"]]


def test_what_was_accepted_once_is_not_asked_again(member, check):
    version = check(make_version(member, "Ragged", {"ragged.csv": RAGGED}))
    assert version.status == "needs_review"
    refused = member.api.post(
        f"/api/v1/datasets/{version.dataset_id}/versions/1/redo/",
        {"without": ["missing_words"]},
        content_type="application/json",
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_ready")
    member.page.post(path_of(version, "accept/"))
    member.page.post(path_of(version, "redo/"), {"without": "missing_words"})
    assert check(newest(version)).status == "ready"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"action": "relabel"}, 422, "unknown_action"),
        ({"action": "burn"}, 422, None),
        ({"action": "leave_out", "items": ["people.csv:9999"]}, 422, "no_items"),
        ({"action": "leave_out", "items": []}, 422, "no_items"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(member, people, body, status, code):
    path = f"/api/v1/datasets/{people.dataset_id}/versions/1/findings/duplicates/"
    answer = member.api.post(path, body, content_type="application/json")
    assert answer.status_code == status and people.dataset.versions.count() == 1
    assert code is None or answer.json()["error"]["code"] == code


def test_steps_that_cannot_be_undone_and_unknown_findings_are_named(member, people):
    base = f"/api/v1/datasets/{people.dataset_id}/versions/1/"
    answer = member.api.post(f"{base}redo/", {"without": ["read"]}, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unknown_step")
    answer = member.api.post(f"{base}findings/nothing/", {"action": "keep"}, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "finding_not_found")


def test_strangers_find_nothing_and_viewers_change_nothing(stranger, viewer, people):
    for rest, body in (("findings/duplicates/", {"action": "leave_out"}), ("redo/", {"without": "missing_words"})):
        assert stranger.page.post(path_of(people, rest), body).status_code == 404
        assert viewer.page.post(path_of(people, rest), body).status_code == 403
    page = viewer.page.get(f"/data/{people.dataset_id}/").content.decode()
    assert "A column gives the answer away" in page and "Leave 6 rows out" not in page and "Undo<" not in page
    assert people.dataset.versions.count() == 1
