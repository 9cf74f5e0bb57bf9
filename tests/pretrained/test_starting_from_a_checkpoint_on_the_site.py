"""Starting from a checkpoint on the site: the form offers the site's folders, a program names one, what cannot be used
is refused before anything starts, and what was used is written down."""

import json
from pathlib import Path

import pytest

from apps.core.storage import sha256_of
from apps.jobs.continuing import clone_job, extend_training
from apps.jobs.lineage import lineage_of
from apps.jobs.models import Checkpoint, Job
from apps.jobs.repeating import repeat_training
from tests.jobs.making import make_node, make_version
from tests.people import Person
from tests.pretrained.making import save_encoder, save_image_encoder
from workers.artifacts import fetch_start
from workers.training.hyperparameters import preset_values

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("pretrained")]

TASK = "text_classification"
COLUMNS = [
    {"name": "message", "type": "text", "unique": 900},
    {"name": "topic", "type": "categorical", "unique": 3},
]
FILES = {"config.json", "model.safetensors", "tokenizer.json", "README.md"}


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("saved") / "tiny-bert")


@pytest.fixture
def root(tmp_path: Path, settings, saved: Path) -> Path:
    """The site's folder of checkpoints, with one that is good and some that are not."""
    settings.LEPTON_CHECKPOINTS = tmp_path / "checkpoints"
    for name in ("tiny-bert", "pickled", "chat", "coded"):
        folder = settings.LEPTON_CHECKPOINTS / name
        folder.mkdir(parents=True)
        for path in saved.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    (settings.LEPTON_CHECKPOINTS / "pickled" / "model.safetensors").rename(
        settings.LEPTON_CHECKPOINTS / "pickled" / "pytorch_model.bin"
    )
    (settings.LEPTON_CHECKPOINTS / "chat" / "config.json").write_text('{"model_type": "llama"}')
    (settings.LEPTON_CHECKPOINTS / "coded" / "config.json").write_text('{"model_type": "bert", "auto_map": {}}')
    (settings.LEPTON_CHECKPOINTS / "outside").symlink_to(saved)
    return settings.LEPTON_CHECKPOINTS


@pytest.fixture
def messages(team):
    report = {
        "columns": COLUMNS,
        "splits": {"train": 800, "val": 100, "test": 100},
        "text": {"column": "message", "median_characters": 40, "longest_characters": 90, "scripts": [["Latin", 1.0]]},
    }
    return make_version(team, "Messages", kind="table", task=TASK, target="topic", report=report)


def open_form(person: Person, version, **query):
    response = person.page.get("/jobs/new/", {"dataset_version": version.pk} | query)
    assert response.status_code == 200
    return response.context["form"], response.content.decode()


def send(person: Person, version, **changes):
    form, _page = open_form(person, version)
    values = {name: form[name].value() or "" for name in form.fields} | {"dataset_version": version.pk}
    return person.page.post("/jobs/new/", values | changes)


def start(person: Person, **settings) -> tuple[int, dict]:
    body = {"kind": "train", "dataset": "Messages", "hyperparameters": settings}
    response = person.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    return response.status_code, response.json()


def test_the_form_offers_what_lies_in_the_sites_folders_and_says_why_not_the_rest(member, messages, root):
    form, page = open_form(member, messages)
    assert [value for value, _label in form.fields["start_from"].widget.choices] == ["", "tiny-bert"]
    assert "tiny-bert: BERT · " in page and "· apache-2.0" in page
    assert "pickled: Its weights are pickled" in page and "&#x27;llama&#x27;" in page


def test_choosing_one_brings_its_settings_and_takes_those_away_that_mean_nothing_then(member, messages, root):
    scratch, _page = open_form(member, messages)
    chosen, page = open_form(member, messages, start_from="tiny-bert", filled_task=TASK, filled_preset="balanced")
    assert "fine_tuning" not in scratch.fields and "embedding_size" in scratch.fields
    assert chosen["fine_tuning"].value() == "lora" and "embedding_size" not in chosen.fields
    assert chosen["learning_rate"].value() == "0.001" and chosen.changed_names == []
    assert '<dd class="text-break">tiny-bert</dd>' in page


def test_a_job_that_the_form_starts_has_the_presets_values_and_the_files_by_their_content(member, messages, root):
    assert send(member, messages, start_from="tiny-bert").status_code == 302
    job = Job.objects.get()
    expected = preset_values(TASK, "balanced", "tiny-bert") | {"text_column": "message"}
    assert job.hyperparameters == expected
    assert set(job.inputs) == FILES
    assert job.inputs["model.safetensors"]["sha256"] == sha256_of(root / "tiny-bert" / "model.safetensors")
    assert lineage_of(job)["start"] == {
        "name": "tiny-bert",
        "files": {name: sha256_of(root / "tiny-bert" / name) for name in FILES},
    }


