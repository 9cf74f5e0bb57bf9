"""Recognisers of speech that start from a checkpoint, on the site: the form asks for what one must be told, and what it
does not understand is refused before anything starts."""

import json
from pathlib import Path

import pytest

from apps.jobs.models import Job
from tests.jobs.making import make_version
from tests.people import Person
from tests.pretrained.recognisers import save_recogniser
from tests.pretrained.whispers import save_whisper
from workers.contract import KIND_AUDIO, SPEECH_RECOGNITION
from workers.training.hyperparameters import preset_values

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("pretrained-speech")]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("speech-checkpoints")
    save_recogniser(root / "tiny-wav2vec2")
    save_whisper(root / "tiny-whisper")
    return root


@pytest.fixture(autouse=True)
def root(settings, saved: Path) -> Path:
    settings.LEPTON_CHECKPOINTS = saved
    return saved


@pytest.fixture
def commands(team):
    report = {"splits": {"train": 80, "val": 10, "test": 10}, "duration": {"total": 300.0}}
    return make_version(team, "Commands", kind=KIND_AUDIO, task=SPEECH_RECOGNITION, report=report)


def open_form(person: Person, version, start: str, **values: str):
    query = {"dataset_version": version.pk, "start_from": start, "filled_task": SPEECH_RECOGNITION}
    response = person.page.get("/jobs/new/", query | {"filled_preset": "balanced"} | values)
    assert response.status_code == 200
    return response.context["form"]


def submit(person: Person, **chosen) -> tuple[int, dict]:
    body = {"kind": "train", "dataset": "Commands", "task": SPEECH_RECOGNITION, "hyperparameters": chosen}
    response = person.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    return response.status_code, response.json()


def test_whisper_is_told_the_language_and_others_nothing(member, commands):
    told = open_form(member, commands, "tiny-whisper")
    assert [value for value, _label in told.fields["spoken_language"].widget.choices] == ["", "de", "en"]
    assert "speech_task" in told.fields and "model" not in told.fields and "sample_rate" not in told.fields
    plain = open_form(member, commands, "tiny-wav2vec2")
    assert "spoken_language" not in plain.fields and "speech_task" not in plain.fields
    scratch = open_form(member, commands, "")
    assert "fine_tuning" not in scratch.fields and {"model", "sample_rate"} <= set(scratch.fields)


def test_a_job_that_the_form_starts_has_what_it_was_told(member, commands):
    form = open_form(member, commands, "tiny-whisper")
    values = {name: form[name].value() or "" for name in form.fields} | {"dataset_version": commands.pk}
    response = member.page.post("/jobs/new/", values)
    assert response.status_code == 422
    assert "must be told the spoken language" in str(response.context["form"].errors["spoken_language"])
    assert member.page.post("/jobs/new/", values | {"spoken_language": "en"}).status_code == 302
    job = Job.objects.get()
    expected = preset_values(SPEECH_RECOGNITION, "balanced", "tiny-whisper") | {"spoken_language": "en"}
    assert job.hyperparameters == expected
    assert {"tokenizer.json", "preprocessor_config.json", "generation_config.json"} <= set(job.inputs)


@pytest.mark.parametrize(
    ("chosen", "code", "field"),
    [
        ({"start_from": "tiny-whisper", "spoken_language": "tlh"}, "unknown_language", "spoken_language"),
        ({"start_from": "tiny-wav2vec2", "spoken_language": "en"}, "no_languages", "spoken_language"),
        ({"start_from": "tiny-wav2vec2", "speech_task": "translate"}, "no_languages", "speech_task"),
        ({"start_from": "tiny-whisper", "speech_task": "sing"}, "out_of_range", "speech_task"),
    ],
)
def test_what_a_checkpoint_does_not_understand_is_refused_before_anything_starts(member, commands, chosen, code, field):
    status, body = submit(member, **chosen)
    assert (status, body["error"]["code"], body["error"]["field"]) == (422, code, field)
    assert not Job.objects.exists()
