"""The pages of data: what a person sees, and that each button does what it says."""

import json

import pytest

from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.jobs.services import submit_prepare
from tests.datasets.making import RAGGED, TABLE, Uploader, make_version
from tests.site_helpers import digits


def text_of(response) -> str:
    return response.content.decode()


@pytest.fixture
def pictures(member, check) -> DatasetVersion:
    files = {name: body for name, body in digits("37", 10).items()}
    return check(make_version(member, "Threes and sevens", files))


@pytest.fixture
def ragged(member, check) -> DatasetVersion:
    return check(make_version(member, "Ragged", {"ragged.csv": RAGGED}))


def page_of(person, version: DatasetVersion, **headers: str):
    return person.page.get(f"/data/{version.dataset_id}/?version={version.number}", headers=headers)


def test_an_empty_list_teaches_and_offers_an_example(member, viewer):
    page = text_of(member.page.get("/data/"))
    assert 'href="/recipes/">' in page and 'href="/data/upload/"' in page
    assert "Start from an example" not in text_of(viewer.page.get("/data/"))


def test_the_list_finds_by_name_and_shows_only_the_team(member, stranger):
    for person, name in [(member, "Apples"), (member, "Pears"), (stranger, "Plums")]:
        make_version(person, name, {"people.csv": TABLE})
    page = text_of(member.page.get("/data/?q=app"))
    assert "Apples" in page and "Pears" not in page and "Plums" not in page
    assert "Plums" not in text_of(member.page.get("/data/"))
    assert "Plums" in text_of(stranger.page.get("/data/"))


def test_uploads_become_a_data_set_by_the_form(member):
    upload = Uploader(member.api).send("people.csv", TABLE)
    form = {"name": "People", "uploads": json.dumps([{"id": upload["id"], "split": "train"}])}
    answer = member.page.post("/data/upload/", form)
    version = DatasetVersion.objects.get()
    assert (answer.status_code, answer.url) == (302, f"/data/{version.dataset_id}/?version=1")
    assert version.files.get().split == "train"


def test_a_form_without_javascript_brings_the_file_itself(member, tmp_path):
    path = tmp_path / "people.csv"
    path.write_bytes(TABLE)
    with open(path, "rb") as file:
        answer = member.page.post("/data/upload/", {"name": "People", "files": [file]})
    assert answer.status_code == 302
    assert DatasetVersion.objects.get().files.get().size_bytes == len(TABLE)


def test_a_taken_name_is_said_beside_the_field_and_the_files_stay(member):
    make_version(member, "People", {"people.csv": TABLE})
    upload = Uploader(member.api).send("again.csv", TABLE)
    form = {"name": "People", "uploads": json.dumps([{"id": upload["id"]}])}
    answer = member.page.post("/data/upload/", form)
    assert answer.status_code == 409
    assert "already has a data set called" in text_of(answer)
    assert [each["name"] for each in answer.context["arrived"]] == ["again.csv"]
    assert upload["id"] in text_of(answer)


@pytest.mark.parametrize("uploads", ["", "[]", "{", '[{"id": "x"}]', "5"])
def test_a_form_without_files_says_so(member, uploads):
    answer = member.page.post("/data/upload/", {"name": "People", "uploads": uploads})
    assert answer.status_code == 422
    assert not Dataset.objects.exists()


def test_a_further_version_is_added_by_the_same_page(member):
    dataset = make_version(member, "People", {"people.csv": TABLE}).dataset
    upload = Uploader(member.api).send("more.csv", TABLE)
    answer = member.page.post(f"/data/upload/?dataset={dataset.pk}", {"uploads": json.dumps([{"id": upload["id"]}])})
    assert answer.url == f"/data/{dataset.pk}/?version=2"


def test_unfinished_uploads_are_listed_and_can_be_discarded(member, owner):
    upload = Uploader(member.api).create("holiday.zip", 5000).json()
    Uploader(member.api).put(upload, 0, b"x" * 1000)
    page = text_of(member.page.get("/data/upload/"))
    assert "holiday.zip" in page and "1.0 kB of 5.0 kB" in page
    assert "holiday.zip" not in text_of(owner.page.get("/data/upload/"))
    assert member.page.post(f"/data/upload/{upload['id']}/discard/").status_code == 302
    assert not Upload.objects.exists()


def test_discarding_all_spares_what_a_version_is_made_from(member):
    make_version(member, "People", {"people.csv": TABLE})
    Uploader(member.api).create("half.zip", 5000)
    member.page.post("/data/upload/discard/")
    assert [upload.name for upload in Upload.objects.all()] == ["people.csv"]


def test_the_page_of_a_version_that_is_checked_moves_and_then_loads_anew(member, check):
    version = make_version(member, "People", {"people.csv": TABLE})
    job = submit_prepare(version=version)
    type(job).objects.filter(pk=job.pk).update(progress={"fraction": 0.42, "message": "Read 25 rows"})
    assert "Train on this" not in text_of(page_of(member, version))
    poll = {"HX-Request": "true", "HX-Target": "checking"}
    answer = page_of(member, version, **poll)
    assert answer.status_code == 200 and 'hx-trigger="every 1s"' in text_of(answer)
    assert "Read 25 rows" in text_of(answer) and "42 % · Checking · People" in text_of(answer)
    assert "<html" not in text_of(answer)
    check(version)
    answer = page_of(member, version, **poll)
    assert (answer.status_code, answer["HX-Refresh"]) == (286, "true")
    assert 'hx-trigger="every 1s' not in text_of(page_of(member, version))


