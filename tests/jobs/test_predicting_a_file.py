"""A version is asked about a data set or a file: on the page, by REST, and through the program to the download."""

import csv
import io
import json
from pathlib import Path

import pytest

from apps.core.errors import Conflict, NotFound, Unprocessable
from apps.core.storage import Blob
from apps.datasets.services import receive_file
from apps.jobs import attempts
from apps.jobs.models import Job
from apps.jobs.pausing import pause_job, resume_job
from apps.jobs.predicting import submit_prediction
from apps.jobs.services import cancel_job
from apps.jobs.sweeping import referenced_blobs
from apps.registry.services import register_version
from apps.resources.storage_use import storage_bytes
from tests.inference.models import table_model
from tests.jobs.making import make_node, make_version, run, store
from workers import artifacts
from workers.contract import CHECKPOINT_FOLDER, OUTPUT_FOLDER, EventWriter
from workers.predicting.program import predict
from workers.training.stopping import Stop

PEOPLE = b"age,city,group\n55,Rome,old\n21,Oslo,young\nx,Oslo,young\n"
COLUMNS = [{"name": name, "type": "categorical", "unique": 2} for name in ("age", "city", "group")]


@pytest.fixture(autouse=True)
def storage(settings, tmp_path: Path) -> None:
    settings.LEPTON_HOME, settings.LEPTON_STORAGE_URL = tmp_path, f"file://{tmp_path}/storage"


@pytest.fixture
def version(team, tmp_path):
    """A model that can really be asked."""
    folder = table_model(tmp_path / "made")
    files = {path.name: store(tmp_path, path.name, path.read_bytes()) for path in folder.iterdir()}
    meta = json.loads((folder / "meta.json").read_text())
    return register_version(
        team=team, user=None, model_name="People", task="tabular_classification", meta=meta, metrics={},
        lineage={"target": "group"}, files=files,
    )  # fmt: skip


@pytest.fixture
def data(team, tmp_path):
    outputs = {
        "data.csv": store(tmp_path, "data.csv", PEOPLE).as_dict(),
        "index.json": store(tmp_path, "index.json", b'{"split": ["train", "test", "test"]}').as_dict(),
    }
    report = {"columns": COLUMNS, "splits": {"train": 1, "val": 0, "test": 2}}
    return make_version(
        team, "Census", kind="table", task="tabular_classification", target="group", report=report, outputs=outputs
    )


def send(person, name: str = "people.csv", body: bytes = PEOPLE):
    return receive_file(team=person.team, user=person.user, name=name, size_bytes=len(body), blocks=[body])


def work_off(job: Job, tmp_path: Path, name: str = "work") -> Job:
    """What a machine does: fetch, run the program, store."""
    folder = tmp_path / name
    job = run(job, make_node())
    spec = artifacts.build_spec(job.members.get(attempt=job.attempt), folder, resume=False)
    predict(spec, EventWriter(folder / "events.jsonl"), Stop())
    result = json.loads((folder / OUTPUT_FOLDER / "result.json").read_text())
    assert attempts.succeed_job(job=job, attempt=job.attempt, result=result, outputs=artifacts.store_outputs(folder))
    job.refresh_from_db()
    return job


