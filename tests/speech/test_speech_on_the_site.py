"""Speech on the site: the page of the data shows what is said, the launch form proposes the task, the result says what
was misheard, and the demo writes down what it hears."""

import json
from collections.abc import Iterator

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from apps.core.storage import put_file
from apps.deployments.models import Deployment
from apps.jobs.models import Job
from apps.jobs.results import read as read_results
from apps.registry.figures import headline
from lepton_site.open_inference import _outputs
from tests.audio.making import encoded
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.processes import serve
from tests.jobs.making import make_version
from tests.people import Person
from tests.preprocessing.uploads import Workplace, zip_bytes
from tests.speech.making import described, say
from tests.training.here import read
from workers.training.hyperparameters import preset_values

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("speech")]

TASK = "speech_recognition"
HTMX = {"HX-Request": "true", "HX-Target": "result"}
TEXTS = [f"{word} number {number}" for number, word in enumerate(["ma", "bo", "ea"] * 7)]


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    return Workplace(tmp_path_factory.mktemp("check")).prepare({"speech.zip": zip_bytes(described(TEXTS))})


@pytest.fixture
def talk(team, checked):
    """A version with the files that its check has left."""
    outputs = {}
    for path in sorted(checked.output.rglob("*.*")):
        blob = put_file(path)
        outputs[str(path.relative_to(checked.output))] = {"sha256": blob.sha256, "bytes": path.stat().st_size}
    return make_version(
        team, "Talk", kind="audio", task=TASK, item_count=21, report=checked.report, outputs=outputs
    )  # fmt: skip


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory, trained) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("replica"), lambda folder: trained / "model")


@pytest.fixture
def scribe(owner: Person, trained, socket_path) -> Deployment:
    return served(owner, store_model(owner, trained / "model", "scribe"), socket_path, "scribe")


def url(deployment: Deployment) -> str:
    return reverse("deployments:demo", args=[deployment.team.slug, deployment.name])


def clip(text: str = "ma bo") -> SimpleUploadedFile:
    return SimpleUploadedFile("clip.wav", encoded(say(text, seed=401)), "audio/wav")


def test_the_page_of_the_data_plays_what_is_said_beside_its_transcript(member, talk):
    page = member.page.get(reverse("datasets:detail", args=[talk.dataset_id])).content.decode()
    said = page.partition("What is said")[2].partition('<div class="card')[0]
    assert said.count("<audio controls") == 12
    assert sum(text in page for text in TEXTS) >= 12 and "Column to predict" not in page
    assert "Speech" in member.page.get(reverse("datasets:list")).content.decode()


def test_a_training_is_started_with_what_the_form_proposes(member, talk):
    form = member.page.get("/jobs/new/", {"dataset_version": talk.pk}).context["form"]
    assert form.task_name == TASK and "task" not in form.fields and "language_model" in form.fields
    values = {name: form[name].value() for name in form.fields} | {"dataset_version": talk.pk}
    assert member.page.post("/jobs/new/", values).status_code == 302
    job = Job.objects.get()
    assert (job.task, job.target, job.hyperparameters) == (TASK, "", preset_values(TASK, "balanced"))


def start(person: Person, **choices) -> tuple[int, dict]:
    body = {"kind": "train", "dataset": "Talk", **choices}
    response = person.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    return response.status_code, response.json()


def test_sentences_cannot_be_told_apart_as_classes_are(member, talk):
    status, body = start(member, task="audio_classification")
    assert (status, body["error"]["code"], body["error"]["field"]) == (422, "unknown_task", "task")
    assert start(member, preset="fast")[1]["task"] == TASK


def test_where_both_can_be_learned_the_form_asks_which(member, talk):
    talk.report = talk.report | {"tasks": ["audio_classification", TASK]}
    talk.task = "audio_classification"
    talk.save()
    response = member.page.get("/jobs/new/", {"dataset_version": talk.pk})
    form, page = response.context["form"], response.content.decode()
    assert form.task_name == "audio_classification" and "Automatic: Audio classification" in page
    form = member.page.get("/jobs/new/", {"dataset_version": talk.pk, "task": TASK}).context["form"]
    assert form.task_name == TASK and "beam_size" in form.fields
    assert start(member, task=TASK)[1]["task"] == TASK


