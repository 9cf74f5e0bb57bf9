"""One job: live while it runs, quiet when it has ended, and every end explained."""

import pytest

from apps.core.htmx import STOP_POLLING
from apps.jobs import attempts
from apps.jobs.models import Checkpoint, Job, Metric
from apps.resources.nodes import default_pool
from apps.resources.planning import schedule_pool
from tests.jobs.making import fail, log, make_node, make_version, metric, report, run, submit, succeed
from tests.people import Person

PARTIAL = {"HX-Request": "true", "HX-Target": "job-live"}


@pytest.fixture
def node(db):
    return make_node()


@pytest.fixture
def job(member) -> Job:
    return submit(member.team, member.user)


def page_of(person: Person, job: Job) -> str:
    response = person.page.get(f"/jobs/{job.pk}/")
    assert response.status_code == 200
    return response.content.decode()


def poll(person: Person, job: Job):
    return person.page.get(f"/jobs/{job.pk}/", headers=PARTIAL)


def new_points(person: Person, job: Job, after: int = 0) -> dict:
    return person.page.get(f"/jobs/{job.pk}/metrics/", {"after": after}).json()


def test_a_waiting_job_says_why_and_its_place(member, job, node):
    run(job, node)
    run(submit(member.team, member.user, make_version(member.team, "Other")), node)
    waiting = submit(member.team, member.user, make_version(member.team, "More"))
    schedule_pool(default_pool())
    page = page_of(member, waiting)
    assert "It asks for 1 device; 0 free at the moment." in page and "Place 1 in the queue." in page


def test_a_running_job_shows_percent_epoch_speed_and_time_left(member, job, node):
    running = run(job, node)
    facts = {"epoch": 3, "epochs": 10, "step": 30, "steps": 100, "samples_per_second": 812.34, "eta_seconds": 75.0}
    report(running, {"type": "progress", "fraction": 0.3, "message": "Training", **facts}, log("epoch 2 is done"))
    page = page_of(member, running)
    for words in ("epoch 3 of 10", "step 30 of 100", "812 examples/s", "1 min 15 s left", "epoch 2 is done"):
        assert words in page
    assert "<title>30 % · Train Digits" in page
    assert 'value="0.3"' in page and 'hx-trigger="every 1500ms"' in page


def test_the_live_part_answers_286_once_the_job_has_ended(member, job, node, tmp_path):
    running = run(job, node)
    answer = poll(member, running)
    assert answer.status_code == 200 and "hx-get" in answer.content.decode()
    succeed(running, tmp_path)
    answer = poll(member, running)
    part = answer.content.decode()
    assert answer.status_code == STOP_POLLING
    assert "hx-get" not in part and "<html" not in part
    assert "<title>Done · Train Digits" in part and "97.5 %" in part and "Confusion matrix" in part
    assert 'id="job-badge" hx-swap-oob="true"' in part


def test_only_the_named_partial_can_be_asked_for(member, job):
    answer = member.page.get(f"/jobs/{job.pk}/", headers={"HX-Request": "true", "HX-Target": "job-log"})
    assert "<html" in answer.content.decode()


def test_metrics_come_in_increments_and_say_when_there_will_be_no_more(member, job, node, tmp_path):
    running = run(job, node)
    report(running, metric("loss", 2.0, "train", 1), metric("loss", float("nan"), "train", 2))
    answer = new_points(member, running)
    assert [point[1:] for point in answer["points"]] == [
        ["loss", "train", 1, 0.1, 2.0],
        ["loss", "train", 2, 0.2, None],
    ]
    assert not answer["is_resting"] and not answer["has_more"]
    last = answer["points"][-1][0]
    report(running, metric("accuracy", 0.5, "val", 10), metric("final_accuracy", 0.6, "test", 10))
    succeed(running, tmp_path)
    answer = new_points(member, running, after=last)
    assert [point[1] for point in answer["points"]] == ["accuracy"] and answer["is_resting"]


def test_many_points_come_in_several_answers(member, job, monkeypatch):
    monkeypatch.setattr("apps.jobs.curves.POINTS_PER_ANSWER", 3)
    Metric.objects.bulk_create(
        Metric(job=job, attempt=1, name="loss", split="train", step=step, epoch=step, value=1) for step in range(5)
    )
    first = new_points(member, job)
    second = new_points(member, job, after=first["points"][-1][0])
    assert (len(first["points"]), first["has_more"]) == (3, True)
    assert (len(second["points"]), second["has_more"]) == (2, False)


