"""Translators that start from a checkpoint, on the site: the form asks for what a checkpoint must be told of languages,
and what it does not understand is refused before anything starts."""

import json
from pathlib import Path

import pytest

from apps.jobs.continuing import clone_job
from apps.jobs.models import Job
from tests.jobs.making import make_node, make_version
from tests.people import Person
from tests.pretrained.making import save_encoder
from tests.pretrained.translators import NLLB, save_translator
from workers.contract import TRANSLATION
from workers.training.hyperparameters import preset_values

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("pretrained-translation")]

COLUMNS = [{"name": "english", "type": "text", "unique": 300}, {"name": "german", "type": "text", "unique": 300}]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("site-checkpoints")
    for family in ("marian", NLLB, "t5"):
        save_translator(root / family, family)
    save_encoder(root / "tiny-bert")
    return root


@pytest.fixture(autouse=True)
def root(settings, saved: Path) -> Path:
    settings.LEPTON_CHECKPOINTS = saved
    return saved


@pytest.fixture
def sentences(team):
    report = {"columns": COLUMNS, "splits": {"train": 200, "val": 50, "test": 50},
              "pair": {"source": {"column": "english"}, "target": {"column": "german"}}}  # fmt: skip
    return make_version(team, "Sentences", kind="table", task=TRANSLATION, target="german", report=report)


def open_form(person: Person, version, start: str):
    query = {"dataset_version": version.pk, "start_from": start, "filled_task": TRANSLATION}
    response = person.page.get("/jobs/new/", query | {"filled_preset": "balanced"})
    assert response.status_code == 200
    return response.context["form"]


def submit(person: Person, **settings) -> tuple[int, dict]:
    body = {"kind": "train", "dataset": "Sentences", "hyperparameters": settings}
    response = person.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    return response.status_code, response.json()


def test_the_form_asks_for_what_each_checkpoint_must_be_told(member, sentences):
    nllb = open_form(member, sentences, NLLB)
    codes = [value for value, _label in nllb.fields["target_language"].widget.choices]
    assert codes[0] == "" and {"eng_Latn", "deu_Latn"} <= set(codes) and codes[1:] == sorted(codes[1:])
    assert "source_prefix" not in nllb.fields
    marian = open_form(member, sentences, "marian")
    assert "source_language" not in marian.fields
    assert [value for value, _label in marian.fields["target_language"].widget.choices] == ["", "rev", "toy"]
    t5 = open_form(member, sentences, "t5")
    assert "source_prefix" in t5.fields and "target_language" not in t5.fields
    hub = open_form(member, sentences, "facebook/nllb-200-distilled-600M")
    assert {"source_language", "target_language", "source_prefix"} <= set(hub.fields)
    assert not hasattr(hub.fields["source_language"].widget, "choices")
    scratch = open_form(member, sentences, "")
    assert "target_language" not in scratch.fields and "pieces" in scratch.fields and "pieces" not in t5.fields


def test_a_job_that_the_form_starts_has_what_it_was_told(member, sentences):
    form = open_form(member, sentences, NLLB)
    values = {name: form[name].value() or "" for name in form.fields} | {"dataset_version": sentences.pk}
    response = member.page.post("/jobs/new/", values)
    assert response.status_code == 422
    assert "must be told the source language" in str(response.context["form"].errors["source_language"])
    told = {"source_language": "eng_Latn", "target_language": "deu_Latn"}
    assert member.page.post("/jobs/new/", values | told).status_code == 302
    expected = preset_values(TRANSLATION, "balanced", NLLB) | told | {"source_column": "english"}
    assert Job.objects.get().hyperparameters == expected


@pytest.mark.parametrize(
    ("chosen", "code", "field"),
    [
        ({"start_from": NLLB}, "language_needed", "source_language"),
        ({"start_from": NLLB, "source_language": "eng_Latn", "target_language": "de"}, "unknown_language",
         "target_language"),
        ({"start_from": "t5", "target_language": "de"}, "no_languages", "target_language"),
        ({"start_from": "marian", "source_prefix": "translate:"}, "no_prefix", "source_prefix"),
        ({"start_from": "t5", "source_prefix": "a\nb"}, "wrong_type", "source_prefix"),
        ({"start_from": "tiny-bert"}, "unsupported_family", "start_from"),
    ],
)  # fmt: skip
def test_what_a_checkpoint_does_not_understand_is_refused_before_anything_starts(
    member, sentences, chosen, code, field
):
    status, body = submit(member, **chosen)
    assert (status, body["error"]["code"], body["error"]["field"]) == (422, code, field)
    assert not Job.objects.exists()


def test_a_clone_that_changes_the_language_is_checked_too(member, sentences):
    make_node()
    assert submit(member, start_from="marian", target_language="toy")[0] == 201
    job = Job.objects.get()
    assert clone_job(job=job, user=member.user, changes={"hyperparameters": {"target_language": "rev"}}).inputs
    with pytest.raises(Exception, match="knows no language 'klingon'"):
        clone_job(job=job, user=member.user, changes={"hyperparameters": {"target_language": "klingon"}})


def test_a_program_is_told_the_codes_of_each_checkpoint(member):
    found = {item["name"]: item for item in member.api.get("/api/v1/jobs/starts/", {"task": TRANSLATION}).json()}
    assert set(found) == {"marian", NLLB, "t5"}
    assert found["marian"]["told"] == {"target_language": ["rev", "toy"]} and found["t5"]["told"] == {
        "source_prefix": []
    }
    assert "deu_Latn" in found[NLLB]["told"]["target_language"]
