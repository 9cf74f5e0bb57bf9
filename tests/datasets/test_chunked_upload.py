"""A file arrives in chunks: repeated, in the wrong order, damaged, interrupted, and in the end exactly as it was."""

import errno
import hashlib
import os
import shutil

import pytest
from django.db import connection
from django.test import Client

from apps.core.errors import StorageFull
from apps.core.storage import open_blob
from apps.datasets import chunks, services
from apps.datasets.models import Upload
from apps.resources.models import Quota
from apps.resources.nodes import default_pool
from tests.datasets.making import Uploader

CONTENT = bytes(range(256)) * 10


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def error_of(response) -> dict:
    return response.json()["error"]


def test_a_file_sent_in_chunks_is_stored_as_it_was(uploader):
    upload = uploader.create("digits.zip", len(CONTENT))
    assert upload.status_code == 201
    assert upload.json() | {"id": None, "created_at": None} == {
        "id": None,
        "created_at": None,
        "name": "digits.zip",
        "size_bytes": 2560,
        "received_bytes": 0,
        "chunk_bytes": 1000,
        "status": "receiving",
        "sha256": "",
        "proposed_split": "",
    }
    done = uploader.send("digits.zip", CONTENT)
    assert (done["status"], done["sha256"], done["received_bytes"]) == ("complete", sha256(CONTENT), 2560)
    assert open_blob(done["sha256"]).read() == CONTENT


