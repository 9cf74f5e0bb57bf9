"""Storage that takes no more while a training runs ends nothing: the log says so, and what waits is stored later."""

from pathlib import Path

import pytest

from apps.jobs.models import Job
from tests.jobs.making import make_node, run, submit
from tests.training.disks import files_up_to
from workers import artifacts
from workers.contract import CHECKPOINT_FAILED, CHECKPOINT_WRITTEN, EVENTS_FILE, EventWriter
from workers.runner import Runner


@pytest.fixture
def job(member, settings, tmp_path) -> Job:
    settings.LEPTON_HOME = tmp_path / "home"
    settings.LEPTON_STORAGE_URL = f"file://{tmp_path}/storage"
    (tmp_path / "storage").mkdir()
    return run(submit(member.team, member.user), make_node())


@pytest.fixture
def runner(job) -> Runner:
    return Runner(job.members.select_related("node", "job__node", "job__allocation").get())


def write_checkpoint(runner: Runner, step: int) -> None:
    """As the program does; its files are larger than the storage takes in the tests."""
    path = Path(f"checkpoints/step-{step:09d}")
    (runner.folder / path).mkdir(parents=True)
    for name in ("state.safetensors", artifacts.WHOLE_MANIFEST):
        (runner.folder / path / name).write_bytes(f"{step} {name}".encode() * 20_000)
    EventWriter(runner.folder / EVENTS_FILE).checkpoint(path, step=step, epoch=step / 10)


def told(job: Job) -> list[tuple[str, str]]:
    return list(job.log_lines.values_list("code", "level"))


def test_training_goes_on_and_the_checkpoint_is_stored_once_there_is_room(member, job, runner):
    write_checkpoint(runner, 10)
    runner._apply_events()
    assert job.checkpoints.get().step == 10
    write_checkpoint(runner, 20)
    with files_up_to(100_000):
        for _look in range(3):
            runner._apply_events()
        page = member.page.get(f"/jobs/{job.pk}/").content.decode()
    assert told(job) == [(CHECKPOINT_FAILED, "warning")]
    assert 'data-code="checkpoint_failed"' in page and "Training goes on" in page
    assert job.checkpoints.get().step == 10, "the last one is there still"
    runner._apply_events()
    assert told(job)[1:] == [(CHECKPOINT_WRITTEN, "info")]
    assert job.checkpoints.get(is_latest=True).step == 20
    assert Job.objects.get(pk=job.pk).status == Job.Status.RUNNING
