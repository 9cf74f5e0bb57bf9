"""A data set is made from uploads, checked, reviewed, frozen, given further versions and deleted - by a program."""

import json
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.core.errors import Conflict
from apps.datasets import chunks
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.datasets.services import (
    accept_without_bad_items,
    add_version,
    apply_report,
    delete_dataset,
    reject_version,
    sweep_uploads,
)
from apps.jobs.services import cancel_job, submit_prepare
from apps.resources.storage_use import storage_bytes
from tests.datasets.making import RAGGED, TABLE, Uploader, make_version
from tests.site_helpers import digits

JSON = "application/json"


def error_of(response) -> dict:
    return response.json()["error"]


def post_dataset(client, name: str, *uploads: dict, **more: str):
    sources = [
        {"id": upload["id"], **({"split": upload["split"]} if upload.get("split") else {})} for upload in uploads
    ]
    return client.post("/api/v1/datasets/", {"name": name, "uploads": sources, **more}, content_type=JSON)


def test_a_program_makes_a_data_set_and_reads_its_report(uploader, member, check):
    upload = uploader.send("people.csv", TABLE)
    made = post_dataset(member.api, " People  of\tone town ", upload, description="Made up.", target="bought")
    assert made.status_code == 201
    assert made.json() | {"id": 0, "created_at": "", "latest_version": {}} == {
        "id": 0,
        "name": "People of one town",
        "description": "Made up.",
        "created_at": "",
        "latest_version": {},
    }
    assert made.json()["latest_version"]["status"] == "checking"
    check(DatasetVersion.objects.get())
    version = member.api.get(f"/api/v1/datasets/{made.json()['id']}/versions/1/").json()
    assert set(version) == {
        *("id", "number", "status", "kind", "task", "target", "item_count", "size_bytes"),
        *("content_hash", "report", "files", "error", "created_at", "made_from", "kept"),
    }
    assert (version["status"], version["kind"], version["task"]) == ("ready", "table", "tabular_classification")
    assert (version["target"], version["item_count"], version["error"]) == ("bought", 60, None)
    assert version["content_hash"] == version["report"]["content_hash"]
    assert [column["name"] for column in version["report"]["columns"]] == ["age", "colour", "bought"]


def test_a_version_that_is_to_be_checked_gets_its_job_at_once(uploader, member, django_capture_on_commit_callbacks):
    upload = uploader.send("people.csv", TABLE)
    with django_capture_on_commit_callbacks() as callbacks:
        post_dataset(member.api, "People", upload)
    assert len(callbacks) == 1
    job = submit_prepare(version=DatasetVersion.objects.get())
    assert (job.kind, job.team) == ("prepare", member.team)


def test_the_same_name_twice_is_a_conflict_in_a_team_and_fine_in_another(uploader, member, stranger):
    upload = uploader.send("people.csv", TABLE)
    post_dataset(member.api, "People", upload)
    again = post_dataset(member.api, "People", upload)
    assert (again.status_code, error_of(again)["code"], error_of(again)["field"]) == (409, "name_taken", "name")
    assert "People" in error_of(again)["message"]
    theirs = Uploader(stranger.api).send("people.csv", TABLE)
    assert post_dataset(stranger.api, "People", theirs).status_code == 201


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "\u200b"])
def test_a_name_that_nobody_could_find_is_refused(uploader, member, name):
    answer = post_dataset(member.api, name, uploader.send("people.csv", TABLE))
    assert answer.status_code == 422
    assert not Dataset.objects.exists()


def test_what_is_no_complete_upload_of_the_team_is_refused(uploader, member, stranger):
    half = uploader.create("a.csv", 10).json()
    foreign = Uploader(stranger.api).send("people.csv", TABLE)
    split = uploader.send("people.csv", TABLE) | {"split": "holdout"}
    answers = [
        post_dataset(member.api, "A", *uploads) for uploads in [[half], [foreign], [{"id": str(uuid.uuid4())}], []]
    ]
    assert [answer.status_code for answer in answers] == [409, 404, 404, 422]
    assert [error_of(answer)["code"] for answer in answers[:3]] == [
        "incomplete",
        "upload_not_found",
        "upload_not_found",
    ]
    assert post_dataset(member.api, "A", split).status_code == 422
    assert not Dataset.objects.exists()