def test_the_place_on_the_way_is_given_back_once_the_file_is_stored(uploader, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        done = uploader.send("a.csv", CONTENT)
    assert not chunks.data_path(done["id"]).exists()


def test_a_repeated_chunk_changes_nothing(uploader):
    upload = uploader.create("a.csv", len(CONTENT)).json()
    for _ in range(2):
        answer = uploader.put(upload, 0, CONTENT[:1000])
        assert (answer.status_code, answer.json()["received_bytes"]) == (200, 1000)
    uploader.put(upload, 1000, CONTENT[1000:2000])
    assert uploader.put(upload, 0, b"x" * 1000).json()["received_bytes"] == 2000
    assert chunks.data_path(upload["id"]).read_bytes() == CONTENT[:2000]


@pytest.mark.parametrize("offset", [1000, 2000])
def test_a_chunk_out_of_order_is_told_where_to_go_on(uploader, offset):
    upload = uploader.create("a.csv", len(CONTENT)).json()
    uploader.put(upload, 0, CONTENT[:500])
    answer = uploader.put(upload, offset, CONTENT[offset : offset + 500])
    assert answer.status_code == 409
    assert error_of(answer)["code"] == "wrong_offset"
    assert error_of(answer)["details"] == {"received_bytes": 500}
    assert chunks.data_path(upload["id"]).read_bytes() == CONTENT[:500]


def test_a_chunk_that_overlaps_what_is_there_is_out_of_order(uploader):
    upload = uploader.create("a.csv", len(CONTENT)).json()
    uploader.put(upload, 0, CONTENT[:500])
    assert error_of(uploader.put(upload, 400, CONTENT[400:900]))["code"] == "wrong_offset"


@pytest.mark.parametrize("offset", ["-1", "x", "", str(2**70)])
def test_an_offset_that_is_no_place_in_a_file_is_refused(uploader, offset):
    upload = uploader.create("a.csv", len(CONTENT)).json()
    assert uploader.put(upload, offset, b"abc").status_code == 422


def test_a_damaged_chunk_is_not_written(uploader):
    upload = uploader.create("a.csv", len(CONTENT)).json()
    answer = uploader.put(upload, 0, CONTENT[:1000], sha256(b"something else"))
    assert (answer.status_code, error_of(answer)["code"]) == (422, "wrong_checksum")
    assert uploader.get(upload).json()["received_bytes"] == 0
    assert uploader.put(upload, 0, CONTENT[:1000], sha256(CONTENT[:1000]).upper()).status_code == 200


def test_a_chunk_larger_than_allowed_is_refused(uploader):
    upload = uploader.create("a.csv", len(CONTENT)).json()
    answer = uploader.put(upload, 0, CONTENT[:1001])
    assert (answer.status_code, error_of(answer)["code"]) == (413, "chunk_too_large")
    assert error_of(answer)["details"] == {"chunk_bytes": 1000}


def test_a_chunk_beyond_the_announced_size_is_refused(uploader):
    upload = uploader.create("a.csv", 700).json()
    answer = uploader.put(upload, 0, CONTENT[:701])
    assert (answer.status_code, error_of(answer)["code"]) == (413, "longer_than_announced")


def test_a_chunk_must_be_raw_bytes(uploader):
    upload = uploader.create("a.csv", 20).json()
    path = f"/api/v1/uploads/{upload['id']}/?offset=0"
    assert uploader.client.put(path, {"a": 1}, content_type="application/json").status_code == 422
    assert uploader.client.put(path, b"abc", content_type="text/plain").status_code == 415


def test_an_upload_is_not_complete_while_bytes_are_missing(uploader):
    upload = uploader.create("a.csv", len(CONTENT)).json()
    uploader.put(upload, 0, CONTENT[:1000])
    answer = uploader.complete(upload)
    assert (answer.status_code, error_of(answer)["code"]) == (409, "incomplete")
    assert error_of(answer)["details"] == {"received_bytes": 1000}


def test_a_file_with_the_wrong_checksum_starts_again_and_can_succeed(uploader):
    upload = uploader.create("a.csv", 500).json()
    uploader.put(upload, 0, b"x" * 500)
    answer = uploader.complete(upload, sha256(CONTENT[:500]))
    assert (answer.status_code, error_of(answer)["code"]) == (422, "wrong_checksum")
    assert uploader.get(upload).json()["received_bytes"] == 0
    uploader.put(upload, 0, CONTENT[:500])
    assert uploader.complete(upload, sha256(CONTENT[:500])).json()["status"] == "complete"


def test_the_checksum_that_was_announced_holds_where_none_comes_at_the_end(uploader):
    upload = uploader.create("a.csv", 500, sha256=sha256(CONTENT[:500])).json()
    uploader.put(upload, 0, b"x" * 500)
    assert error_of(uploader.complete(upload))["code"] == "wrong_checksum"


@pytest.mark.django_db(transaction=True)
def test_storing_a_large_file_keeps_no_transaction_open(uploader, monkeypatch):
    """The database ends one that has been idle for a minute, and a file of many gigabytes takes longer."""
    seen = []
    store = services.put_file

    def look_and_store(*arguments):
        seen.append(connection.in_atomic_block)
        return store(*arguments)

    monkeypatch.setattr(services, "put_file", look_and_store)
    assert uploader.send("a.csv", CONTENT)["status"] == "complete"
    assert seen == [False]


def test_whoever_completes_it_meanwhile_is_told_the_same(uploader, monkeypatch):
    upload = uploader.create("a.csv", 500).json()
    uploader.put(upload, 0, CONTENT[:500])
    store = services.put_file
    others = []

    def overtaken(*arguments):
        monkeypatch.setattr(services, "put_file", store)
        others.append(uploader.complete(upload).json())
        return store(*arguments)

    monkeypatch.setattr(services, "put_file", overtaken)
    assert uploader.complete(upload).json() == others[0] and others[0]["status"] == "complete"


def test_completing_twice_gives_the_same(uploader):
    done = uploader.send("a.csv", CONTENT)
    assert uploader.complete(done).json()["sha256"] == done["sha256"]
    assert error_of(uploader.complete(done, sha256(b"")))["code"] == "wrong_checksum"
    assert uploader.get(done).json()["status"] == "complete"


def test_bytes_of_a_write_that_was_cut_short_are_dropped(uploader):
    """The process died after writing and before noting it: what counts is what was noted."""
    upload = uploader.create("a.csv", len(CONTENT)).json()
    uploader.put(upload, 0, CONTENT[:1000])
    with open(chunks.data_path(upload["id"]), "ab") as file:
        file.write(b"half of a chunk that nobody noted" * 100)
    assert uploader.put(upload, 1000, CONTENT[1000:2000]).status_code == 200
    assert uploader.put(upload, 2000, CONTENT[2000:]).status_code == 200
    assert uploader.complete(upload, sha256(CONTENT)).status_code == 200


def test_a_file_that_vanished_from_the_server_is_said_to_be_lost(uploader):
    upload = uploader.create("a.csv", len(CONTENT)).json()
    uploader.put(upload, 0, CONTENT[:1000])
    shutil.rmtree(chunks.data_path(upload["id"]).parent)
    assert error_of(uploader.put(upload, 1000, CONTENT[1000:1500]))["code"] == "upload_lost"


def test_a_full_disk_loses_nothing_and_the_upload_goes_on_later(uploader, monkeypatch):
    upload = uploader.create("a.csv", len(CONTENT)).json()
    uploader.put(upload, 0, CONTENT[:1000])
    write = os.pwrite

    def fill_up(descriptor, body, offset):
        write(descriptor, body[:100], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fill_up)
    answer = uploader.put(upload, 1000, CONTENT[1000:2000])
    assert (answer.status_code, error_of(answer)["code"]) == (507, "storage_full")
    assert chunks.data_path(upload["id"]).read_bytes() == CONTENT[:1000]
    monkeypatch.undo()
    assert uploader.put(upload, 1000, CONTENT[1000:2000]).json()["received_bytes"] == 2000


def test_a_full_disk_at_the_end_keeps_the_upload(uploader, monkeypatch):
    upload = uploader.create("a.csv", 500).json()
    uploader.put(upload, 0, CONTENT[:500])

    def refuse(path, sha256):
        raise StorageFull("The file could not be stored.")

    monkeypatch.setattr(services, "put_file", refuse)
    assert uploader.complete(upload).status_code == 507
    monkeypatch.undo()
    assert uploader.complete(upload, sha256(CONTENT[:500])).status_code == 200


@pytest.mark.parametrize(
    ("size", "status", "code"),
    [(0, 422, "empty_file"), (1001, 413, "too_large"), (-1, 422, "invalid_input"), (2**70, 422, "invalid_input")],
)
def test_a_size_that_cannot_be_taken_is_refused_at_once(uploader, settings, size, status, code):
    settings.LEPTON_MAX_UPLOAD_BYTES = 1000
    answer = uploader.create("a.csv", size)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert not Upload.objects.exists()


def test_a_file_larger_than_the_free_disk_is_refused_at_once(uploader, home, settings):
    settings.LEPTON_MAX_UPLOAD_BYTES = 2**62
    answer = uploader.create("a.zip", 2 * shutil.disk_usage(home).free)
    assert (answer.status_code, error_of(answer)["code"]) == (507, "storage_full")
    assert not Upload.objects.exists()


def test_a_file_over_the_teams_quota_is_refused_with_the_numbers(uploader, member):
    Quota.objects.create(team=member.team, pool=default_pool(), resource="storage", limit=3000)
    uploader.send("a.csv", CONTENT)
    answer = uploader.create("b.csv", 500)
    assert (answer.status_code, error_of(answer)["code"]) == (403, "quota_exceeded")
    assert error_of(answer)["details"] == {"asked_bytes": 500, "used_bytes": 2560, "limit_bytes": 3000}
    assert uploader.create("b.csv", 440).status_code == 201


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("train/cats/1.png", "train/cats/1.png"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("C:\\data\\..\\x.csv", "data/x.csv"),
        ("a\x07b\n.csv", "ab.csv"),
        ("cafe\u0301.csv", "caf\u00e9.csv"),
    ],
)
def test_a_name_keeps_its_folders_and_cannot_lead_out_of_them(uploader, name, cleaned):
    assert uploader.create(name, 10).json()["name"] == cleaned


