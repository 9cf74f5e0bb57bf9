"""A model is made smaller from a program, against the whole running site; every candidate can be read and kept."""

import pytest

import leptonai
from tests.stack import wait_until

INT8 = [{"method": "quantise"}]
FEWER = [{"method": "prune_channels", "amount": 0.3, "epochs": 1}, *INT8]
WRONG = [{"method": "prune_channels", "amount": 2}]


@pytest.fixture(scope="module")
def job(sdk, trained) -> leptonai.Record:
    """Two recipes, which have been tried."""
    version = trained.model.version
    job = sdk.jobs.compress("three", version=version, limit_points=5, favour="size", recipes=[INT8, FEWER])
    wait_until(lambda: sdk.jobs.candidates(job), seconds=90, what="the original is measured")
    return sdk.jobs.wait(job, timeout=180)


def test_every_candidate_is_measured_beside_the_original(sdk, job, trained):
    original, int8, fewer = sdk.jobs.candidates(job)
    assert [item.number for item in (original, int8, fewer)] == [0, 1, 2]
    assert original.figures.metrics.accuracy == pytest.approx(trained.result.metrics.test.accuracy)
    for item in (int8, fewer):
        assert item.figures.bytes < original.figures.bytes, item.name
        assert item.figures.latency_p50_ms > 0 and item.figures.memory_bytes > 0 and item.node
        low, high = item.figures.interval
        assert low <= item.figures.metrics.accuracy <= high + 1e-9
        lost = 100 * (original.figures.metrics.accuracy - item.figures.metrics.accuracy)
        assert item.verdict in (("within", "no_gain", "over") if lost <= 5 else ("over",))
    assert [step.method for step in fewer.recipe] == ["prune_channels", "quantise"]
    assert fewer.figures.bytes < int8.figures.bytes, "a third of the channels is gone"


def test_the_best_within_the_limit_becomes_a_version(sdk, job, trained):
    assert job.method == "recipe" and job.result.verdict in ("improved", "not_improved")
    chosen = job.result.chosen
    if chosen is None:
        assert job.model is None
        return
    version = sdk.models.version("three", job.model.version)
    assert version.parent == trained.model.version and version.lineage.compression.candidate == chosen
    assert version.metrics.test.accuracy == pytest.approx(job.result.after.metrics.accuracy)
    assert sdk.jobs.candidates(job)[chosen].model == job.model


def test_another_one_is_kept_and_answers(sdk, job, tmp_path):
    other = next(item.number for item in sdk.jobs.candidates(job) if item.number and item.number != job.result.chosen)
    kept = sdk.jobs.keep(job, other)
    assert sdk.jobs.keep(job, other) == kept, "asking again changes nothing"
    paths = sdk.models.download("three", tmp_path, version=kept.model.version)
    assert {path.name for path in paths} >= {"meta.json"} and sum(path.stat().st_size for path in paths) == kept.bytes
    deployment = sdk.deployments.create("three", version=kept.model.version, name="three-kept")
    assert sdk.deployments.wait(deployment, timeout=60).status == "ready"
    sdk.deployments.delete(deployment)


def test_what_is_wrong_is_refused_by_its_place(sdk, job):
    with pytest.raises(leptonai.InvalidRequest) as caught:
        sdk.jobs.compress("three", recipes=[INT8, WRONG])
    assert (caught.value.code, caught.value.field) == ("out_of_range", "recipes.1.0.amount")
    with pytest.raises(leptonai.ConflictError) as caught:
        sdk.jobs.keep(job, 0)
    assert caught.value.code == "is_original"


def test_a_search_finds_recipes_by_itself(sdk, trained):
    settings = {"trials": 2, "seconds": 60}
    job = sdk.jobs.compress("three", version=trained.model.version, limit_points=5, settings=settings)
    job = sdk.jobs.wait(job, timeout=180)
    found = sdk.jobs.candidates(job)
    assert job.method == "search" and 2 <= len(found) <= 3
    assert all(item.recipe for item in found[1:])
