"""Somebody pauses a training: it gives everything back, rests as long as they like, and goes on where it was."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now

from apps.accounts.models import AuditEvent
from apps.core.errors import Conflict, QuotaExceeded
from apps.core.htmx import STOP_POLLING
from apps.jobs import attempts
from apps.jobs.compressing import submit_compression
from apps.jobs.members import renew_lease
from apps.jobs.models import Job, Member
from apps.jobs.pausing import pause_job, resume_job
from apps.jobs.services import active_jobs, cancel_job, submit_fusion, submit_prepare
from apps.jobs.tasks import tick
from apps.resources.models import Allocation, Budget, Device, Quota, Share, UsageRecord
from apps.resources.nodes import default_pool
from apps.resources.planning import schedule_pool
from tests.jobs.making import make_node, make_version, report, run, submit, succeed

S = Job.Status
POSITION = {
    "type": "progress",
    "fraction": 0.3,
    "message": "Training",
    "epoch": 3,
    "epochs": 10,
    "step": 30,
    "steps": 100,
}


@pytest.fixture
def node(db):
    return make_node(devices=1)


@pytest.fixture
def job(member) -> Job:
    return submit(member.team, member.user)


@pytest.fixture
def running(job, node) -> Job:
    """In its third epoch, with a checkpoint."""
    found = run(job, node)
    report(found, POSITION)
    event = {"path": "checkpoints/step-000000030", "step": 30, "epoch": 3.0}
    assert attempts.record_checkpoint(job_id=found.pk, attempt=1, event=event, files={})
    return found


def stop_as_asked(job: Job) -> Job:
    """What its runner does once the program has left."""
    assert attempts.is_to_stop(job_id=job.pk, attempt=job.attempt)
    assert attempts.leave_attempt(job_id=job.pk, attempt=job.attempt, ending=Member.Ending.STOPPED)
    job.refresh_from_db()
    return job


def pause(job: Job, user) -> Job:
    pause_job(job=job, user=user)
    return stop_as_asked(job)


def page_of(person, job: Job) -> str:
    return person.page.get(f"/jobs/{job.pk}/").content.decode()


def test_a_waiting_job_is_paused_at_once_and_leaves_the_queue(member, job, node):
    paused = pause_job(job=job, user=member.user)
    assert (paused.status, paused.allocation.status) == (S.PAUSED, "released")
    schedule_pool(default_pool())
    assert not Allocation.objects.exclude(status="released").exists()


def test_a_running_job_is_asked_and_rests_once_its_program_has_left(member, running):
    asked = pause_job(job=running, user=member.user)
    assert (asked.status, asked.is_being_paused) == (S.RUNNING, True)
    rests = stop_as_asked(running)
    assert (rests.status, rests.node, rests.pause_requested_at) == (S.PAUSED, None, None)
    assert Device.objects.get().allocation is None
    assert not rests.members.filter(ended_at=None).exists()


def test_its_use_is_charged_up_to_the_pause_and_not_beyond(member, running):
    Allocation.objects.update(granted_at=Now() - timedelta(minutes=30))
    pause(running, member.user)
    record = UsageRecord.objects.get()
    assert (record.job_id, round(record.device_seconds / 60)) == (running.pk, 30)
    tick()
    assert UsageRecord.objects.get() == record


def test_a_paused_job_counts_against_no_quota_of_jobs_or_devices(member, running, node):
    Quota.objects.create(team=member.team, pool=default_pool(), resource="jobs", limit=1)
    pause(running, member.user)
    assert active_jobs(member.team, default_pool()) == 0
    share = Share.objects.get(team=member.team)
    assert (share.held_devices, share.held_jobs) == (0, 0)
    other = run(submit(member.team, member.user, make_version(member.team, "Other")), node)
    with pytest.raises(QuotaExceeded):
        resume_job(job=running, user=member.user)
    cancel_job(job=other, user=member.user)
    attempts.end_cancelled(job=other, attempt=1)
    assert resume_job(job=running, user=member.user).status == S.QUEUED


def test_a_spent_budget_holds_back_the_resume_and_not_the_pause(member, running):
    Budget.objects.create(team=member.team, amount_per_month=0)
    pause(running, member.user)
    with pytest.raises(QuotaExceeded) as caught:
        resume_job(job=running, user=member.user)
    assert caught.value.code == "budget_spent"
    running.refresh_from_db()
    assert running.status == S.PAUSED


def test_resumed_it_queues_behind_what_waits_and_goes_on_from_its_checkpoint(member, running, node):
    Allocation.objects.update(
        granted_at=Now() - timedelta(minutes=30), submitted_at=F("submitted_at") - timedelta(days=9)
    )
    pause(running, member.user)
    other = submit(member.team, member.user, make_version(member.team, "Other"))
    resumed = resume_job(job=running, user=member.user)
    assert resumed.allocation.submitted_at > other.allocation.submitted_at
    assert round(resumed.allocation.attained_seconds / 60) == 30, "what it has run so far counts"
    schedule_pool(default_pool())
    assert attempts.claim_job(job_id=running.pk, node=node) is None
    cancel_job(job=other, user=member.user)
    again = run(running, node)
    assert (again.attempt, again.checkpoints.get().step) == (2, 30)


def test_a_paused_job_can_be_cancelled(member, running):
    pause(running, member.user)
    ended = cancel_job(job=running, user=member.user)
    assert (ended.status, ended.checkpoints.count()) == (S.CANCELLED, 1)
    with pytest.raises(Conflict, match="not paused"):
        resume_job(job=ended, user=member.user)


def test_a_cancel_while_it_is_being_paused_wins(member, running):
    pause_job(job=running, user=member.user)
    cancel_job(job=running, user=member.user)
    assert stop_as_asked(running).status == S.CANCELLED


def test_a_machine_that_is_lost_while_pausing_leaves_it_paused(member, running):
    pause_job(job=running, user=member.user)
    attempts.leave_attempt(job_id=running.pk, attempt=1, ending=Member.Ending.LOST, message="The machine is gone.")
    running.refresh_from_db()
    assert (running.status, running.strikes) == (S.PAUSED, 0)
    assert running.events.last().message == "The machine is gone."


def test_what_succeeds_before_it_is_heard_has_succeeded(member, running, tmp_path):
    pause_job(job=running, user=member.user)
    assert succeed(running, tmp_path).status == S.SUCCEEDED


def test_nothing_that_comes_late_wakes_it(member, running):
    pause(running, member.user)
    assert not attempts.requeue_job(job=running, attempt=1, message="late", is_strike=False)
    assert not renew_lease(job_id=running.pk, attempt=1)
    assert not attempts.finish_attempt(job=running, attempt=1, result={}, outputs={})
    assert not attempts.record_events(job_id=running.pk, attempt=1, events=[POSITION])
    tick()
    running.refresh_from_db()
    assert running.status == S.PAUSED


def test_asking_twice_is_asking_once(member, running):
    for _ in range(2):
        pause_job(job=running, user=member.user)
    assert running.events.filter(message="Asked to pause.").count() == 1
    stop_as_asked(running)
    assert pause_job(job=running, user=member.user).status == S.PAUSED


def test_only_what_writes_checkpoints_and_has_not_ended_can_be_paused(member, running, tmp_path):
    version = make_version(member.team, "New", status="checking")
    check = submit_prepare(version=version)
    done = succeed(running, tmp_path)
    parts = [
        done.output_version,
        succeed(run(submit(member.team, version=done.dataset_version), make_node()), tmp_path).output_version,
    ]
    fusion = submit_fusion(team=member.team, user=member.user, versions=parts, method="ensemble")
    for job, code in ((check, "cannot_pause"), (fusion, "cannot_pause"), (done, "already_ended")):
        with pytest.raises(Conflict) as caught:
            pause_job(job=job, user=member.user)
        assert caught.value.code == code


def test_a_compression_rests_and_goes_on_like_a_training(member, running, tmp_path):
    trained = succeed(running, tmp_path).output_version
    compression = submit_compression(team=member.team, user=member.user, base_version=trained)
    assert pause_job(job=compression, user=member.user).status == S.PAUSED
    assert "This compression is paused." in member.page.get(f"/jobs/{compression.pk}/").content.decode()
    assert resume_job(job=compression, user=member.user).status == S.QUEUED


def test_who_paused_and_resumed_is_on_record(member, running):
    pause(running, member.user)
    resume_job(job=running, user=member.user)
    actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
    assert actions[-2:] == ["job.pause", "job.resume"]
    told = [(event.status, event.message) for event in running.events.all()][-3:]
    assert told == [("", "Asked to pause."), ("paused", ""), ("queued", "Resumed.")]


def test_the_page_pauses_and_resumes_without_javascript(member, running):
    assert f'action="/jobs/{running.pk}/pause/"' in page_of(member, running)
    assert member.page.post(f"/jobs/{running.pk}/pause/").url == f"/jobs/{running.pk}/"
    page = page_of(member, running)
    assert 'data-status="pausing"' in page and "gives its devices back within seconds" in page
    stop_as_asked(running)
    page = page_of(member, running)
    assert "Resumed, it goes on from its checkpoint of epoch 3." in page and "<title>Paused · Train Digits" in page
    assert 'aria-current="step"' in page and 'data-status="paused"' in page
    assert "hx-get" not in page.split('id="curves"')[0].split('id="job-live"')[1], "nothing changes by itself"
    assert f'action="/jobs/{running.pk}/pause/"' not in page
    assert member.page.post(f"/jobs/{running.pk}/resume/").url == f"/jobs/{running.pk}/"
    running.refresh_from_db()
    assert running.status == S.QUEUED


def test_the_live_part_stops_asking_when_it_is_paused(member, running):
    live = {"HX-Request": "true", "HX-Target": "job-live"}
    pause(running, member.user)
    answer = member.page.get(f"/jobs/{running.pk}/", headers=live)
    assert answer.status_code == STOP_POLLING and f'action="/jobs/{running.pk}/resume/"' in answer.content.decode()
    assert member.page.get(f"/jobs/{running.pk}/metrics/").json()["is_resting"]


def test_a_pause_does_not_count_as_time_it_ran(member, running):
    pause(running, member.user)
    hour = timedelta(hours=1)
    Job.objects.update(started_at=Now() - 3 * hour)
    Allocation.objects.update(released_at=Now() - 2 * hour)
    assert "1 h 0 min" in page_of(member, running)
    assert member.page.get("/jobs/").context["page"][0].duration < 1.1 * hour
    cancel_job(job=running, user=member.user)
    assert "1 h 0 min" in page_of(member, running)


def test_it_is_listed_and_filtered_and_shown_at_home(member, running, node):
    pause(running, member.user)
    run(submit(member.team, member.user, make_version(member.team, "Other")), node)
    listed = member.page.get("/jobs/", {"status": "paused"})
    assert [job.pk for job in listed.context["page"]] == [running.pk]
    assert "in epoch 3 of 10" in listed.content.decode()
    home = member.page.get("/").content.decode()
    assert "1 paused" in home and "Train Digits" in home
    found = member.api.get("/api/v1/jobs/", {"status": "paused"}).json()["results"]
    assert [(item["id"], item["status"], item["waiting"]) for item in found] == [(running.pk, "paused", None)]


def test_its_data_cannot_be_deleted_meanwhile(member, running):
    pause(running, member.user)
    answer = member.api.delete(f"/api/v1/datasets/{running.dataset_version.dataset_id}/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "dataset_in_use")


def test_viewers_and_strangers_cannot(viewer, stranger, running):
    for verb in ("pause", "resume"):
        assert viewer.page.post(f"/jobs/{running.pk}/{verb}/").status_code == 403
        assert viewer.api.post(f"/api/v1/jobs/{running.pk}/{verb}/").status_code == 403
        assert stranger.api.post(f"/api/v1/jobs/{running.pk}/{verb}/").status_code == 404
    assert "/pause/" not in page_of(viewer, running)
