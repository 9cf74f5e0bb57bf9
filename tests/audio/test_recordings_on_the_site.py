"""Recordings on the site: the page of the data plays them, the launch form and the demo know them, and only the team
hears what comes out of its data."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from apps.core.storage import put_file
from apps.deployments.models import Deployment
from apps.jobs.models import Job
from apps.jobs.results import read as read_results
from tests.audio.making import PITCHES, encoded, recordings, tone, train_here, write_data
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.processes import serve
from tests.jobs.making import make_version
from tests.preprocessing.uploads import Workplace, zip_bytes
from tests.training.here import read
from workers.training.hyperparameters import preset_values

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("audio")]

TASK = "audio_classification"
HTMX = {"HX-Request": "true", "HX-Target": "result"}


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    return Workplace(tmp_path_factory.mktemp("check")).prepare({"tones.zip": zip_bytes(recordings())})


@pytest.fixture
def tones(team, checked):
    """A version with the files that its check has left."""
    outputs = {}
    for path in sorted(checked.output.rglob("*.*")):
        blob = put_file(path)
        outputs[str(path.relative_to(checked.output))] = {"sha256": blob.sha256, "bytes": path.stat().st_size}
    return make_version(
        team, "Tones", kind="audio", task=TASK, item_count=30, report=checked.report, outputs=outputs
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return train_here(tmp_path_factory.mktemp("work"), write_data(tmp_path_factory.mktemp("data"))) / "model"


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory, trained) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("replica"), lambda folder: trained)


@pytest.fixture
def pitches(owner, trained, socket_path) -> Deployment:
    return served(owner, store_model(owner, trained, "pitches"), socket_path, "pitches")


def url(deployment: Deployment) -> str:
    return reverse("deployments:demo", args=[deployment.team.slug, deployment.name])


def clip(label: str = "high") -> SimpleUploadedFile:
    return SimpleUploadedFile("clip.wav", encoded(tone(PITCHES[label], seed=3)), "audio/wav")


def sound_address(version) -> str:
    sha256 = version.outputs["thumbs/0000.wav"]["sha256"]
    return reverse("datasets:sound", args=[version.dataset_id, 1, sha256])


def test_the_page_of_the_data_plays_each_class(member, tones):
    page = member.page.get(reverse("datasets:detail", args=[tones.dataset_id])).content.decode()
    assert page.count("<audio controls") == 9 and sound_address(tones) in page
    assert "Recordings" in page and "0:12" in page
    answer = member.page.get(sound_address(tones))
    assert answer["Content-Type"] == "audio/wav" and answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Disposition"].startswith("inline")
    assert b"".join(answer.streaming_content)[:4] == b"RIFF"


def test_a_part_of_a_recording_is_sent_to_browsers_that_ask_for_one(member, tones):
    whole = b"".join(member.page.get(sound_address(tones)).streaming_content)
    part = member.page.get(sound_address(tones), headers={"Range": "bytes=4-9"})
    assert (part.status_code, part.content) == (206, whole[4:10])
    assert part["Content-Range"] == f"bytes 4-9/{len(whole)}" and part["Content-Length"] == "6"
    rest = member.page.get(sound_address(tones), headers={"Range": "bytes=40-"})
    assert rest.content == whole[40:]
    for odd in (f"bytes={len(whole)}-", "bytes=9-4", "bytes=0-1,4-5", "lines=1-2"):
        assert member.page.get(sound_address(tones), headers={"Range": odd}).status_code == 200


def test_another_team_hears_nothing(stranger, member, tones):
    assert stranger.page.get(sound_address(tones)).status_code == 404
    picture = tones.outputs["thumbs/0000.png"]["sha256"]
    assert member.page.get(reverse("datasets:sound", args=[tones.dataset_id, 1, picture])).status_code == 404
    whole = tones.outputs["data.zip"]["sha256"]
    assert member.page.get(reverse("datasets:sound", args=[tones.dataset_id, 1, whole])).status_code == 404


def test_a_training_is_started_with_what_the_form_proposes(member, tones):
    response = member.page.get("/jobs/new/", {"dataset_version": tones.pk})
    form = response.context["form"]
    assert form.task_name == TASK and "clip_seconds" in form.fields and "target" not in form.fields
    assert "30 recordings" in member.page.get("/jobs/new/").content.decode()
    values = {name: form[name].value() for name in form.fields} | {"dataset_version": tones.pk}
    assert member.page.post("/jobs/new/", values).status_code == 302
    job = Job.objects.get()
    assert (job.task, job.hyperparameters) == (TASK, preset_values(TASK, "balanced"))


def test_the_demo_answers_a_file_with_and_without_javascript(owner, pitches):
    page = owner.page.post(url(pitches), {"file": clip()})
    assert page.context["outcome"]["class"] == "high"
    assert 'src="data:audio/wav;base64,' in page.content.decode()
    part = owner.page.post(url(pitches), {"file": clip("low")}, headers=HTMX).content.decode()
    assert 'id="result"' in part and "<form" not in part and "low" in part


def test_the_demo_says_what_is_wrong_with_a_file(owner, pitches):
    noise = SimpleUploadedFile("clip.webm", b"\x1aE\xdf\xa3 no sound", "audio/webm")
    refused = owner.page.post(url(pitches), {"file": noise})
    assert refused.status_code == 422 and 'data-code="undecodable_audio"' in refused.content.decode()
    nothing = owner.page.post(url(pitches), {})
    assert nothing.status_code == 422 and "choose a file" in nothing.content.decode()


def test_the_sample_is_played_and_answered(owner, pitches):
    page = owner.page.post(url(pitches), {"sample": "1"})
    assert page.context["outcome"]["class"] in PITCHES and "own sample" in page.content.decode()


def test_only_the_team_hears_recordings_of_its_data(owner, pitches):
    Deployment.objects.update(is_public=True)
    page = owner.page.get(url(pitches)).content.decode()
    assert [f'value="example-{number}.wav"' in page for number in range(3)] == [True] * 3
    found = owner.page.post(url(pitches), {"example": "example-1.wav"}, headers=HTMX)
    assert found.context["outcome"]["class"] == found.context["example"]["label"] == "low"
    assert "data:audio/wav;base64," in found.content.decode()
    for person in (Client(), owner.page):
        assert person.post(url(pitches), {"example": "model.onnx"}).status_code == 422
    assert Client().post(url(pitches), {"example": "example-1.wav"}).status_code == 422
    seen = Client().get(url(pitches)).content.decode() + Client().post(url(pitches), {"sample": "1"}).content.decode()
    assert "example-" not in seen and "data:audio" not in seen and "Try a sample" not in seen
    assert "data:audio" in owner.page.post(url(pitches), {"sample": "1"}).content.decode()
    assert Client().post(url(pitches), {"file": clip()}).context["outcome"]["class"] == "high"


def test_the_page_may_use_a_microphone_but_runs_no_script_of_strangers(owner, pitches):
    answer = owner.page.get(url(pitches))
    policy = answer["Content-Security-Policy"]
    assert "media-src 'self' data: blob:" in policy and "script-src 'self'" in policy
    page = answer.content.decode()
    assert "js/demo_audio" in page and "js/recorder" in page and "<script>" not in page


def test_the_snippets_send_the_sample_as_a_file(owner, pitches):
    page = owner.page.get(reverse("deployments:detail", args=[pitches.pk]))
    assert "--data-binary @sample.wav" in page.context["curl"] and "'sample.wav'" in page.context["python"]
    assert reverse("deployments:sample", args=[pitches.pk]) in page.content.decode()


def test_a_downloaded_model_brings_what_asks_it(owner, pitches):
    version = pitches.version
    answer = owner.page.get(reverse("registry:bundle", args=[version.model_id, version.number]))
    with zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as archive:
        names, about = archive.namelist(), archive.read("README.md").decode()
    assert {"workers/audio.py", "workers/inference/audio_predictor.py", "sample.wav", "parity.json"} <= set(names)
    assert "numpy soundfile onnxruntime" in about and "loudest 0.5 seconds" in about


def test_mistakes_are_played_with_what_was_said_and_what_was_true(db):
    mistake = {"audio": "mistakes/00.wav", "true": "low", "predicted": "high", "probability": 0.93}
    result = {"metrics": {"test": {"accuracy": 0.5}}, "mistakes": [mistake, {**mistake, "audio": "mistakes/01.wav"}]}
    results = read_results(result, outputs={"mistakes/00.wav": {}})
    page = render_to_string("jobs/results.html", {"results": results, "job": Job(pk=7)})
    assert reverse("jobs:output", args=[7, "mistakes/00.wav"]) in page and "mistakes/01.wav" not in page
    assert "said high, true low" in page and "93 %" in page


def test_the_model_says_what_it_hears(trained):
    assert read(trained / "meta.json")["input"] | {"examples": []} == {
        "kind": "audio", "rate": 8_000, "length": 4_000, "frames": 48, "examples": [],
    }  # fmt: skip
