"""Versions are chosen, fused, and kept only where that helped; everybody sees what came of it and of what."""

import pytest

from apps.accounts.models import AuditEvent
from apps.core.errors import Conflict, NotFound, Unprocessable
from apps.jobs import attempts
from apps.jobs.fusing import parts_of
from apps.jobs.models import Job
from apps.jobs.services import submit_fusion
from apps.registry.models import ModelVersion
from apps.registry.services import register_version
from tests.jobs.making import make_node, make_version, run, store
from workers import artifacts
from workers.contract import FUSION_METHODS, HELDOUT_FILE

IMAGE_META = {
    "task": "image_classification",
    "classes": ["1", "2", "3"],
    "input": {"kind": "image", "height": 8, "width": 8, "channels": 1},
    "architecture": "resnet_tiny",
    "architecture_args": {"widths": [8], "blocks": 1, "classes": 3, "dropout": 0.1, "mean": [3.0], "deviation": [1.0]},
}
TABLE_META = {"classes": ["no", "yes"], "target": "income", "encoder": {"columns": [{"name": "age", "center": 3.0}]}}


@pytest.fixture
def data(team):
    return make_version(team)


@pytest.fixture
def make(team, data, tmp_path):
    """Registers a version: ``make(model="Digits", task=..., lineage={...}, files=[...], **meta)``."""

    def register(model="Digits", *, task="image_classification", lineage=None, files=(), **meta) -> ModelVersion:
        known = IMAGE_META if task == "image_classification" else TABLE_META
        base = {"dataset_version_id": data.pk, "content_hash": data.content_hash, "preset": "fast", "target": ""}
        return register_version(
            team=team, user=None, model_name=model, task=task, meta=known | meta, metrics={"test": {"accuracy": 0.9}},
            lineage=base | (lineage or {}), files={name: store(tmp_path, name, name.encode()) for name in files},
        )  # fmt: skip

    return register


@pytest.fixture
def pair(make) -> list[ModelVersion]:
    return [make(), make()]


def fuse(team, versions, method="greedy", **choices) -> Job:
    return submit_fusion(team=team, user=None, versions=versions, method=method, **choices)


def figures(accuracy: float) -> dict:
    return {
        "validation": {"accuracy": accuracy, "log_loss": 0.1},
        "test": {"accuracy": accuracy - 0.02},
        "test_interval": [accuracy - 0.06, accuracy + 0.02],
        "bytes": 318_000,
        "latency_p50_ms": 0.16,
    }


def result_of(job: Job, verdict: str) -> dict:
    share = 1 / len(job.parts)
    models = [{"name": part["name"], "weight": share, **figures(0.9 + 0.01 * n)} for n, part in enumerate(job.parts)]
    return {
        "method": job.method, "models": models, "fused": figures(0.95 if verdict == "improved" else 0.85), "best": 1,
        "verdict": verdict, "reasons": ["Its validation accuracy says so."], "notes": ["Digits v2: other data."],
        "metrics": {"val": {"accuracy": 0.95}, "test": {"accuracy": 0.93}}, "meta": {**IMAGE_META, "fusion": {}},
    }  # fmt: skip


def end(job: Job, verdict: str, folder) -> Job:
    outputs = {"model/model.onnx": store(folder, "model.onnx", b"graph")} if verdict == "improved" else {}
    assert attempts.succeed_job(job=job, attempt=job.attempt, result=result_of(job, verdict), outputs=outputs)
    job.refresh_from_db()
    return job


def test_it_waits_like_any_job_and_is_on_record(team, pair):
    job = fuse(team, pair)
    assert (job.kind, job.status, job.name) == ("fuse", "queued", "Fuse Digits v1, v2")
    assert job.parts == [{"id": version.pk, "name": str(version)} for version in pair]
    assert job.allocation is not None and job.base_version is None
    entry = AuditEvent.objects.get(action="job.fuse")
    assert entry.details == {"versions": ["Digits v1", "Digits v2"], "method": "greedy"}