def finished(member: Person, trained, **changes) -> tuple[Job, dict]:
    """A job that ended with what the training left behind."""
    start(member)
    result = read(trained / "result.json") | changes
    outputs = {}
    for item in result["speech_mistakes"]:
        blob = put_file(trained / "model" / "sample.wav")
        outputs[item["audio"]] = {"sha256": blob.sha256, "bytes": 10}
    Job.objects.update(status=Job.Status.SUCCEEDED, result=result, outputs=outputs)
    return Job.objects.get(), result


def test_what_was_misheard_is_shown_word_by_word_and_played(member, talk, trained):
    mistake = {
        "audio": "mistakes/00.wav", "true": "ma bo", "said": "ma <b>", "wrong_words": 1, "confidence": 0.8,
        "parts": [
            {"kind": "equal", "true": "ma", "said": "ma"}, {"kind": "substitute", "true": "bo", "said": "<b>"},
        ],
    }  # fmt: skip
    job, result = finished(member, trained, speech_mistakes=[mistake])
    page = member.page.get(reverse("jobs:detail", args=[job.pk])).content.decode()
    assert "ma <del" in page and ">bo</del>" in page and ">&lt;b&gt;</ins>" in page
    assert "1 wrong word" in page and reverse("jobs:output", args=[job.pk, "mistakes/00.wav"]) in page
    assert "Ways to search for the text" in page and result["usual_transcript"] in page
    assert "Word error rate" in page and "baseline" in page.lower()


def test_a_model_that_is_no_better_than_one_sentence_is_said_to_be_so(trained):
    result = read(trained / "result.json")
    assert not read_results(result, {}).heard.is_beaten
    beaten = result | {"metrics": result["baseline"]}
    assert read_results(beaten, {}).heard.is_beaten
    assert headline(result["metrics"]).name == "wer" and not headline(result["metrics"]).is_higher_better


def test_the_demo_writes_down_a_file_with_and_without_javascript(owner, scribe):
    page = owner.page.post(url(scribe), {"file": clip()})
    assert page.context["outcome"]["text"] == "ma bo"
    told = page.content.decode()
    assert ">ma</span>" in told and 'src="data:audio/wav;base64,' in told and "sure of each character" in told
    part = owner.page.post(url(scribe), {"file": clip("ea")}, headers=HTMX).content.decode()
    assert 'id="result"' in part and "<form" not in part and ">ea</span>" in part


def test_the_demo_says_that_it_heard_no_words(owner, scribe):
    silence = SimpleUploadedFile("clip.wav", encoded(0 * say("ma")), "audio/wav")
    assert "It heard no words." in owner.page.post(url(scribe), {"file": silence}).content.decode()


def test_a_stranger_is_not_told_what_is_said_in_the_teams_recordings(owner, scribe):
    Deployment.objects.update(is_public=True)
    for asked in ({"sample": "1"}, {"explain": "sample"}, {"example": "example-0.wav"}):
        refused = Client().post(url(scribe), asked, headers=HTMX)
        assert refused.status_code in (403, 422) and "outcome" not in refused.context
    assert owner.page.post(url(scribe), {"sample": "1"}, headers=HTMX).context["is_sample"]


def test_a_stranger_may_send_many_short_recordings_or_few_long_ones_in_a_minute(scribe, monkeypatch):
    outcome = {"outcome": {"text": "ma", "confidence": 0.5, "words": []}, "milliseconds": 3.0}
    monkeypatch.setattr("apps.deployments.demos.files.ask", lambda *asked: outcome)
    monkeypatch.setattr("apps.deployments.demos.limits.time.time", lambda: 1_200_000.0)
    Deployment.objects.update(is_public=True)
    long = b"RIFF" + bytes(14 * 2**20)
    statuses = [
        Client().post(url(scribe), {"file": SimpleUploadedFile("long.wav", long, "audio/wav")}).status_code
        for _ in range(3)
    ]
    assert statuses == [200, 200, 429]


def test_the_open_protocol_says_what_comes_back():
    assert [item["name"] for item in _outputs(TASK, [])] == ["text", "confidence"]


def test_the_page_of_the_model_says_that_it_hears_recordings_and_writes(owner, scribe):
    page = owner.page.get(f"/models/{scribe.version.model_id}/versions/1/").content.decode()
    assert "a recording" in page and "8,000 samples a second" in page and "what is said, in writing" in page
    assert "a row with" not in page and "an example from the test data" in page
