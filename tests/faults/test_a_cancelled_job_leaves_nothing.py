"""A job that is told to stop ends within seconds, with all its processes."""

import time

import psutil
import pytest

import leptonai
from tests.stack import Stack, wait_until
from workers.launcher import token_of

LONG = {"epochs": 40, "batch_size": 16, "image_size": 16}


def programs(stack: Stack) -> list[psutil.Process]:
    """The processes of this site's jobs."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if environment.get("LEPTON_HOME") == str(stack.home) and "/job/" in token_of(process):
            found.append(process)
    return found


def test_a_cancelled_job_ends_within_seconds_and_leaves_nothing(sdk, live_stack, dataset):
    job = sdk.jobs.train(dataset["id"], model_name="survivor", preset="fast", hyperparameters=LONG)
    wait_until(lambda: sdk.jobs.get(job).progress.get("epoch", 0) >= 3, seconds=90, what="the third epoch")
    assert programs(live_stack)
    asked = time.monotonic()
    sdk.jobs.cancel(job)
    with pytest.raises(leptonai.Failed, match="cancelled"):
        sdk.jobs.wait(job, timeout=30)
    assert time.monotonic() - asked < 30
    wait_until(lambda: programs(live_stack) == [], seconds=20, what="no process of the job is left")
    assert sdk.jobs.get(job).status == "cancelled"