def test_versions_of_several_models_are_named_together(team, make):
    job = fuse(team, [make(), make("Others"), make()], "ensemble", model_name="Best of all")
    assert (job.name, job.model_name) == ("Fuse Digits v1, v2 + Others v1", "Best of all")


def test_an_improvement_becomes_a_version_that_knows_its_parents(team, pair, member, tmp_path):
    job = end(run(fuse(team, pair), make_node()), "improved", tmp_path)
    made = job.output_version
    assert (made.model.name, made.number, made.parent) == ("Digits", 3, None)
    assert made.lineage["parts"] == [{"id": version.pk, "name": str(version), "weight": 0.5} for version in pair]
    assert made.lineage["method"] == "greedy"
    page = member.page.get(f"/models/{made.model_id}/versions/3/").content.decode()
    for version in pair:
        assert f"/models/{version.model_id}/versions/{version.number}/" in page
    assert "greedy fusion" in page and "50 %" in page
    body = member.api.get(f"/api/v1/models/{made.model_id}/versions/3/").json()
    assert [part["weight"] for part in body["parts"]] == [0.5, 0.5] and body["parent"] is None


def test_what_is_no_improvement_registers_nothing_and_says_so(team, pair, member, tmp_path):
    job = end(run(fuse(team, pair), make_node()), "not_improved", tmp_path)
    assert job.status == "succeeded" and job.output_version is None
    assert ModelVersion.objects.count() == 2
    page = member.page.get(f"/jobs/{job.pk}/").content.decode()
    assert "Not better than the best of them" in page and "Nothing was added to your models" in page
    assert "Its validation accuracy says so." in page and "Digits v2: other data." in page
    assert member.api.get(f"/api/v1/jobs/{job.pk}/").json()["model"] is None
    assert "No better than its parts" in member.page.get("/jobs/").content.decode()


def test_the_page_shows_each_alone_and_fused(team, pair, member, tmp_path):
    job = end(run(fuse(team, pair), make_node()), "improved", tmp_path)
    response = member.page.get(f"/jobs/{job.pk}/")
    rows = response.context["fused"].rows
    assert [(row.name, row.share, row.validation, row.test) for row in rows] == [
        ("Digits v1", "50 %", "90.0 %", "88.0 %"),
        ("Digits v2", "50 %", "91.0 %", "89.0 %"),
        ("Fused", "", "95.0 %", "93.0 %"),
    ]
    assert rows[-1].interval == "89.0 % – 97.0 %"
    assert "better than each of them" in response.content.decode() and "Digits v3" in response.content.decode()


def test_a_deleted_parent_leaves_its_name(team, pair, member, tmp_path):
    job = end(run(fuse(team, pair), make_node()), "improved", tmp_path)
    pair[0].delete()
    for path in (f"/jobs/{job.pk}/", f"/models/{job.output_version.model_id}/versions/3/"):
        page = member.page.get(path).content.decode()
        assert "Digits v1" in page and f"/versions/{pair[0].number}/" not in page


def test_a_version_deleted_while_the_job_waits_ends_it_with_a_sentence(team, pair):
    job = fuse(team, pair)
    pair[1].delete()
    with pytest.raises(NotFound, match="Digits v2 has been deleted"):
        parts_of(job)


def test_the_program_is_given_every_version_and_whose_data_it_knows(team, make, data, tmp_path):
    versions = [make(files=["meta.json"]), make(lineage={"content_hash": "other"}, files=["meta.json"])]
    data.outputs = {name: store(tmp_path, name, b"x").as_dict() for name in ("data.zip", "index.jsonl")}
    data.save()
    job = run(fuse(team, versions, "weighted"), make_node())
    spec = artifacts.build_spec(job.members.get(), tmp_path / "work")
    assert [(model.name, model.is_same_data) for model in spec.models] == [("Digits v1", True), ("Digits v2", False)]
    assert all((tmp_path / "work/models" / str(number) / "meta.json").exists() for number in range(2))
    assert (spec.method, spec.task, spec.device) == ("weighted", "image_classification", "cpu")


