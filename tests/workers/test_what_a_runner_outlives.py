"""A runner meets a database and a storage that fail it: nothing is written twice, and no job fails for it."""

from collections import Counter
from pathlib import Path

import pytest
from django.db import OperationalError

from apps.jobs import attempts
from apps.jobs.models import Checkpoint, Job, Member, Metric
from tests.jobs.making import make_node, run, store, submit
from workers import agent, artifacts, fence
from workers.contract import EVENTS_FILE, EventWriter
from workers.lease import Lease
from workers.runner import Runner

AWAY = OperationalError("server closed the connection unexpectedly")


@pytest.fixture(autouse=True)
def home(settings, tmp_path: Path) -> Path:
    settings.LEPTON_HOME, settings.LEPTON_STORAGE_URL = tmp_path, f"file://{tmp_path}/storage"
    (tmp_path / "storage").mkdir()
    return tmp_path


@pytest.fixture
def job(member) -> Job:
    return run(submit(member.team, member.user), make_node())


@pytest.fixture
def runner(job: Job, monkeypatch) -> Runner:
    """With a lease that holds, and a work folder."""
    made = Runner(Member.objects.select_related("job__allocation", "node").get(job=job))
    made.folder.mkdir(parents=True)
    made.lease = Lease(made.member, made.folder)
    made.lease._move(sent=fence.now())
    monkeypatch.setattr(made.lease, "tolerate", lambda error: None)  # it closes the connection, which is the test's
    return made


def once_lost(verb, error: Exception):
    """The same verb, whose first answer gets lost on its way back."""
    lost = []

    def call(**values):
        answer = verb(**values)
        if not lost:
            lost.append(answer)
            raise error
        return answer

    return call


def say(runner: Runner, *steps: int) -> None:
    events = EventWriter(runner.folder / EVENTS_FILE)
    for step in steps:
        events.metric("loss", 1 / step, split="train", step=step, epoch=step)


def test_what_was_written_and_not_acknowledged_is_not_written_again(runner, monkeypatch):
    monkeypatch.setattr(attempts, "record_events", once_lost(attempts.record_events, AWAY))
    say(runner, 1, 2)
    runner._apply_events()
    say(runner, 3)
    runner._drain()
    assert list(Metric.objects.order_by("step").values_list("step", flat=True)) == [1, 2, 3]


def test_a_checkpoint_that_could_not_be_written_down_is_tried_again_without_its_events(runner, monkeypatch):
    monkeypatch.setattr(attempts, "record_checkpoint", once_lost(attempts.record_checkpoint, AWAY))
    folder = runner.folder / "checkpoints" / "step-000000001"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    say(runner, 1)
    EventWriter(runner.folder / EVENTS_FILE).checkpoint(folder.relative_to(runner.folder), step=1, epoch=1)
    runner._apply_events()
    runner._apply_events()
    assert Counter(Metric.objects.values_list("step", flat=True)) == {1: 1}
    assert Checkpoint.objects.count() == 1 and not runner.keeper.unstored


@pytest.mark.parametrize("error", [AWAY, OSError(28, "No space left on device")], ids=["the database", "the disk"])
def test_what_fails_a_machine_fails_no_job(runner, monkeypatch, error):
    monkeypatch.setattr(artifacts, "restore_checkpoint", lambda *_: (_ for _ in ()).throw(error))
    outcome = runner._work_and_tidy()
    assert outcome.ending == Member.Ending.LOST and str(error) in outcome.message


def test_a_damaged_checkpoint_is_passed_over_and_can_be_stored_again(job, home):
    for step in (1, 2):
        blob = store(home, f"state-{step}", f"as of step {step}".encode())
        event = {"path": f"checkpoints/step-{step}", "step": step, "epoch": step}
        attempts.record_checkpoint(job_id=job.pk, attempt=1, event=event, files={"state": blob})
    damaged = home / "storage" / "blobs" / blob.sha256[:2] / blob.sha256
    damaged.write_bytes(b"as of step 3")
    assert artifacts.restore_checkpoint(job, home / "work").step == 1
    assert not damaged.exists()
    assert [path.name for path in (home / "work" / "checkpoints").iterdir()] == ["step-1"]


def test_a_storage_that_is_away_is_no_damage(job, home):
    blob = store(home, "state", b"as of step 1")
    event = {"path": "checkpoints/step-1", "step": 1, "epoch": 1}
    attempts.record_checkpoint(job_id=job.pk, attempt=1, event=event, files={"state": blob})
    (home / "storage").rename(home / "unplugged")
    with pytest.raises(artifacts.StorageAway):
        artifacts.restore_checkpoint(job, home / "work")
    with pytest.raises(artifacts.StorageAway):
        artifacts.store_folder(home)
    assert not (home / "storage").exists(), "a folder that is not mounted is not made"


def test_an_agent_gives_up_only_what_was_begun_on_its_own_machine(job):
    member = Member.objects.select_related("node").get(job=job)
    agent.recover_orphans(member.node)
    assert Member.objects.get().ended_at is None, "another machine of this name may have it"
    artifacts.runner_log(member).parent.mkdir(parents=True)
    artifacts.runner_log(member).touch()
    agent.recover_orphans(member.node)
    assert Member.objects.get().ending == Member.Ending.LOST


def test_an_agent_removes_the_folders_of_what_was_killed(job, home):
    left = artifacts.jobs_folder(job.node.name) / f"{job.pk}-1"
    left.mkdir(parents=True)
    (left / "data.zip").touch()
    agent.remove_leftovers(job.node)
    assert not left.exists()
