"""A training that has ended is trained for more epochs, and any job can be cloned with some choices changed."""

import pytest

from apps.accounts.models import AuditEvent
from apps.core.errors import Conflict, NotFound, Unprocessable
from apps.jobs import attempts
from apps.jobs.compressing import submit_compression
from apps.jobs.continuing import extend_training
from apps.jobs.features import features_of
from apps.jobs.models import Job
from apps.jobs.services import cancel_job, submit_prepare
from apps.resources.models import Quota
from apps.resources.nodes import default_pool
from tests.jobs.making import fail, make_node, make_table, make_version, metric, report, run, store, submit, succeed

S = Job.Status


@pytest.fixture
def node(db):
    return make_node()


@pytest.fixture
def running(member, node) -> Job:
    version = make_version(member.team, size_bytes=1000)
    return run(submit(member.team, member.user, version, hyperparameters={"epochs": 10, "seed": 7}), node)


def checkpoint(job: Job, folder, step: int, score: float | None = None, **event) -> None:
    files = {"state.safetensors": store(folder, f"{job.pk}-{step}", f"state {step}".encode())}
    told = {"path": f"checkpoints/step-{step:09d}", "step": step, "epoch": step / 10, "score": score, **event}
    assert attempts.record_checkpoint(job_id=job.pk, attempt=job.attempt, event=told, files=files)


@pytest.fixture
def done(running, tmp_path) -> Job:
    """Ten epochs of ten steps; the seventh was the best."""
    for step in range(10, 101, 10):
        report(running, metric("loss", 1 / step, "train", step), metric("loss", 2 / step, "val", step))
    checkpoint(running, tmp_path, 70, -0.2, metrics={"loss": 0.2, "accuracy": 0.9})
    checkpoint(running, tmp_path, 90, -0.3)
    checkpoint(running, tmp_path, 100, -0.4)
    return succeed(running, tmp_path)


def extend(person, job: Job, **choices) -> Job:
    return extend_training(job=job, user=person.user, **{"epochs": 5, **choices})


def page_of(person, job: Job) -> str:
    return person.page.get(f"/jobs/{job.pk}/").content.decode()


def test_five_more_epochs_are_a_new_job_that_goes_on_from_the_newest_checkpoint(member, done):
    more = extend(member, done)
    assert (more.status, more.continues, more.extends_step) == (S.QUEUED, done, 100)
    assert more.hyperparameters == done.hyperparameters | {"epochs": 15}
    assert (more.dataset_version, more.model_name, more.base_version) == (
        done.dataset_version, done.model_name, done.output_version,
    )  # fmt: skip
    handed = more.checkpoints.get()
    assert (handed.step, handed.attempt, handed.files) == (100, 0, done.checkpoints.get(step=100).files)


def test_its_curves_begin_with_the_old_ones(member, done, node):
    more = run(extend(member, done), node)
    report(more, metric("loss", 0.001, "train", 110))
    points = member.page.get(f"/jobs/{more.pk}/metrics/").json()["points"]
    assert [point[3] for point in points if point[2] == "train"] == [*range(10, 101, 10), 110]


def test_the_model_gets_its_next_version_and_the_lineage_says_from_where(member, done, node, tmp_path):
    more = succeed(run(extend(member, done), node), tmp_path)
    made = more.output_version
    assert (made.number, made.parent) == (2, done.output_version)
    assert made.lineage["continues"] == {"job_id": done.pk, "epoch": 10.0, "step": 100}
    assert f'href="/jobs/{done.pk}/"' in page_of(member, more)
    version = member.page.get(f"/models/{made.model_id}/versions/2/").content.decode()
    assert "Trained further from" in version
    assert f'href="/jobs/{more.pk}/"' in page_of(member, done)
    first = member.page.get(f"/models/{made.model_id}/versions/1/").content.decode()
    assert "Being compressed" not in first and "Open the smaller" not in first


def test_another_checkpoint_can_be_chosen(member, done):
    best = done.checkpoints.get(is_best=True)
    more = extend(member, done, checkpoint_id=best.pk, epochs=3)
    assert (more.extends_step, more.hyperparameters["epochs"]) == (70, 10)
    assert max(more.metrics.values_list("step", flat=True)) == 70


@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_one_that_did_not_succeed_goes_on_too_and_ends_its_epoch_first(member, running, tmp_path, end):
    checkpoint(running, tmp_path, 34)
    if end == "failed":
        fail(running)
    else:
        cancel_job(job=running, user=member.user)
        attempts.end_cancelled(job=running, attempt=1)
    running.refresh_from_db()
    assert extend(member, running, epochs=2).hyperparameters["epochs"] == 6
    assert extend(member, running, epochs=2).base_version is None


def test_an_extension_can_be_extended(member, done, node, tmp_path):
    more = run(extend(member, done), node)
    checkpoint(more, tmp_path, 150)
    again = extend(member, succeed(more, tmp_path), epochs=1)
    assert (again.extends_step, again.hyperparameters["epochs"], again.continues) == (150, 16, more)


def test_what_cannot_be_trained_further_is_refused_with_a_sentence(member, done, node, tmp_path, running):
    table = succeed(run(submit(member.team, member.user, make_table(member.team)), node), tmp_path)
    waits = submit(member.team, member.user, make_version(member.team, "Other"))
    bare = fail(run(submit(member.team, member.user, make_version(member.team, "Bare")), node))
    compression = submit_compression(team=member.team, user=member.user, base_version=done.output_version)
    cases = {"cannot_extend": (table, compression), "not_ended": (waits,), "no_checkpoint": (bare,)}
    for code, jobs in cases.items():
        for job in jobs:
            with pytest.raises(Conflict) as caught:
                extend(member, job)
            assert caught.value.code == code and caught.value.message.endswith(".")