def test_results_are_figures_a_matrix_and_the_mistakes_that_were_kept(member, job, node, tmp_path):
    done = succeed(run(job, node), tmp_path)
    page = page_of(member, done)
    assert "97.5 %" in page and "0.081" in page
    assert "<strong>1</strong> taken for <strong>2</strong> once" in page
    assert f"/jobs/{done.pk}/outputs/mistakes/00.png" in page and "mistakes/01.png" not in page
    assert f"/models/{done.output_version.model_id}/versions/1/" in page
    assert "style=" not in page


def test_a_mistake_is_shown_inline_and_nothing_else_is_reachable(member, stranger, job, node, tmp_path):
    done = succeed(run(job, node), tmp_path)
    picture = member.page.get(f"/jobs/{done.pk}/outputs/mistakes/00.png")
    assert picture.status_code == 200
    assert picture["Content-Type"] == "image/png" and picture["X-Content-Type-Options"] == "nosniff"
    assert stranger.page.get(f"/jobs/{done.pk}/outputs/mistakes/00.png").status_code == 404
    for name in ("mistakes/01.png", "../result.json", "mistakes/%2e%2e/x"):
        assert member.page.get(f"/jobs/{done.pk}/outputs/{name}").status_code == 404
    weights = member.page.get(f"/jobs/{done.pk}/outputs/model/model.safetensors")
    assert weights["Content-Disposition"].startswith("attachment")


def test_a_divergence_is_explained_and_mended_with_one_click(member, node):
    job = submit(member.team, member.user, hyperparameters={"learning_rate": 0.003})
    failed = fail(run(job, node), hint="Lower the learning rate.", evidence="loss: nan <script>")
    page = page_of(member, failed)
    assert "Your settings" in page and "Lower the learning rate." in page and "nan &lt;script&gt;" in page
    assert "Train again with learning rate 0.0003" in page
    assert f"/jobs/new/?clone={failed.pk}&amp;learning_rate=0.0003" in page
    assert f'href="/jobs/new/?clone={failed.pk}"' in page and "<title>Failed · Train Digits" in page


def test_what_the_machine_did_is_not_blamed_on_the_user(member, viewer, job, node):
    failed = fail(run(job, node), code="crashed", blame="machine")
    page = page_of(member, failed)
    assert "Our machine" in page and "Nothing you chose caused this." in page
    assert "Train again" not in page_of(viewer, failed)


def test_a_cancel_is_asked_once_and_takes_effect(member, job, node):
    running = run(job, node)
    assert 'popovertarget="cancel-ask"' in page_of(member, running)
    assert member.page.post(f"/jobs/{running.pk}/cancel/").url == f"/jobs/{running.pk}/"
    running.refresh_from_db()
    assert running.cancel_requested_at is not None
    assert "Stopping" in page_of(member, running)
    Checkpoint.objects.create(job=running, attempt=1, path="c", step=30, epoch=3)
    assert attempts.end_cancelled(job=running, attempt=1)
    assert "A checkpoint of epoch 3 (step 30) is kept." in page_of(member, running)


def test_a_viewer_sees_a_job_and_cannot_cancel_it(viewer, job):
    assert "cancel-ask" not in page_of(viewer, job)
    assert viewer.page.post(f"/jobs/{job.pk}/cancel/").status_code == 403
    job.refresh_from_db()
    assert job.status == Job.Status.QUEUED and job.cancel_requested_at is None


def test_nothing_is_changed_by_a_get(member, job):
    assert member.page.get(f"/jobs/{job.pk}/cancel/").status_code == 405


def test_a_foreign_job_is_not_found(stranger, job):
    for path in ("", "metrics/", "outputs/mistakes/00.png"):
        assert stranger.page.get(f"/jobs/{job.pk}/{path}").status_code == 404
    assert stranger.page.post(f"/jobs/{job.pk}/cancel/").status_code == 404
    job.refresh_from_db()
    assert job.status == Job.Status.QUEUED


def test_the_timeline_says_who_when_and_why(member, job, node):
    requeued = run(job, node)
    assert attempts.requeue_job(job=requeued, attempt=1, message="The machine one stopped answering.", is_strike=True)
    response = member.page.get(f"/jobs/{job.pk}/")
    assert [step.state for step in response.context["steps"]] == ["current", "ahead", "ahead", "ahead"]
    events = [(event.status, event.attempt, event.actor) for event in response.context["events"]]
    assert events[0] == ("queued", 0, member.user) and events[-1] == ("queued", 1, None)
    page = page_of(member, run(requeued, node))
    assert "The machine one stopped answering." in page and "attempt 2" in page
    steps = member.page.get(f"/jobs/{job.pk}/").context["steps"]
    assert [step.state for step in steps] == ["done", "done", "current", "ahead"]