def test_a_machine_gets_the_files_of_the_day_on_which_the_job_was_handed_in(member, messages, root, tmp_path):
    start(member, start_from="tiny-bert")
    before = (root / "tiny-bert" / "config.json").read_bytes()
    (root / "tiny-bert" / "config.json").write_text("{}")
    folder = fetch_start(Job.objects.get(), tmp_path / "start")
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("pickled", 422, "pickled_weights"),
        ("chat", 422, "unsupported_family"),
        ("coded", 422, "foreign_code"),
        ("unheard-of", 404, "unknown_checkpoint"),
        ("outside", 404, "unknown_checkpoint"),
        ("..", 422, "bad_checkpoint_name"),
        ("../tiny-bert", 422, "bad_checkpoint_name"),
        ("/etc", 422, "bad_checkpoint_name"),
        ("tiny-bert@main", 422, "bad_checkpoint_name"),
        (7, 422, "wrong_type"),
    ],
)
def test_what_nothing_can_start_from_is_refused_before_anything_starts(member, messages, root, name, status, code):
    found, body = start(member, start_from=name)
    assert (found, body["error"]["code"], body["error"]["field"]) == (status, code, "start_from")
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "config", ['{"model_type": ["bert"]}', '{"model_type": {}}', "[]", pytest.param("[" * 100_000, id="deep")]
)
def test_a_damaged_config_of_one_folder_leaves_the_others_to_choose_from(member, messages, root, config):
    (root / "chat" / "config.json").write_text(config)
    _form, page = open_form(member, messages)
    assert "names no model_type" in page and "tiny-bert: BERT" in page
    status, body = start(member, start_from="chat")
    assert (status, body["error"]["code"]) == (422, "damaged_config")


def test_a_refusal_names_the_families_that_can_be_used(member, messages, root):
    _status, body = start(member, start_from="chat")
    assert "DistilBERT" in body["error"]["message"] and "ModernBERT" in body["error"]["message"]


def test_one_that_is_too_large_is_refused_with_both_sizes(member, messages, root, settings):
    settings.LEPTON_MAX_CHECKPOINT_BYTES = 10_000
    status, body = start(member, start_from="tiny-bert")
    assert (status, body["error"]["code"]) == (422, "checkpoint_too_large")


def test_the_form_says_beside_the_field_what_is_wrong(member, messages, root):
    response = send(member, messages, start_hub="not a name/")
    assert response.status_code == 422
    assert "is no checkpoint" in str(response.context["form"].errors["start_hub"])


def test_tasks_that_start_from_nothing_offer_no_checkpoint(member, messages, root):
    form, _page = open_form(member, messages, task="tabular_classification", start_from="tiny-bert")
    assert form.start_fields == [] and form.start_name == ""


def test_the_same_again_and_more_epochs_keep_the_checkpoint(member, messages, root):
    make_node()
    start(member, start_from="tiny-bert", fine_tuning="head")
    job = Job.objects.get()
    again = clone_job(job=job, user=member.user, changes={"hyperparameters": {"epochs": 2}})
    assert again.hyperparameters == job.hyperparameters | {"epochs": 2} and again.inputs == job.inputs
    Checkpoint.objects.create(job=job, attempt=1, path="checkpoints/step-000000009", step=9, epoch=3.0, files={})
    Job.objects.filter(pk=job.pk).update(status=Job.Status.SUCCEEDED)
    job.refresh_from_db()
    more = extend_training(job=job, user=member.user, epochs=2)
    assert more.inputs == job.inputs and more.hyperparameters["start_from"] == "tiny-bert"


def test_the_same_again_starts_from_the_same_files_whatever_lies_in_the_folder_now(member, messages, root):
    make_node()
    start(member, start_from="tiny-bert", fine_tuning="head")
    job = Job.objects.get()
    (root / "tiny-bert" / "README.md").write_text("Another one")
    (repeated,) = repeat_training(job=job, user=member.user, count=1)
    assert repeated.inputs == job.inputs
    (root / "tiny-bert").rename(root / "elsewhere")
    assert clone_job(job=job, user=member.user, changes={}).inputs == job.inputs
    other = clone_job(job=job, user=member.user, changes={"hyperparameters": {"start_from": "elsewhere"}})
    assert other.inputs["README.md"] != job.inputs["README.md"]
    scratch = clone_job(job=job, user=member.user, changes={"hyperparameters": {"start_from": ""}})
    assert not scratch.inputs


def test_a_program_sees_what_it_can_start_from(member, root, saved):
    found = member.api.get("/api/v1/jobs/starts/", {"task": TASK}).json()
    weights = (saved / "model.safetensors").stat().st_size
    assert found == [
        {
            "name": "tiny-bert",
            "family": "bert",
            "label": "BERT",
            "license": "apache-2.0",
            "weight_bytes": weights,
            "told": {},
        }
    ]
    assert member.api.get("/api/v1/jobs/starts/", {"task": "tabular_regression"}).json() == []


def test_images_start_from_encoders_of_images_on_one_device(member, team, root, tmp_path):
    save_image_encoder(root / "tiny-vit")
    make_node(devices=2)
    make_version(team)
    body = {"kind": "train", "dataset": "Digits", "hyperparameters": {"start_from": "tiny-vit"}}

    def ask(**changes):
        response = member.api.post("/api/v1/jobs/", json.dumps(body | changes), content_type="application/json")
        return response.status_code, response.json()

    status, job = ask()
    assert (status, job["hyperparameters"]["fine_tuning"]) == (201, "lora")
    assert ask(devices=2)[1]["error"]["code"] == "too_many_devices"
    assert ask(hyperparameters={"start_from": "tiny-bert"})[1]["error"]["code"] == "no_preprocessor"