def test_a_ready_picture_data_set_shows_classes_thumbnails_and_split(member, pictures):
    page = text_of(page_of(member, pictures))
    assert f"/jobs/new/?dataset_version={pictures.pk}" in page
    assert page.count('class="thumb"') == 16
    assert "Training 8, Validation 1, Test 1" in page
    assert pictures.content_hash in page


def test_a_ready_table_shows_rows_columns_and_the_target(member, check):
    page = text_of(page_of(member, check(make_version(member, "People", {"people.csv": TABLE}))))
    for shown in ("First rows", "colour", "20 to 69, mean 41.17", "to predict", "48"):
        assert shown in page


def test_review_names_each_bad_line_and_one_click_leaves_them_out(member, ragged):
    page = text_of(page_of(member, ragged))
    assert "Leave out 2 rows and continue" in page
    assert "ragged.csv" in page and "line 62" in page and "line 64" in page
    answer = member.page.post(f"/data/{ragged.dataset_id}/versions/1/accept/")
    assert answer.status_code == 302
    page = text_of(page_of(member, ragged))
    assert "Train on this" in page and "Left out (2)" in page


def test_a_long_list_of_bad_items_is_folded_after_fifty(member, check):
    many = TABLE + b"only one\n" * 55
    page = text_of(page_of(member, check(make_version(member, "Many", {"many.csv": many}))))
    first, folded = page.split("Show all 55")
    assert (first.count("many.csv</code>"), folded.count("many.csv</code>")) == (50, 5)


def test_rejected_data_says_why_and_what_to_do(member, check):
    version = check(make_version(member, "Nothing", {"notes.txt": b"hello"}))
    page = text_of(page_of(member, version))
    assert "This data cannot be used" in page and "notes.txt" in page and "What to do:" in page
    assert f"/data/upload/?dataset={version.dataset_id}" in page
    assert "Train on this" not in page


def test_names_of_a_stranger_are_shown_and_never_interpreted(member, check):
    evil = b"<script>alert(1)</script>,b\n" + b"".join(b"<img src=x>%d,%d\n" % (n, n % 2) for n in range(40))
    page = text_of(page_of(member, check(make_version(member, "<b>bold</b>", {"<i>.csv": evil}))))
    assert "&lt;script&gt;alert(1)" in page
    for bad in ("<script>alert", "<img src=x", "<b>bold", "<i>.csv"):
        assert bad not in page


def test_thumbnails_are_shown_inline_and_only_those_of_the_version(member, pictures):
    path = f"/data/{pictures.dataset_id}/versions/1/thumbs"
    thumb = next(file["sha256"] for name, file in pictures.outputs.items() if name.startswith("thumbs/"))
    answer = member.page.get(f"{path}/{thumb}/")
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/png")
    assert "attachment" not in answer["Content-Disposition"]
    assert b"".join(answer.streaming_content).startswith(b"\x89PNG")
    whole = pictures.outputs["data.zip"]["sha256"]
    assert member.page.get(f"{path}/{whole}/").status_code == 404


def test_the_frozen_data_is_downloaded_as_a_file(member, pictures):
    answer = member.page.get(f"/data/{pictures.dataset_id}/versions/1/download/data.zip/")
    assert answer["Content-Disposition"] == 'attachment; filename="threes-and-sevens-v1.zip"'
    assert sum(map(len, answer.streaming_content)) == pictures.size_bytes
    assert member.page.get(f"/data/{pictures.dataset_id}/versions/1/download/report.json/").status_code == 404


def test_deleting_asks_with_what_will_be_lost_and_then_deletes(member, pictures):
    assert 'data-confirm="Delete “Threes and sevens” and its only version?' in text_of(page_of(member, pictures))
    answer = member.page.post(f"/data/{pictures.dataset_id}/delete/")
    assert answer.url == "/data/"
    assert not Dataset.objects.exists()


def test_a_viewer_sees_everything_and_has_no_button_that_changes(viewer, ragged):
    page = text_of(page_of(viewer, ragged))
    assert "line 62" in page
    for button in ("Leave out", "Delete data set", "Add a version", "Upload again", "Undoing a step"):
        assert button not in page
    pk = ragged.dataset_id
    paths = ["/data/upload/", f"/data/{pk}/delete/", f"/data/{pk}/versions/1/accept/"]
    assert [viewer.page.post(path).status_code for path in paths] == [403] * 3
    assert viewer.page.get("/data/upload/").status_code == 403


def test_another_teams_pages_do_not_exist(stranger, pictures):
    pk = pictures.dataset_id
    thumb = next(file["sha256"] for name, file in pictures.outputs.items() if name.startswith("thumbs/"))
    gets = [f"/data/{pk}/", f"/data/upload/?dataset={pk}", f"/data/{pk}/versions/1/thumbs/{thumb}/"]
    gets.append(f"/data/{pk}/versions/1/download/data.zip/")
    assert [stranger.page.get(path).status_code for path in gets] == [404] * 4
    posts = [f"/data/{pk}/delete/", f"/data/{pk}/versions/1/accept/"]
    assert [stranger.page.post(path).status_code for path in posts] == [404] * 2


@pytest.mark.parametrize("query", ["version=2", "version=x", "version=99999999999999999999", "version=-1"])
def test_a_version_that_does_not_exist_is_not_found(member, query):
    pk = make_version(member, "People", {"people.csv": TABLE}).dataset_id
    assert member.page.get(f"/data/{pk}/?{query}").status_code == 404