def refused(team, versions, method="greedy") -> Unprocessable:
    with pytest.raises(Unprocessable) as caught:
        fuse(team, versions, method)
    assert not Job.objects.exists()
    return caught.value


def test_how_many_and_which_are_chosen(team, pair, make):
    assert refused(team, pair[:1]).code == "too_few_versions"
    assert refused(team, [*pair, pair[0]]).code == "same_version_twice"
    assert refused(team, [make() for _ in range(11)]).code == "too_many_versions"
    error = refused(team, [pair[0], make(compression={"method": "int8"})])
    assert error.code == "compressed_version" and error.field == "versions"
    error = refused(team, pair, "magic")
    assert error.code == "unknown_method" and all(name in error.message for name in FUSION_METHODS)


@pytest.mark.parametrize(
    ("method", "code", "change"),
    [
        ("ensemble", "different_classes", {"classes": ["1", "2", "4"]}),
        ("ensemble", "different_classes", {"classes": ["2", "1", "3"]}),
        ("ensemble", "different_inputs", {"input": {"kind": "image", "height": 16, "width": 16, "channels": 1}}),
        ("ensemble", "different_inputs", {"input": {"kind": "image", "height": 8, "width": 8, "channels": 3}}),
        ("uniform", "different_architectures", {"architecture": "resnet_small"}),
        ("greedy", "different_architectures", {"architecture_args": IMAGE_META["architecture_args"] | {"widths": [9]}}),
    ],
)
def test_images_that_do_not_go_together_are_refused_by_name(team, pair, make, method, code, change):
    error = refused(team, [pair[0], make(**change)], method)
    assert error.code == code and "Digits v3 does not go with Digits v1" in error.message


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("ensemble", {"architecture": "resnet_small"}),
        ("uniform", {"architecture_args": IMAGE_META["architecture_args"] | {"dropout": 0.5, "mean": [9.0]}}),
    ],
)
def test_what_changes_no_shape_is_no_obstacle(team, pair, make, method, change):
    assert fuse(team, [pair[0], make(**change)], method).status == "queued"


def test_another_task_is_refused(team, pair, make):
    assert refused(team, [pair[0], make("Income", task="tabular_classification")], "ensemble").code == "different_tasks"


def test_tables_are_fused_as_an_ensemble_on_the_same_data(team, make):
    def table(files=(HELDOUT_FILE,), **changes) -> ModelVersion:
        return make("Income", task="tabular_classification", files=files, **changes)

    first = table()
    assert refused(team, [first, table()], "uniform").code == "unknown_method"
    assert refused(team, [first, table(lineage={"content_hash": "other"})], "ensemble").code == "different_data"
    assert refused(team, [first, table(lineage={"target": "age"})], "ensemble").code == "different_targets"
    assert refused(team, [first, table(encoder={"columns": []})], "ensemble").code == "different_inputs"
    assert refused(team, [first, table(files=())], "ensemble").code == "no_heldout_answers"
    assert fuse(team, [first, table()], "ensemble").status == "queued"


def test_the_data_that_judges_must_be_there(team, pair, data):
    data.delete()
    with pytest.raises(Conflict) as caught:
        fuse(team, pair)
    assert caught.value.code == "data_gone" and "Digits v1" in caught.value.message


def test_versions_are_chosen_on_the_models_page_and_sent_without_javascript(team, pair, make, member):
    other = make("Others")
    page = member.page.get(f"/models/{pair[0].model_id}/").content.decode()
    assert f'name="version" value="{pair[0].pk}"' in page and 'formaction="/jobs/fuse/"' in page
    response = member.page.get("/jobs/fuse/", {"version": [pair[0].pk, pair[1].pk], "model": pair[0].model_id})
    form = response.context["form"]
    assert {version.pk for version in form.chosen} == {version.pk for version in pair}
    assert other in form.versions and form.method_name == "greedy"
    sent = {"version": [pair[1].pk, other.pk], "method": "ensemble", "model_name": "Digits", "model": pair[0].model_id}
    response = member.page.post("/jobs/fuse/", sent)
    job = Job.objects.get()
    assert response.status_code == 302 and response["Location"] == f"/jobs/{job.pk}/"
    assert [part["id"] for part in job.parts] == [pair[1].pk, other.pk] and job.method == "ensemble"
    assert "Fuse" in member.page.get("/jobs/?kind=fuse").content.decode()