def test_from_the_page_of_a_version_to_the_download(member, version, data, tmp_path):
    page = member.page.get(f"/models/{version.model_id}/versions/1/").content.decode()
    assert f"/jobs/predict/?version={version.pk}" in page
    form = member.page.get(f"/jobs/predict/?version={version.pk}").content.decode()
    assert "Census v1" in form
    sent = {"version": version.pk, "source": "dataset", "dataset_version": data.pk, "split": "test"}
    response = member.page.post("/jobs/predict/", sent | {"class_columns": "on"})
    job = Job.objects.get()
    assert response.status_code == 302 and response["Location"] == f"/jobs/{job.pk}/"
    assert (job.kind, job.name) == ("predict", "Predict Census v1 with People v1")
    assert job.hyperparameters == {"split": "test", "class_columns": True}
    work_off(job, tmp_path)
    page = member.page.get(f"/jobs/{job.pk}/").content.decode()
    assert "Rows answered" in page and "this row has &#x27;x&#x27;" in page and "100.0 %" in page
    file = member.page.get(f"/jobs/{job.pk}/outputs/predictions.csv")
    assert "attachment" in file["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(b"".join(file).decode())))
    assert [(row["age"], row["prediction"]) for row in rows] == [("21", "young"), ("x", "")]
    assert float(rows[0]["probability young"]) > 0.5
    assert "2 rows, 1 with an error" in member.page.get("/jobs/").content.decode()


def test_a_file_that_is_sent_with_the_form(member, version):
    page = member.page.get(f"/jobs/predict/?version={version.pk}").content.decode()
    assert 'id="dropzone"' in page, "without a data set that fits, a file is asked for"
    file = io.BytesIO(PEOPLE)
    file.name = "people.csv"
    response = member.page.post("/jobs/predict/", {"version": version.pk, "source": "file", "files": file})
    job = Job.objects.get()
    assert response.status_code == 302
    assert list(job.inputs) == ["people.csv"] and job.dataset_version is None


@pytest.mark.parametrize("source", ["dataset", "file"])
def test_a_form_with_nothing_chosen_says_so(member, version, data, source):
    response = member.page.post("/jobs/predict/", {"version": version.pk, "source": source})
    assert response.status_code == 422 and not Job.objects.exists()
    assert ("Choose a data set." if source == "dataset" else "Choose a file.") in response.content.decode()


def test_by_rest_with_an_upload(member, version, tmp_path):
    body = {"kind": "predict", "model": "People", "upload": str(send(member).pk), "class_columns": True}
    response = member.api.post("/api/v1/jobs/", body, content_type="application/json")
    assert response.status_code == 201, response.content
    work_off(Job.objects.get(), tmp_path)
    told = member.api.get(f"/api/v1/jobs/{response.json()['id']}/").json()
    assert told["result"]["metrics"]["accuracy"] == 1.0 and told["result"]["errors"] == 1
    assert told["base_model"] == {"id": version.model_id, "name": "People", "version": 1} and told["model"] is None
    assert [file["name"] for file in told["files"]] == ["predictions.csv", "predictions.jsonl"]
    lines = b"".join(member.api.get(f"/api/v1/jobs/{told['id']}/files/predictions.jsonl")).decode().splitlines()
    assert json.loads(lines[0])["prediction"] == "old"
    assert member.api.get(f"/api/v1/jobs/{told['id']}/files/result.json").status_code == 404


def test_nothing_of_another_team_can_be_asked_or_read(member, stranger, version, data, tmp_path):
    upload = send(member)
    job = work_off(submit_prediction(team=member.team, user=member.user, version=version, data=data), tmp_path)
    body = {"kind": "predict", "model": version.model_id, "upload": str(upload.pk)}
    assert stranger.api.post("/api/v1/jobs/", body, content_type="application/json").status_code == 404
    assert stranger.page.get(f"/jobs/predict/?version={version.pk}").status_code == 404
    assert stranger.page.get(f"/jobs/{job.pk}/outputs/predictions.csv").status_code == 404
    assert stranger.api.get(f"/api/v1/jobs/{job.pk}/files/predictions.csv").status_code == 404
    own = register_version(
        team=stranger.team, user=None, model_name="Own", task=version.model.task, meta=version.meta, metrics={},
        lineage={}, files={},
    )  # fmt: skip
    for source in ({"dataset": data.dataset_id}, {"upload": str(upload.pk)}):
        body = {"kind": "predict", "model": own.model_id, **source}
        assert stranger.api.post("/api/v1/jobs/", body, content_type="application/json").status_code == 404


def test_viewers_start_nothing(viewer, version, data):
    sent = {"version": version.pk, "source": "dataset", "dataset_version": data.pk}
    assert viewer.page.post("/jobs/predict/", sent).status_code == 403
    assert "Predict a file" not in viewer.page.get(f"/models/{version.model_id}/versions/1/").content.decode()


def refused(code: str, error=Unprocessable, **choices) -> None:
    with pytest.raises(error) as caught:
        submit_prediction(user=None, **choices)
    assert caught.value.code == code and not Job.objects.exists()


def test_what_does_not_fit_is_refused_before_it_waits(team, member, version, data):
    known = {"team": team, "version": version}
    refused("no_source", **known)
    refused("no_source", **known, data=data, upload=send(member))
    refused("unknown_split", **known, data=data, split="val")
    refused("wrong_kind", **known, upload=send(member, "people.zip"))
    refused("does_not_fit", **known, data=make_version(team, "Images"))
    lacking = make_version(team, "Lacking", kind="table", report={"columns": COLUMNS[1:], "splits": {"train": 1}})
    refused("does_not_fit", **known, data=lacking)
    data.status = "needs_review"
    data.save()
    refused("data_not_ready", Conflict, **known, data=data)


def test_what_was_sent_and_what_came_out_are_kept_and_counted(member, version, tmp_path):
    upload = send(member)
    job = submit_prediction(team=member.team, user=member.user, version=version, upload=upload)
    before = storage_bytes(member.team)
    upload.delete()
    assert upload.sha256 in referenced_blobs() and storage_bytes(member.team) == before
    job = work_off(job, tmp_path)
    assert {blob["sha256"] for blob in job.outputs.values()} <= referenced_blobs()
    assert storage_bytes(member.team) == before + sum(blob["bytes"] for blob in job.outputs.values())


def checkpoint(job: Job, row: int) -> None:
    event = {"path": f"{CHECKPOINT_FOLDER}/rows-{row}", "step": row, "epoch": 0.5}
    assert attempts.record_checkpoint(
        job_id=job.pk, attempt=job.attempt, event=event, files={"manifest.json": Blob("ab" * 32, 5)}
    )


def test_paused_it_says_after_which_row_it_goes_on(member, version, data):
    job = run(submit_prediction(team=member.team, user=member.user, version=version, data=data), make_node())
    checkpoint(job, 1234)
    pause_job(job=job, user=member.user)
    assert attempts.requeue_job(job=job, attempt=job.attempt, message="", is_strike=False)
    job.refresh_from_db()
    assert job.status == "paused"
    assert "it goes on after row 1,234" in member.page.get(f"/jobs/{job.pk}/").content.decode()
    assert resume_job(job=job, user=member.user).status == "queued"


def test_over_it_keeps_no_checkpoints(member, version, data, tmp_path):
    job = submit_prediction(team=member.team, user=member.user, version=version, data=data)
    running = run(job, make_node())
    checkpoint(running, 1)
    cancel_job(job=running, user=member.user)
    assert running.checkpoints.exists()
    assert attempts.end_cancelled(job=running, attempt=running.attempt)
    assert not running.checkpoints.exists()


def test_a_model_that_was_deleted_while_it_waited_ends_it_with_a_sentence(member, version, data, tmp_path):
    job = submit_prediction(team=member.team, user=member.user, version=version, data=data)
    version.delete()
    running = run(job, make_node())
    with pytest.raises(NotFound, match="has been deleted"):
        artifacts.build_spec(running.members.get(), tmp_path / "work", resume=False)


def test_it_can_be_made_again(member, version, tmp_path):
    job = submit_prediction(team=member.team, user=member.user, version=version, upload=send(member))
    response = member.api.post(f"/api/v1/jobs/{job.pk}/clone/", {}, content_type="application/json")
    made = Job.objects.get(pk=response.json()["id"])
    assert response.status_code == 201 and made.inputs == job.inputs and made.hyperparameters == job.hyperparameters
    assert work_off(made, tmp_path).result["rows"] == 3


def test_a_target_list_from_the_form_to_the_download(member, version, data, tmp_path):
    form = member.page.get(f"/jobs/predict/?version={version.pk}&ranked_by=old").content.decode()
    assert '<option value="old" selected>' in form and "How many of them, in per cent" in form
    sent = {"version": version.pk, "source": "dataset", "dataset_version": data.pk, "ranked_by": "old", "top": "50"}
    assert member.page.post("/jobs/predict/", sent).status_code == 302
    job = Job.objects.get()
    assert job.hyperparameters == {"split": "", "class_columns": False, "ranked_by": "old", "top": 50.0}
    work_off(job, tmp_path)
    page = member.page.get(f"/jobs/{job.pk}/").content.decode()
    assert "Target list: old" in page and "Expected lift" in page and "the first 50 % of the rows" in page
    file = member.page.get(f"/jobs/{job.pk}/outputs/targets.csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(file).decode())))
    assert [(row["rank"], row["age"]) for row in rows] == [("1", "55")]
    listed = member.api.get(f"/api/v1/jobs/{job.pk}/").json()["files"]
    assert [item["name"] for item in listed] == ["predictions.csv", "predictions.jsonl", "targets.csv"]


@pytest.mark.parametrize(
    ("wish", "code"),
    [({"ranked_by": "ancient"}, "unknown_ranking"), ({"ranked_by": "old", "top": 0}, "out_of_range"),
     ({"ranked_by": "old", "top": 101}, "out_of_range")],
)  # fmt: skip
def test_a_list_that_cannot_be_made_is_refused(member, version, data, wish, code):
    body = {"kind": "predict", "model": "People", "dataset": "Census", **wish}
    response = member.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    assert (response.status_code, response.json()["error"]["code"]) == (422, code)
    assert not Job.objects.exists()