def test_data_that_is_gone_is_named(member, done):
    done.dataset_version.dataset.delete()
    done.refresh_from_db()
    with pytest.raises(Conflict) as caught:
        extend(member, done)
    assert caught.value.code == "data_gone"
    assert "/extend/" not in page_of(member, done)


@pytest.mark.parametrize("epochs", [0, -1, 20_000])
def test_a_senseless_number_of_epochs_is_refused(member, done, epochs):
    with pytest.raises(Unprocessable) as caught:
        extend(member, done, epochs=epochs)
    assert caught.value.field == "epochs"


def test_only_its_own_checkpoints_can_be_chosen(member, done, node, tmp_path):
    other = run(submit(member.team, member.user, make_version(member.team, "Other")), node)
    checkpoint(other, tmp_path, 10)
    with pytest.raises(NotFound):
        extend(member, done, checkpoint_id=other.checkpoints.get().pk)


def test_a_quota_that_is_used_up_holds_it_back(member, done):
    Quota.objects.create(team=member.team, pool=default_pool(), resource="jobs", limit=0)
    response = member.api.post(f"/api/v1/jobs/{done.pk}/extend/", {"epochs": 5}, content_type="application/json")
    assert (response.status_code, response.json()["error"]["code"]) == (403, "quota_exceeded")


def test_the_page_offers_five_more_epochs_and_says_what_the_learning_rate_does(member, viewer, done):
    page = page_of(member, done)
    assert 'name="epochs" id="more-epochs" value="5"' in page and "30 % of its peak" in page
    answer = member.page.post(f"/jobs/{done.pk}/extend/", {"epochs": "3"})
    made = Job.objects.latest("pk")
    assert answer.url == f"/jobs/{made.pk}/" and made.hyperparameters["epochs"] == 13
    assert member.page.post(f"/jobs/{done.pk}/extend/", {"epochs": "many"}).status_code == 422
    assert "/extend/" not in page_of(viewer, done)
    assert viewer.page.post(f"/jobs/{done.pk}/extend/", {"epochs": "3"}).status_code == 403


def test_it_is_expected_to_take_as_long_as_what_it_adds(member, done):
    more, whole = extend(member, done, epochs=5), Job.objects.get(pk=clone(member, done)["id"])
    sizes = [features_of(job, 1, job.created_at).data_bytes for job in (more, whole)]
    assert sizes[0] * 2 == sizes[1] > 0


def test_it_is_audited(member, done):
    extend(member, done)
    assert AuditEvent.objects.latest("id").details == {"continues": done.pk, "step": 100, "epochs": 5}


# Clone


def clone(person, job: Job, status: int = 201, **changes) -> dict:
    response = person.api.post(f"/api/v1/jobs/{job.pk}/clone/", changes, content_type="application/json")
    assert response.status_code == status, response.content
    return response.json()


def test_a_clone_has_the_same_choices(member, done):
    made = Job.objects.get(pk=clone(member, done)["id"])
    for name in ("kind", "task", "preset", "hyperparameters", "model_name", "dataset_version"):
        assert getattr(made, name) == getattr(done, name)
    assert made.continues is None


def test_what_is_named_changes_and_a_new_preset_keeps_what_a_person_had_set(member, done):
    made = clone(member, done, hyperparameters={"learning_rate": 0.001}, model_name="other", priority="low")
    assert (made["hyperparameters"]["learning_rate"], made["hyperparameters"]["seed"]) == (0.001, 7)
    assert (made["terms"]["priority"], Job.objects.get(pk=made["id"]).model_name) == ("low", "other")
    made = clone(member, done, preset="accurate")
    assert (made["hyperparameters"]["model"], made["hyperparameters"]["epochs"]) == ("resnet_small", 10)


def test_other_data_can_be_named(member, done):
    newer = make_version(member.team, "Newer")
    assert clone(member, done, dataset="Newer")["dataset_version"] == newer.pk
    assert clone(member, done, status=404, version=9)["error"]["field"] == "version"


def test_a_compression_can_be_cloned_and_a_check_cannot(member, done):
    compression = submit_compression(team=member.team, user=member.user, base_version=done.output_version)
    assert clone(member, compression)["method"] == "search"
    check = submit_prepare(version=make_version(member.team, "New", status="checking"))
    assert clone(member, check, status=409)["error"]["code"] == "cannot_clone"


def test_the_page_opens_the_form_with_the_jobs_choices(member, done):
    assert f'href="/jobs/new/?clone={done.pk}"' in page_of(member, done)
    form = member.page.get("/jobs/new/", {"clone": done.pk}).context["form"]
    assert (form["epochs"].value(), form["seed"].value()) == ("10", "7")


def test_a_member_extends_and_clones_what_an_owner_had_run_with_high_priority(owner, member, done):
    high = {"priority": "high"}
    urgent = Job.objects.get(pk=clone(owner, done, **high)["id"])
    assert clone(member, urgent)["terms"]["priority"] == "normal"
    assert clone(member, urgent, status=403, **high)["error"]["code"] == "priority_not_allowed"


def test_strangers_find_nothing(stranger, done):
    for verb, body in (("clone", {}), ("extend", {"epochs": 5})):
        path = f"/api/v1/jobs/{done.pk}/{verb}/"
        assert stranger.api.post(path, body, content_type="application/json").status_code == 404
