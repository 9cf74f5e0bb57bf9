"""Processes are killed under a running job; it goes on from its newest checkpoint, or ends when it is told to."""

import time
from collections.abc import Callable

import psutil
import pytest

import leptonai
from tests.stack import Stack, wait_until
from workers.launcher import token_of

LONG = {"epochs": 40, "batch_size": 16, "image_size": 16}


def processes(stack: Stack, kind: str) -> list[psutil.Process]:
    """The processes of this site whose token is of `kind`: runner or job."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        is_ours = environment.get("LEPTON_HOME") == str(stack.home)
        if is_ours and f"/{kind}/" in token_of(process):
            found.append(process)
    return found


def await_epoch(sdk: leptonai.Client, job: leptonai.Record, epoch: int) -> None:
    wait_until(
        lambda: sdk.jobs.get(job).progress.get("epoch", 0) >= epoch, seconds=90, what=f"epoch {epoch} of {job.name}"
    )


@pytest.fixture
def job(sdk, dataset) -> leptonai.Record:
    """A training that has reached its third epoch."""
    job = sdk.jobs.train(dataset["id"], model_name="survivor", preset="fast", hyperparameters=LONG)
    await_epoch(sdk, job, 3)
    return job


def kill_program(stack: Stack) -> None:
    for process in processes(stack, "job"):
        process.kill()


def kill_runner(stack: Stack) -> None:
    for process in processes(stack, "runner"):
        if "manage.py" in process.cmdline():
            process.kill()


@pytest.mark.parametrize("kill", [kill_program, kill_runner], ids=["the program", "its runner"])
def test_a_job_goes_on_after_a_kill(sdk, live_stack, job, kill: Callable[[Stack], None]):
    kill(live_stack)
    ended = sdk.jobs.wait(job, timeout=150)
    assert ended.attempt == 2
    steps = [point.step for point in sdk.jobs.metrics(job)["results"] if (point.split, point.name) == ("val", "loss")]
    assert steps == sorted(set(steps)), "no epoch is shown twice"
    assert ended.result.metrics.test.accuracy > 0.8
    wait_until(lambda: processes(live_stack, "job") == [], seconds=20, what="no process of the job is left")


def test_a_cancelled_job_ends_within_seconds_and_leaves_nothing(sdk, live_stack, job):
    asked = time.monotonic()
    sdk.jobs.cancel(job)
    with pytest.raises(leptonai.Failed, match="cancelled"):
        sdk.jobs.wait(job, timeout=30)
    assert time.monotonic() - asked < 30
    wait_until(lambda: processes(live_stack, "job") == [], seconds=20, what="no process of the job is left")
    assert sdk.jobs.get(job).status == "cancelled"