def test_what_is_wrong_is_said_beside_the_choice_and_nothing_chosen_is_lost(team, pair, make, member):
    wide = make(architecture="resnet_small")
    sent = {"version": [pair[0].pk, wide.pk], "method": "uniform", "model_name": "Digits"}
    response = member.page.post("/jobs/fuse/", sent)
    assert response.status_code == 422 and "another architecture" in response.content.decode()
    assert response.context["form"].method_name == "uniform"
    assert {version.pk for version in response.context["form"].chosen} == {pair[0].pk, wide.pk}
    response = member.page.post("/jobs/fuse/", {"model": pair[0].model_id, "method": "greedy", "model_name": "Digits"})
    assert response.status_code == 422 and "Choose from 2" in response.content.decode()


def test_only_what_goes_with_the_first_is_offered(team, pair, make, member):
    make("Letters", classes=["a", "b"])
    make(compression={"method": "int8"})
    form = member.page.get("/jobs/fuse/", {"model": pair[0].model_id}).context["form"]
    assert {version.pk for version in form.versions} == {version.pk for version in pair}


def test_viewers_may_not_and_strangers_find_nothing(team, pair, viewer, stranger):
    sent = {"version": [version.pk for version in pair], "method": "greedy", "model_name": "Digits"}
    assert viewer.page.post("/jobs/fuse/", sent).status_code == 403
    assert "/jobs/fuse/" not in viewer.page.get(f"/models/{pair[0].model_id}/").content.decode()
    assert stranger.page.post("/jobs/fuse/", sent).status_code == 404
    assert stranger.page.get("/jobs/fuse/", {"model": pair[0].model_id}).status_code == 404
    body = {"kind": "fuse", "versions": [{"model": pair[0].model_id, "version": 1}], "method": "greedy"}
    assert stranger.api.post("/api/v1/jobs/", body, content_type="application/json").status_code == 404
    assert not Job.objects.exists()


def test_another_teams_version_among_ones_own_is_no_choice(team, pair, member, stranger, make):
    foreign = register_version(
        team=stranger.team, user=None, model_name="Theirs", task="image_classification", meta=IMAGE_META, metrics={},
        lineage=pair[0].lineage, files={},
    )  # fmt: skip
    sent = {"version": [pair[0].pk, foreign.pk], "method": "ensemble", "model_name": "Digits"}
    response = member.page.post("/jobs/fuse/", sent)
    assert response.status_code == 422 and "Theirs" not in response.content.decode()
    assert not Job.objects.exists()


def test_programs_name_versions_by_model_and_number(team, pair, make, member):
    make(compression={"method": "int8"})

    def post(**body):
        return member.api.post("/api/v1/jobs/", {"kind": "fuse", **body}, content_type="application/json")

    response = post(versions=[{"model": "Digits", "version": 1}, {"model": pair[0].model_id}])
    assert response.status_code == 201, response.content
    body = response.json()
    assert (body["kind"], body["method"]) == ("fuse", "greedy")
    assert [part["name"] for part in body["parts"]] == ["Digits v1", "Digits v2"], "the newest that is not compressed"
    assert post().json()["error"]["field"] == "versions"
    assert post(versions=[{"model": "Digits", "version": 9}]).status_code == 404
    assert post(versions=[{"model": "Nothing"}]).json()["error"]["field"] == "model"
    one = post(versions=[{"model": "Digits"}]).json()["error"]
    assert (one["code"], one["field"]) == ("too_few_versions", "versions")
