"""From a program, against the whole running site: a training is paused and goes on, and later is trained further."""

import pytest

import leptonai
from tests.stack import wait_until

LONG = {"epochs": 20, "batch_size": 16, "image_size": 16, "checkpoint_every": 10}
WAIT_SECONDS = 300


def points(sdk: leptonai.Client, job: leptonai.Record, split: str) -> dict[tuple[str, int], float]:
    """Every point of the curves of `split`, by name and step; no step may be there twice."""
    found: list[leptonai.Record] = []
    while page := sdk.jobs.metrics(job, after=found[-1].id if found else 0)["results"]:
        found += page
    found = [point for point in found if point.split == split]
    curves = {(point.name, point.step): point.value for point in found}
    assert len(curves) == len(found)
    return curves


@pytest.fixture(scope="module")
def undisturbed(sdk, dataset) -> leptonai.Record:
    job = sdk.jobs.train(dataset["id"], model_name="calm", preset="fast", hyperparameters=LONG)
    return sdk.jobs.wait(job, timeout=WAIT_SECONDS)


def test_a_paused_training_gives_its_device_away_and_ends_as_if_nothing_had_been(sdk, undisturbed):
    job = sdk.jobs.clone(undisturbed, model_name="paused")
    wait_until(lambda: sdk.jobs.get(job).progress.get("epoch", 0) >= 3, seconds=90, what="its third epoch")
    assert sdk.jobs.pause(job).pause_requested_at
    wait_until(lambda: sdk.jobs.get(job).status == "paused", seconds=40, what="it is paused")
    resting = sdk.jobs.get(job)
    assert 2 <= resting.checkpoints[0].epoch < LONG["epochs"] and resting.checkpoints[0].is_latest
    assert resting.waiting is None
    other = sdk.jobs.clone(undisturbed, model_name="between", hyperparameters={"epochs": 1})
    sdk.jobs.wait(other, timeout=WAIT_SECONDS)
    assert sdk.jobs.get(job).status == "paused"

    assert sdk.jobs.resume(job).status == "queued"
    ended = sdk.jobs.wait(job, timeout=WAIT_SECONDS)
    assert ended.attempt == 2
    assert ended.result.metrics == undisturbed.result.metrics
    assert ended.result.history == undisturbed.result.history
    for split in ("train", "val"):
        assert points(sdk, ended, split) == points(sdk, undisturbed, split)


def test_an_ended_training_is_trained_further_and_gets_no_worse(sdk, undisturbed):
    kept = sdk.jobs.get(undisturbed).checkpoints
    assert {10.0, 20.0} <= {checkpoint.epoch for checkpoint in kept if checkpoint.is_kept}
    more = sdk.jobs.wait(sdk.jobs.extend(undisturbed, epochs=2), timeout=WAIT_SECONDS)
    assert (more.continues, more.result.epochs) == (undisturbed.id, 22)
    assert more.result.history[:20] == undisturbed.result.history
    best = min(row["val_loss"] for row in more.result.history)
    assert best <= min(row["val_loss"] for row in undisturbed.result.history)
    assert more.model.version == undisturbed.model.version + 1
    new = {step for _name, step in points(sdk, more, "train")} - {step for _, step in points(sdk, undisturbed, "train")}
    assert min(new) == undisturbed.result.steps + 1
    lineage = sdk.models.version("calm", more.model.version).lineage
    assert lineage["continues"]["job_id"] == undisturbed.id


def test_what_cannot_be_is_refused_with_a_code(sdk, undisturbed):
    for verb, code in ((sdk.jobs.pause, "already_ended"), (sdk.jobs.resume, "not_paused")):
        with pytest.raises(leptonai.ConflictError) as caught:
            verb(undisturbed)
        assert caught.value.code == code
