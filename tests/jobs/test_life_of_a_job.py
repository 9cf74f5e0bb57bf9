"""A job's states, its fencing token and its lease."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from apps.accounts.models import Team, User
from apps.core.errors import Conflict, QuotaExceeded, Unprocessable
from apps.core.outages import is_steady, note_tick
from apps.core.storage import put_file
from apps.datasets.models import Dataset, DatasetVersion
from apps.jobs import attempts
from apps.jobs.members import renew_lease
from apps.jobs.models import Job, Member, Metric
from apps.jobs.services import cancel_job, move_job, submit_prepare, submit_training
from apps.jobs.tasks import tick
from apps.resources.models import Device, Quota
from apps.resources.nodes import default_pool, register_node
from apps.resources.planning import schedule_pool
from tests.jobs.making import reap

pytestmark = pytest.mark.django_db

FAILURE = {"code": "diverged", "message": "The loss is NaN.", "hint": "", "blame": "settings", "evidence": ""}


@pytest.fixture
def node():
    cpu = {"kind": "cpu", "index": 0, "name": "CPU", "memory_bytes": 10**9}
    facts = {"cpu_count": 2, "memory_bytes": 16 * 10**9, "storage_free_bytes": 10**9, "devices": [cpu]}
    return register_node(name="one", facts=facts)


@pytest.fixture
def team() -> Team:
    return Team.objects.create(name="Birds", slug="birds")


@pytest.fixture
def user(team) -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def version(team, user) -> DatasetVersion:
    dataset = Dataset.objects.create(team=team, name="Digits", created_by=user)
    return DatasetVersion.objects.create(
        dataset=dataset,
        number=1,
        status=DatasetVersion.Status.READY,
        kind="image_folder",
        task="image_classification",
        content_hash="ab" * 32,
    )


@pytest.fixture
def job(team, user, version, node) -> Job:
    return submit_training(team=team, user=user, version=version)


def start(job: Job, node) -> Job:
    schedule_pool(default_pool())
    return attempts.claim_job(job_id=job.pk, node=node)


def test_a_job_is_claimed_once(job, node):
    assert start(job, node).attempt == 1
    assert attempts.claim_job(job_id=job.pk, node=node) is None


def test_a_job_that_was_not_granted_cannot_be_claimed(job, node):
    assert attempts.claim_job(job_id=job.pk, node=node) is None


def test_states_only_move_along_their_arrows(job):
    assert not move_job(job=job, to=Job.Status.SUCCEEDED)
    assert not move_job(job=job, to=Job.Status.RUNNING)
    job.refresh_from_db()
    assert job.status == Job.Status.QUEUED


def test_success_registers_a_version_with_its_lineage_and_frees_the_device(job, node, tmp_path, version):
    running = start(job, node)
    attempts.mark_running(job=running, attempt=1)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    result = {"metrics": {"test": {"accuracy": 0.98}}, "meta": {"task": "image_classification"}}
    outputs = {"model/model.safetensors": put_file(weights)}
    assert attempts.succeed_job(job=running, attempt=1, result=result, outputs=outputs)
    running.refresh_from_db()
    model = running.output_version
    assert (model.number, model.metrics["test"]["accuracy"], model.size_bytes) == (1, 0.98, 7)
    assert model.lineage["content_hash"] == version.content_hash
    assert model.lineage["seed"] == running.hyperparameters["seed"]
    assert Device.objects.get().allocation is None


def test_an_attempt_that_was_given_up_changes_nothing(job, node):
    lost = start(job, node)
    attempts.requeue_job(job=lost, attempt=1, message="gone", is_strike=True)
    schedule_pool(default_pool())
    assert attempts.claim_job(job_id=job.pk, node=node).attempt == 2
    point = {"type": "metric", "name": "loss", "split": "train", "step": 1, "epoch": 0.1, "value": 1.0}
    assert not attempts.record_events(job_id=job.pk, attempt=1, events=[point])
    assert not renew_lease(job_id=job.pk, attempt=1)
    stale = Job.objects.get(pk=job.pk)
    assert not attempts.succeed_job(job=stale, attempt=1, result={}, outputs={})
    assert not attempts.fail_job(job=stale, attempt=1, failure=FAILURE)
    assert not Metric.objects.exists()
    assert Job.objects.get(pk=job.pk).status == Job.Status.STARTING


def test_a_lease_that_has_run_out_puts_the_job_back_in_the_queue(job, node):
    start(job, node)
    assert reap() == 0
    Member.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
    assert reap() == 1
    job.refresh_from_db()
    assert (job.status, job.strikes, job.node) == (Job.Status.QUEUED, 1, None)
    assert Device.objects.get().allocation is None
    assert start(job, node).attempt == 2


def test_three_restarts_without_a_newer_checkpoint_fail_the_job(job, node):
    for attempt in (1, 2, 3):
        running = start(job, node)
        attempts.requeue_job(job=running, attempt=attempt, message="killed", is_strike=True)
    job.refresh_from_db()
    assert job.status == Job.Status.FAILED
    assert (job.failure["code"], job.failure["blame"]) == ("too_many_restarts", "machine")


def test_restarts_that_get_further_are_not_held_against_the_job(job, node):
    for attempt in range(1, 6):
        running = start(job, node)
        event = {"path": f"checkpoints/{attempt}", "step": attempt, "epoch": attempt}
        attempts.record_checkpoint(job_id=job.pk, attempt=attempt, event=event, files={})
        attempts.requeue_job(job=running, attempt=attempt, message="killed", is_strike=True)
    job.refresh_from_db()
    assert job.status == Job.Status.QUEUED


def test_what_is_measured_again_after_a_restart_takes_the_place_of_what_was(job, node):
    def say(attempt: int, split: str, value: float) -> None:
        event = {"type": "metric", "name": "loss", "split": split, "step": 48, "epoch": 4.0, "value": value}
        assert attempts.record_events(job_id=job.pk, attempt=attempt, events=[event])

    running = start(job, node)
    say(1, "train", 0.5)
    say(1, "val", 0.4)
    attempts.requeue_job(job=running, attempt=1, message="killed", is_strike=True)
    start(job, node)
    say(2, "val", 0.4)
    points = job.metrics.order_by("split").values_list("split", "attempt")
    assert list(points) == [("train", 1), ("val", 2)]


def test_a_waiting_job_is_cancelled_at_once(job, user):
    cancelled = cancel_job(job=job, user=user)
    assert (cancelled.status, cancelled.allocation.status) == (Job.Status.CANCELLED, "released")


def test_a_running_job_is_asked_to_stop_and_ends_by_its_runner(job, node, user):
    running = start(job, node)
    assert cancel_job(job=running, user=user).status == Job.Status.STARTING
    assert attempts.is_cancel_requested(job_id=job.pk, attempt=1)
    assert attempts.end_cancelled(job=running, attempt=1)
    with pytest.raises(Conflict, match="ended already"):
        cancel_job(job=running, user=user)


def test_a_job_that_went_back_to_the_queue_can_be_cancelled(job, node, user):
    attempts.requeue_job(job=start(job, node), attempt=1, message="gone", is_strike=False)
    assert cancel_job(job=job, user=user).status == Job.Status.CANCELLED


def test_a_lost_job_that_was_cancelled_does_not_come_back(job, node, user):
    cancel_job(job=start(job, node), user=user)
    Member.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
    reap()
    job.refresh_from_db()
    assert job.status == Job.Status.CANCELLED


def test_leases_are_judged_only_after_a_whole_lease_of_ticks_without_a_gap():
    assert not note_tick(now=1000)
    for second in range(1005, 1060, 5):
        assert not note_tick(now=second)
    assert note_tick(now=1060)
    assert is_steady(now=1062) and not is_steady(now=1100)
    assert not note_tick(now=1200), "a gap in the ticks starts the wait anew"
    assert not is_steady(now=1201)


@pytest.mark.parametrize(
    ("choice", "code", "field"),
    [
        ({"task": "translation"}, "unknown_task", "task"),
        ({"hyperparameters": {"learning_rate": 50}}, "out_of_range", "learning_rate"),
        ({"hyperparameters": {"magic": 1}}, "unknown_hyperparameter", "magic"),
        ({"preset": "best"}, "unknown_preset", "preset"),
    ],
)
def test_a_bad_choice_is_refused_and_named(team, user, version, choice, code, field):
    with pytest.raises(Unprocessable) as caught:
        submit_training(team=team, user=user, version=version, **choice)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert not Job.objects.exists()


def test_data_that_is_not_ready_cannot_be_trained_on(team, user, version):
    DatasetVersion.objects.update(status=DatasetVersion.Status.NEEDS_REVIEW)
    version.refresh_from_db()
    with pytest.raises(Conflict) as caught:
        submit_training(team=team, user=user, version=version)
    assert caught.value.code == "data_not_ready"


def test_a_quota_of_jobs_is_refused_with_its_numbers(team, user, version, job):
    Quota.objects.create(team=team, pool=default_pool(), resource="jobs", limit=1)
    with pytest.raises(QuotaExceeded) as caught:
        submit_training(team=team, user=user, version=version)
    assert caught.value.details == {"limit": 1, "in_use": 1}


def test_checking_a_version_twice_gives_one_job(version):
    DatasetVersion.objects.update(status=DatasetVersion.Status.CHECKING)
    assert submit_prepare(version=version) == submit_prepare(version=version)


def test_a_failed_check_rejects_the_version_with_the_reason(version, node):
    DatasetVersion.objects.update(status=DatasetVersion.Status.CHECKING)
    running = start(submit_prepare(version=version), node)
    failure = {"code": "one_class", "message": "Found one class.", "hint": "Add another.", "blame": "data"}
    attempts.fail_job(job=running, attempt=1, failure=failure)
    version.refresh_from_db()
    assert (version.status, version.error_code) == (DatasetVersion.Status.REJECTED, "one_class")


def test_a_team_at_its_limit_holds_up_nobody_elses_data(team, version, job):
    Quota.objects.create(team=team, pool=default_pool(), resource="jobs", limit=1)
    other = Team.objects.create(name="Fish", slug="fish")
    for owner in (team, other):
        DatasetVersion.objects.create(dataset=Dataset.objects.create(team=owner, name="New"), number=1)
    tick()
    assert not Job.objects.filter(team=team, kind=Job.Kind.PREPARE).exists()
    assert Job.objects.filter(team=other, kind=Job.Kind.PREPARE).exists()
    job.refresh_from_db()
    assert job.allocation.status == "granted"