def test_each_file_keeps_the_split_it_was_given(uploader, member, check):
    uploads = [uploader.send(f"part-{part}.csv", TABLE) | {"split": part} for part in ("train", "val", "test")]
    post_dataset(member.api, "People", *uploads)
    version = check(DatasetVersion.objects.get())
    assert version.report["splits"] == {"train": 60, "val": 60, "test": 60}
    assert version.report["split_source"] == "user"


def test_bad_items_are_named_and_left_out_by_one_call(uploader, member, check):
    made = post_dataset(member.api, "Ragged", uploader.send("ragged.csv", RAGGED)).json()
    check(DatasetVersion.objects.get())
    path = f"/api/v1/datasets/{made['id']}/versions/1/"
    version = member.api.get(path).json()
    assert (version["status"], version["report"]["bad_total"], version["item_count"]) == ("needs_review", 2, 61)
    assert [(bad["path"], bad["line"]) for bad in version["report"]["bad"]] == [("ragged.csv", 62), ("ragged.csv", 64)]
    for _ in range(2):
        answer = member.api.post(f"{path}accept/", content_type=JSON)
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert DatasetVersion.objects.get().frozen_at is not None


def test_only_a_version_under_review_can_be_accepted(member):
    version = make_version(member, "People", {"people.csv": TABLE})
    answer = member.api.post(f"/api/v1/datasets/{version.dataset_id}/versions/1/accept/", content_type=JSON)
    assert (answer.status_code, error_of(answer)["code"]) == (409, "not_in_review")


def test_data_that_cannot_be_used_is_rejected_with_a_reason_and_a_next_step(member, check):
    version = check(
        make_version(member, "One class", {f"3/{n}.png": body for n, body in enumerate(digits("3", 6).values())})
    )
    answer = member.api.get(f"/api/v1/datasets/{version.dataset_id}/").json()["latest_version"]
    assert (answer["status"], answer["error"]["code"]) == ("rejected", "one_class")
    assert answer["error"]["message"] and answer["error"]["hint"]


def test_a_verdict_is_given_once(member, check):
    version = check(make_version(member, "People", {"people.csv": TABLE}))
    before = (version.status, version.content_hash, version.frozen_at)
    reject_version(version=version, code="late", message="A node that was thought dead came back.")
    apply_report(version=version, report={**version.report, "content_hash": "0" * 64, "bad_total": 3}, outputs={})
    version.refresh_from_db()
    assert (version.status, version.content_hash, version.frozen_at) == before


def test_versions_are_numbered_and_the_newest_comes_first(uploader, member):
    made = post_dataset(member.api, "People", uploader.send("people.csv", TABLE)).json()
    body = {"uploads": [{"id": uploader.send("more.csv", TABLE)["id"]}]}
    added = member.api.post(f"/api/v1/datasets/{made['id']}/versions/", body, content_type=JSON)
    assert (added.status_code, added.json()["number"]) == (201, 2)
    found = member.api.get(f"/api/v1/datasets/{made['id']}/").json()
    assert [version["number"] for version in found["versions"]] == [2, 1]
    assert found["latest_version"]["number"] == 2


def test_the_list_is_the_teams_own_and_can_be_asked_for_a_name(member, stranger):
    for name in ("A", "B"):
        make_version(member, name, {"people.csv": TABLE})
    make_version(stranger, "C", {"people.csv": TABLE})
    page = member.api.get("/api/v1/datasets/").json()
    assert (page["count"], [each["name"] for each in page["results"]]) == (2, ["B", "A"])
    assert [each["name"] for each in member.api.get("/api/v1/datasets/?name=A").json()["results"]] == ["A"]
    assert member.api.get("/api/v1/datasets/?name=C").json()["count"] == 0


def test_another_teams_data_does_not_exist(member, stranger):
    pk = make_version(member, "People", {"people.csv": TABLE}).dataset_id
    path = f"/api/v1/datasets/{pk}/"
    answers = [
        stranger.api.get(path),
        stranger.api.get(f"{path}versions/1/"),
        stranger.api.post(f"{path}versions/1/accept/"),
        stranger.api.post(f"{path}versions/", {"uploads": [{"id": str(uuid.uuid4())}]}, content_type=JSON),
        stranger.api.delete(path),
    ]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert Dataset.objects.filter(pk=pk).exists()


