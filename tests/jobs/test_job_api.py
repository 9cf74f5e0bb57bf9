"""The REST endpoints of jobs: shapes, filters, errors with stable codes, and no other team's data."""

import pytest

from apps.jobs.models import Job
from apps.registry.models import ModelVersion
from tests.jobs.making import fail, log, make_node, make_table, make_version, metric, report, run, submit, succeed

KEYS = {
    "id", "kind", "name", "status", "attempt", "progress", "result", "failure", "waiting", "dataset_version", "model",
    "created_at", "started_at", "finished_at",
}  # fmt: skip


@pytest.fixture
def version(team):
    return make_version(team)


@pytest.fixture
def node(db):
    return make_node()


def post(person, **body):
    return person.api.post("/api/v1/jobs/", body, content_type="application/json")


def get(person, path: str = "", **query) -> dict:
    response = person.api.get(f"/api/v1/jobs/{path}", query)
    assert response.status_code == 200, response.content
    return response.json()


def test_a_training_is_started_by_the_data_sets_name(member, version):
    response = post(member, kind="train", dataset="Digits", preset="fast", hyperparameters={"epochs": 3})
    body = response.json()
    assert response.status_code == 201 and body.keys() >= KEYS
    assert (body["status"], body["dataset_version"], body["model"]) == ("queued", version.pk, None)
    assert body["waiting"]["message"] and body["failure"] is None
    assert Job.objects.get(pk=body["id"]).hyperparameters["epochs"] == 3


def test_it_takes_the_newest_version_that_is_ready_unless_one_is_named(member, version):
    newer = type(version).objects.create(dataset=version.dataset, number=2, status="ready", kind=version.kind,
                                         task=version.task)  # fmt: skip
    type(version).objects.create(dataset=version.dataset, number=3, status="checking")
    assert post(member, kind="train", dataset=version.dataset_id).json()["dataset_version"] == newer.pk
    assert post(member, kind="train", dataset=version.dataset_id, version=1).json()["dataset_version"] == version.pk
    assert post(member, kind="train", dataset=version.dataset_id, version=3).json()["error"]["code"] == "data_not_ready"
    missing = post(member, kind="train", dataset=version.dataset_id, version=9)
    assert (missing.status_code, missing.json()["error"]["field"]) == (404, "version")


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"hyperparameters": {"epochs": 0}}, 422, "out_of_range", "epochs"),
        ({"hyperparameters": {"epochs": "many"}}, 422, "wrong_type", "epochs"),
        ({"hyperparameters": {"epoch": 3}}, 422, "unknown_hyperparameter", "epoch"),
        ({"hyperparameters": [1]}, 422, "invalid_input", "hyperparameters"),
        ({"preset": "best"}, 422, "unknown_preset", "preset"),
        ({"task": "speech"}, 422, "unknown_task", "task"),
        ({"task": "image_classification"}, 422, "unknown_task", "task"),
        ({"target": "nothing"}, 422, "unknown_target", "target"),
        ({"dataset": "Nothing"}, 404, "not_found", "dataset"),
        ({"dataset": True}, 422, "invalid_input", "dataset"),
        ({"dataset": 10**30}, 404, "not_found", "dataset"),
        ({"kind": "prepare"}, 422, "invalid_input", "kind"),
        ({"version": 0}, 422, "invalid_input", "version"),
    ],
)
def test_what_is_wrong_is_said_with_a_stable_code_and_nothing_is_started(member, team, change, status, code, field):
    make_table(team)
    response = post(member, **({"kind": "train", "dataset": "Income"} | change))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error.get("field", "")) == (status, code, field)
    assert error["message"] and not Job.objects.exists()


def test_a_viewer_may_read_and_not_write(viewer, member, version):
    job = submit(member.team, member.user, version)
    assert get(viewer, f"{job.pk}/")["id"] == job.pk
    assert post(viewer, kind="train", dataset="Digits").status_code == 403
    response = viewer.api.post(f"/api/v1/jobs/{job.pk}/cancel/")
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
    job.refresh_from_db()
    assert job.status == Job.Status.QUEUED


