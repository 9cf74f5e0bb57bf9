"""Two trainings become one model from a program, against the whole running site."""

import pytest

import leptonai
from tests.client import QUICK


@pytest.fixture(scope="module")
def longer(sdk, trained) -> leptonai.Record:
    """A training like `trained`, from the same start, under a name of its own."""
    settings = {**QUICK, "epochs": 12}
    job = sdk.jobs.train("Three digits", model_name="three longer", preset="fast", hyperparameters=settings)
    return sdk.jobs.wait(job, timeout=120)


def test_what_is_better_becomes_a_version_that_answers(sdk, trained, longer):
    job = sdk.jobs.fuse([trained.model, ("three longer", 1)], method="ensemble", model_name="three fused")
    assert [part.name for part in job.parts] == [f"three v{trained.model.version}", "three longer v1"]
    job = sdk.jobs.wait(job, timeout=120)
    result = job.result
    tests = [model.test.accuracy for model in result.models]
    assert tests == [pytest.approx(made.result.metrics.test.accuracy) for made in (trained, longer)]
    assert min(tests) - 0.1 < result.fused.test.accuracy <= 1
    if result.verdict == "improved":
        version = sdk.models.version("three fused", job.model.version)
        assert [part.weight for part in version.parts] == [0.5, 0.5] and version.meta.architecture == "ensemble"
    else:
        assert job.model is None and result.reasons


def test_what_cannot_be_fused_is_a_sentence(sdk, trained):
    with pytest.raises(leptonai.InvalidRequest) as caught:
        sdk.jobs.fuse([trained.model])
    assert caught.value.code == "too_few_versions"