@pytest.mark.parametrize("name", ["", "..", "///", "\x07", "x" * 300, "y/" * 300 + "z"])
def test_a_name_that_leaves_nothing_is_refused(uploader, name):
    answer = uploader.create(name, 10)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("name", "split"),
    [("adult_train.csv", "train"), ("test.csv", "test"), ("x-val.zip", "val"), ("trains.csv", ""), ("train/1.png", "")],
)
def test_the_split_that_a_files_name_says_is_proposed(uploader, name, split):
    assert uploader.create(name, 10).json()["proposed_split"] == split


def test_uploads_of_another_team_do_not_exist(uploader, stranger):
    upload = uploader.create("a.csv", 10).json()
    theirs = Uploader(stranger.api)
    answers = [theirs.get(upload), theirs.put(upload, 0, b"abc"), theirs.complete(upload)]
    answers.append(stranger.api.delete(f"/api/v1/uploads/{upload['id']}/"))
    assert [answer.status_code for answer in answers] == [404] * 4
    assert stranger.api.get("/api/v1/uploads/").json()["count"] == 0
    assert uploader.get(upload).json()["received_bytes"] == 0


def test_a_viewer_cannot_upload(uploader, viewer):
    upload = uploader.create("a.csv", 3).json()
    theirs = Uploader(viewer.api)
    answers = [theirs.create("b.csv", 10), theirs.put(upload, 0, b"abc"), theirs.complete(upload)]
    answers.append(viewer.api.delete(f"/api/v1/uploads/{upload['id']}/"))
    assert [(answer.status_code, error_of(answer)["code"]) for answer in answers] == [(403, "forbidden")] * 4
    assert theirs.get(upload).json()["received_bytes"] == 0


def test_nobody_uploads_without_a_key(db):
    assert Uploader(Client()).create("a.csv", 10).status_code == 401


def test_a_discarded_upload_is_gone_with_its_bytes(uploader, django_capture_on_commit_callbacks):
    upload = uploader.create("a.csv", len(CONTENT)).json()
    uploader.put(upload, 0, CONTENT[:1000])
    with django_capture_on_commit_callbacks(execute=True):
        assert uploader.client.delete(f"/api/v1/uploads/{upload['id']}/").status_code == 204
    assert not chunks.data_path(upload["id"]).parent.exists()
    assert uploader.get(upload).status_code == 404