def test_another_teams_jobs_and_data_are_not_found(stranger, member, version):
    job = submit(member.team, member.user, version)
    for path in ("", "metrics/", "logs/"):
        response = stranger.api.get(f"/api/v1/jobs/{job.pk}/{path}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert stranger.api.post(f"/api/v1/jobs/{job.pk}/cancel/").status_code == 404
    assert post(stranger, kind="train", dataset=version.dataset_id).status_code == 404
    assert get(stranger)["count"] == 0


def test_lists_are_filtered_and_paged(member, version):
    jobs = [submit(member.team, member.user, version) for _ in range(3)]
    member.api.post(f"/api/v1/jobs/{jobs[0].pk}/cancel/")
    assert get(member, status="cancelled")["count"] == 1
    assert get(member, kind="compress")["count"] == 0
    assert get(member, name="Train Digits")["count"] == 3
    page = get(member, limit=2)
    assert page.keys() == {"count", "next", "previous", "results"}
    assert [job["id"] for job in page["results"]] == [jobs[2].pk, jobs[1].pk]
    assert "offset=2" in page["next"]


def test_a_cancel_ends_what_waits_and_a_second_one_is_a_conflict(member, version):
    job = submit(member.team, member.user, version)
    assert member.api.post(f"/api/v1/jobs/{job.pk}/cancel/").json()["status"] == "cancelled"
    again = member.api.post(f"/api/v1/jobs/{job.pk}/cancel/")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "already_ended")


def test_metrics_and_logs_come_after_an_id(member, version, node):
    job = run(submit(member.team, member.user, version), node)
    report(job, metric("loss", 2.0, "train", 1), metric("loss", float("inf"), "train", 2), log("one"), log("two"))
    points = get(member, f"{job.pk}/metrics/")["results"]
    assert points[0].keys() == {"id", "attempt", "name", "split", "step", "epoch", "value"}
    assert [point["value"] for point in points] == [2.0, None]
    assert [point["step"] for point in get(member, f"{job.pk}/metrics/", after=points[0]["id"])["results"]] == [2]
    lines = get(member, f"{job.pk}/logs/")["results"]
    assert [line["message"] for line in lines] == ["one", "two"]
    assert get(member, f"{job.pk}/logs/", after=lines[1]["id"])["results"] == []
    assert member.api.get(f"/api/v1/jobs/{job.pk}/logs/", {"after": "x"}).status_code == 422


def test_an_end_tells_the_model_or_the_failure(member, version, node, tmp_path):
    done = succeed(run(submit(member.team, member.user, version), node), tmp_path)
    body = get(member, f"{done.pk}/")
    model = done.output_version.model
    assert body["model"] == {"id": model.pk, "name": "Digits", "version": 1}
    assert body["result"]["metrics"]["test"]["accuracy"] == 0.975 and body["waiting"] is None
    failed = fail(run(submit(member.team, member.user, version), node))
    assert get(member, f"{failed.pk}/")["failure"]["code"] == "diverged"


def test_a_compression_takes_the_newest_version_that_is_not_compressed(member, version, node, tmp_path):
    trained = succeed(run(submit(member.team, member.user, version), node), tmp_path).output_version
    ModelVersion.objects.create(model=trained.model, number=2, parent=trained, meta={"compression": {"method": "int8"}})
    response = post(member, kind="compress", model="Digits")
    assert response.status_code == 201
    assert Job.objects.get(pk=response.json()["id"]).base_version == trained
    again = post(member, kind="compress", model="Digits", version=2)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "already_compressed")
    assert post(member, kind="compress", model="Digits", method="int8").json()["error"]["field"] == "method"
    assert post(member, kind="compress").json()["error"]["field"] == "model"


def test_the_browsers_session_needs_a_csrf_token(member, version):
    client = type(member.page)(enforce_csrf_checks=True)
    client.force_login(member.user)
    response = client.post("/api/v1/jobs/", {"kind": "train", "dataset": "Digits"}, content_type="application/json")
    assert response.status_code == 403 and not Job.objects.exists()