def test_a_viewer_reads_and_changes_nothing(member, viewer, check):
    version = check(make_version(member, "Ragged", {"ragged.csv": RAGGED}))
    path = f"/api/v1/datasets/{version.dataset_id}/"
    answers = [
        post_dataset(viewer.api, "B", {"id": str(uuid.uuid4())}),
        viewer.api.post(f"{path}versions/", {"uploads": []}, content_type=JSON),
        viewer.api.post(f"{path}versions/1/accept/"),
        viewer.api.delete(path),
    ]
    assert [answer.status_code for answer in answers] == [403] * 4
    assert viewer.api.get(path).json()["latest_version"]["status"] == "needs_review"


def test_data_in_use_is_not_deleted_and_says_by_what(member):
    version = make_version(member, "People", {"people.csv": TABLE})
    job = submit_prepare(version=version)
    answer = member.api.delete(f"/api/v1/datasets/{version.dataset_id}/")
    assert (answer.status_code, error_of(answer)["code"]) == (409, "dataset_in_use")
    assert job.name in error_of(answer)["message"]
    cancel_job(job=job, user=member.user)
    job.refresh_from_db()
    assert job.is_ended
    assert member.api.delete(f"/api/v1/datasets/{version.dataset_id}/").status_code == 204
    job.refresh_from_db()
    assert job.dataset_version is None


def test_deleting_gives_the_storage_back_to_the_quota(member):
    version = make_version(member, "People", {"people.csv": TABLE})
    assert storage_bytes(member.team) == len(TABLE)
    delete_dataset(dataset=version.dataset)
    Upload.objects.all().delete()
    assert storage_bytes(member.team) == 0


def test_storage_counts_a_file_once_however_often_it_is_used(member, stranger, check):
    version = check(make_version(member, "A", {"people.csv": TABLE}))
    make_version(member, "B", {"people.csv": TABLE})
    make_version(stranger, "B", {"people.csv": TABLE})
    made = {file["sha256"]: file["bytes"] for file in version.outputs.values()} | {
        version.files.get().sha256: len(TABLE)
    }
    assert storage_bytes(member.team) == sum(made.values()) > len(TABLE)


def test_a_version_keeps_its_data_when_the_upload_is_forgotten(member, check):
    version = make_version(member, "People", {"people.csv": TABLE})
    Upload.objects.all().delete()
    assert check(version).status == "ready"


def test_uploads_that_nobody_touched_for_two_days_are_swept(uploader, home, django_capture_on_commit_callbacks):
    old, new = (uploader.create(name, 10).json()["id"] for name in ("old.csv", "new.csv"))
    Upload.objects.filter(pk=old).update(updated_at=timezone.now() - timedelta(hours=49))
    with django_capture_on_commit_callbacks(execute=True):
        assert sweep_uploads() == 1
    assert [str(pk) for pk in Upload.objects.values_list("pk", flat=True)] == [new]
    assert not chunks.data_path(old).exists() and chunks.data_path(new).exists()


def test_review_is_accepted_once_even_by_two_people(member, check):
    version = check(make_version(member, "Ragged", {"ragged.csv": RAGGED}))
    stale = DatasetVersion.objects.get(pk=version.pk)
    frozen = accept_without_bad_items(version=version, user=member.user).frozen_at
    assert accept_without_bad_items(version=stale, user=member.user).frozen_at == frozen


def test_an_upload_under_way_cannot_become_a_version(member, uploader):
    version = make_version(member, "People", {"people.csv": TABLE})
    half = Upload.objects.get(pk=uploader.create("a.csv", 10).json()["id"])
    with pytest.raises(Conflict, match="a.csv"):
        add_version(dataset=version.dataset, user=member.user, uploads=[(half, "")])
    assert version.dataset.versions.count() == 1


def test_the_schema_of_the_endpoints_is_complete(member):
    schema = member.api.get("/api/schema/?format=json", headers={"Accept": "application/json"}).json()
    assert "application/octet-stream" in json.dumps(schema["paths"]["/api/v1/uploads/{id}/"]["put"]["requestBody"])
    assert {"post", "get"} <= set(schema["paths"]["/api/v1/datasets/"])
