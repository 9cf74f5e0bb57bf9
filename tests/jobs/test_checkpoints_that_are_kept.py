"""Which checkpoints stay in storage while a job runs and after it, and what its page says of them."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from apps.core import storage
from apps.jobs import attempts
from apps.jobs.continuing import extend_training
from apps.jobs.models import Job, JobLog
from apps.jobs.services import cancel_job
from apps.jobs.sweeping import referenced_blobs, sweep_blobs
from apps.resources.storage_use import storage_bytes
from tests.jobs.making import fail, make_node, run, store, submit, succeed
from workers.artifacts import worth_storing
from workers.contract import CHECKPOINT_FAILED, CHECKPOINT_WRITTEN, MOST_KEPT_CHECKPOINTS

NOW = datetime.now(UTC)


@pytest.fixture
def node(db):
    return make_node()


@pytest.fixture
def job(member, node, settings, tmp_path) -> Job:
    settings.LEPTON_STORAGE_URL = f"file://{tmp_path}/storage"
    return run(submit(member.team, member.user), node)


def event(epoch: float, score: float | None = None, **labels) -> dict:
    step = round(epoch * 10)
    metrics = {} if score is None else {"loss": -score, "accuracy": 0.5}
    return {"path": f"checkpoints/step-{step:09d}", "step": step, "epoch": epoch, "score": score,
            "metrics": metrics, **labels}  # fmt: skip


def keep(job: Job, folder, *events: dict) -> None:
    for told in events:
        body = f"state of {job.pk} after {told['step']}".encode()
        files = {"state.safetensors": store(folder, "state", body)}
        assert attempts.record_checkpoint(job_id=job.pk, attempt=job.attempt, event=told, files=files)


def kept(job: Job) -> dict[float, str]:
    """Epoch -> its labels."""
    names = ("best", "latest", "kept")
    return {
        row.epoch: " ".join(name for name in names if getattr(row, f"is_{name}"))
        for row in job.checkpoints.order_by("id")
    }


SCORES = [event(1, -0.9), event(2, -0.2), event(2.5), event(3, -0.5), event(3.5), event(4, -0.4)]


def test_the_best_the_newest_and_one_to_fall_back_to_stay_while_it_runs(job, tmp_path):
    keep(job, tmp_path, *SCORES)
    assert kept(job) == {2: "best", 3.5: "", 4: "latest"}


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_after_the_end_there_is_no_need_to_fall_back(member, job, tmp_path, end):
    keep(job, tmp_path, *SCORES)
    if end == "succeeded":
        succeed(job, tmp_path)
    elif end == "failed":
        fail(job)
    else:
        cancel_job(job=job, user=member.user)
        attempts.end_cancelled(job=job, attempt=1)
    assert kept(job) == {2: "best", 4: "latest"}


def test_those_that_were_asked_for_stay_up_to_fifty(job, tmp_path):
    count = MOST_KEPT_CHECKPOINTS + 4
    keep(job, tmp_path, *(event(epoch, -1 / epoch, is_kept=True) for epoch in range(1, count + 1)))
    found = kept(job)
    assert len(found) == MOST_KEPT_CHECKPOINTS and min(found) == 5
    assert found[count] == "best latest kept"


def test_what_an_earlier_try_stored_further_on_is_written_again(job, node, tmp_path):
    keep(job, tmp_path, event(1, -0.9), event(2, -0.1), event(2.5))
    attempts.requeue_job(job=job, attempt=1, message="lost", is_strike=True)
    again = run(job, node)
    keep(again, tmp_path, event(2, -0.1), event(2.2))
    assert kept(again) == {2: "best", 2.2: "latest"}


def test_storage_counts_those_that_stay_once_and_the_sweep_takes_the_rest(member, job, tmp_path):
    keep(job, tmp_path, *SCORES)
    size = sum(row.size_bytes for row in job.checkpoints.all())
    assert storage_bytes(member.team) == size
    age(tmp_path, timedelta(days=3))
    assert sweep_blobs(now=NOW) == 3
    fail(job)
    more = extend_training(job=job, user=member.user, epochs=5)
    newest = job.checkpoints.get(is_latest=True)
    assert more.checkpoints.get().files == newest.files
    job.checkpoints.all().delete()
    assert storage_bytes(member.team) == newest.size_bytes, "the extension needs it still"
    assert sweep_blobs(now=NOW) == 2, "the best, and what there was to fall back to"
    assert {file["sha256"] for file in newest.files.values()} <= referenced_blobs()
    storage.open_blob(newest.files["state.safetensors"]["sha256"]).close()


def age(folder, by: timedelta) -> None:
    written = (NOW - by).timestamp()
    for path in (folder / "storage").rglob("*"):
        if path.is_file():
            os.utime(path, (written, written))


def test_the_page_lists_them_with_what_they_are_worth(member, job, tmp_path):
    keep(job, tmp_path, *SCORES)
    page = member.page.get(f"/jobs/{job.pk}/").content.decode()
    table = page.split('id="job-checkpoints"')[1].split("</table>")[0]
    assert [word in table for word in ("best", "newest", "fallback", "within an epoch", "50.0 %", "B")] == [True] * 6
    assert "Go on from here" not in page, "it still runs"
    succeed(job, tmp_path)
    page = member.page.get(f"/jobs/{job.pk}/").content.decode()
    for row in job.checkpoints.all():
        assert f'name="checkpoint" value="{row.pk}"' in page
    assert "fallback" not in page


def test_programs_are_told_of_them_newest_first(member, job, tmp_path):
    keep(job, tmp_path, *SCORES)
    found = member.api.get(f"/api/v1/jobs/{job.pk}/").json()["checkpoints"]
    assert [(item["epoch"], item["is_best"], item["is_latest"]) for item in found] == [
        (4.0, False, True), (3.5, False, False), (2.0, True, False),
    ]  # fmt: skip
    assert found[0]["metrics"] == {"loss": 0.4, "accuracy": 0.5} and found[0]["bytes"] > 0
    assert "checkpoints" not in member.api.get("/api/v1/jobs/").json()["results"][0]


def test_of_several_at_once_the_newest_the_best_and_those_asked_for_are_stored():
    told = [event(1, -0.9, is_kept=True), event(2, -0.1), event(3, -0.5), event(3.5)]
    assert [item["epoch"] for item in worth_storing(told)] == [1, 2, 3.5]
    assert worth_storing([]) == []


def say(job: Job, code: str, message: str = "A checkpoint could not be written.") -> None:
    JobLog.objects.create(job=job, attempt=job.attempt, level="warning", code=code, message=message, at=NOW)


def test_the_page_warns_while_checkpoints_cannot_be_written_and_not_longer(member, job):
    def is_warned() -> bool:
        return 'data-code="checkpoint_failed"' in member.page.get(f"/jobs/{job.pk}/").content.decode()

    assert not is_warned()
    say(job, CHECKPOINT_FAILED)
    assert is_warned()
    say(job, CHECKPOINT_WRITTEN, "Checkpoints can be written again.")
    assert not is_warned()
    say(job, CHECKPOINT_FAILED)
    fail(job)
    assert not is_warned(), "it has ended"
