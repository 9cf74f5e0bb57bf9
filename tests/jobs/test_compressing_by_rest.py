"""Programs hand in compressions, read the candidates and keep one."""

import pytest

from apps.jobs.models import Job
from apps.registry.models import ModelVersion
from tests.jobs.compressions import FAILED, HALF, ORIGINAL, SMALL, TINY, compress, end, make_trained, tell
from tests.jobs.making import make_node


@pytest.fixture
def node(db):
    return make_node()


@pytest.fixture
def trained(team) -> ModelVersion:
    return make_trained(team)


@pytest.fixture
def job(trained, node, member, tmp_path) -> Job:
    made = compress(trained, node, member.user)
    tell(made, tmp_path, ORIGINAL, SMALL, TINY, FAILED)
    return made


def post(person, **body):
    return person.api.post("/api/v1/jobs/", {"kind": "compress", **body}, content_type="application/json")


def test_settings_are_taken_and_completed(member, trained):
    body = post(member, model="Digits", settings={"limit_points": 0.5, "recipes": [HALF]}).json()
    assert (body["kind"], body["method"]) == ("compress", "recipe")
    assert body["hyperparameters"]["limit_points"] == 0.5 and body["hyperparameters"]["favour"] == "both"
    assert [step["method"] for step in body["hyperparameters"]["recipes"][0]] == ["prune_channels", "quantise"]
    assert post(member, model="Digits").json()["method"] == "search"


def test_what_is_wrong_has_a_code_and_a_place(member, trained):
    response = post(member, model="Digits", settings={"recipes": [[{"method": "low_rank", "energy": "much"}]]})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["field"]) == (422, "wrong_type", "recipes.0.0.energy")
    assert post(member, model="Digits", method="int8").json()["error"]["field"] == "method"
    assert post(member, model="Digits", settings=[1]).json()["error"]["field"] == "settings"


def test_candidates_are_listed_by_number(member, job):
    body = member.api.get(f"/api/v1/jobs/{job.pk}/candidates/").json()
    assert body["count"] == 4
    original, small, tiny, failed = body["results"]
    assert (original["number"], original["files"], original["model"]) == (0, [], None)
    assert small["recipe"] == SMALL["recipe"] and small["figures"] == SMALL["figures"] and small["node"] == "one"
    assert small["files"] == ["meta.json", "model.onnx"] and small["bytes"] > 0
    assert (tiny["verdict"], tiny["notes"]) == ("over", ["Fine-tuned for 8 epochs."])
    assert (failed["verdict"], failed["figures"], failed["reason"]) == ("failed", {}, FAILED["reason"])


def test_one_is_kept_and_asking_again_changes_nothing(member, job, trained):
    path = f"/api/v1/jobs/{job.pk}/candidates/2/keep/"
    kept = member.api.post(path).json()
    assert kept["model"] == {"id": trained.model_id, "name": "Digits", "version": 2}
    assert member.api.post(path).json() == kept and ModelVersion.objects.count() == 2
    version = member.api.get(f"/api/v1/models/{trained.model_id}/versions/2/").json()
    assert (version["parent"], version["method"]) == (1, TINY["name"])
    assert version["lineage"]["compression"]["candidate"] == 2


def test_what_cannot_be_kept_is_refused(member, job):
    for number, status, code in ((0, 409, "is_original"), (3, 409, "no_files"), (9, 404, "not_found")):
        response = member.api.post(f"/api/v1/jobs/{job.pk}/candidates/{number}/keep/")
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_the_result_names_the_chosen_one(member, job, tmp_path):
    end(job, tmp_path, SMALL)
    body = member.api.get(f"/api/v1/jobs/{job.pk}/").json()
    assert body["result"]["chosen"] == 1 and body["result"]["verdict"] == "improved"
    assert body["model"]["version"] == 2
    candidates = member.api.get(f"/api/v1/jobs/{job.pk}/candidates/").json()["results"]
    assert candidates[1]["model"] == body["model"]


def test_viewers_read_and_strangers_find_nothing(viewer, stranger, job, trained):
    assert viewer.api.get(f"/api/v1/jobs/{job.pk}/candidates/").status_code == 200
    assert viewer.api.post(f"/api/v1/jobs/{job.pk}/candidates/1/keep/").status_code == 403
    assert stranger.api.get(f"/api/v1/jobs/{job.pk}/candidates/").status_code == 404
    assert stranger.api.post(f"/api/v1/jobs/{job.pk}/candidates/1/keep/").status_code == 404
    assert post(stranger, model=trained.model_id).status_code == 404
