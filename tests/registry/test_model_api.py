"""The REST endpoints of models."""

import pytest

from tests.jobs.making import make_node, make_version, run, submit, succeed


@pytest.fixture
def version(member, tmp_path):
    job = submit(member.team, member.user, make_version(member.team))
    return succeed(run(job, make_node()), tmp_path).output_version


def get(person, path: str = "", **query) -> dict:
    response = person.api.get(f"/api/v1/models/{path}", query)
    assert response.status_code == 200
    return response.json()


def test_models_are_listed_with_their_newest_version_and_found_by_name(member, version):
    page = get(member)
    assert page.keys() == {"count", "next", "previous", "results"}
    (model,) = page["results"]
    assert model.keys() == {"id", "name", "task", "latest_version", "created_at"}
    assert model["latest_version"]["metrics"]["test"]["accuracy"] == 0.975
    assert get(member, name="Digits")["count"] == 1 and get(member, name="digits")["count"] == 0


def test_a_model_comes_with_its_versions(member, version):
    (only,) = get(member, f"{version.model_id}/")["versions"]
    assert only == get(member, f"{version.model_id}/versions/1/")
    assert only["model"] == {"id": version.model_id, "name": "Digits"} and only["parent"] is None
    assert {file["name"]: file["size_bytes"] for file in only["files"]} == {"meta.json": 2, "model.safetensors": 700}
    assert only["lineage"]["job_id"] and only["task"] == "image_classification"


def test_a_file_is_downloaded_by_its_name(member, version):
    response = member.api.get(f"/api/v1/models/{version.model_id}/versions/1/files/model.safetensors")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"].startswith("attachment")
    assert b"".join(response.streaming_content) == b"weights" * 100


def test_another_teams_model_is_not_found(stranger, version):
    for rest in ("", "versions/1/", "versions/1/files/model.safetensors"):
        response = stranger.api.get(f"/api/v1/models/{version.model_id}/{rest}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert get(stranger)["count"] == 0
