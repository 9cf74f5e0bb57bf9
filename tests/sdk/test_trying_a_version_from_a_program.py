"""A program tries a version on part of a running site's traffic, looks at the figures, promotes it, and goes back."""

from collections import Counter

import pytest

import leptonai
from tests.client import QUICK
from tests.site_helpers import digits
from tests.stack import wait_until


@pytest.fixture(scope="module")
def served(sdk: leptonai.Client, dataset: leptonai.Record, trained: leptonai.Record) -> leptonai.Record:
    """Version 1 of "three" serves, and there is a version 2."""
    again = sdk.jobs.train(dataset["id"], model_name="three", preset="fast", hyperparameters=QUICK | {"seed": 5})
    sdk.jobs.wait(again, timeout=180)
    record = sdk.deployments.create("three", version=1, name="three-tried")
    return sdk.deployments.wait(record, timeout=120)


def shares(record: leptonai.Record) -> dict[int, int]:
    return {item["version"]: item["weight"] for item in record["traffic"]}


def test_a_trial_from_its_start_to_its_end(sdk, served):
    name = served["name"]
    assert shares(sdk.deployments.try_version(name, 2, weight=40)) == {1: 60, 2: 40}
    wait_until(lambda: sdk.deployments.get(name)["traffic"][1]["ready"], seconds=60, what="version 2 is ready")
    model = sdk.load_model(name)

    def answered() -> Counter:
        model.predict(digits("7", 80)["digits/7/0007.png"])
        figures = sdk.deployments.figures(name)["versions"]
        return Counter({item["version"]: item["answers"] for item in figures})

    wait_until(lambda: min(answered()[1], answered()[2]) > 0, seconds=60, what="both versions have answered")
    assert sdk.deployments.promote(name, 2)["version"] == 2
    assert sdk.deployments.roll_back(name)["version"] == 1
    assert [change["kind"] for change in sdk.deployments.changes(name)] == [
        "rolled_back", "promoted", "changed", "created",
    ]  # fmt: skip


def test_all_shares_at_once_and_what_cannot_be(sdk, served):
    name = served["name"]
    assert shares(sdk.deployments.set_traffic(name, {1: 70, 2: 30}, replicas={2: 1})) == {1: 70, 2: 30}
    assert shares(sdk.deployments.stop_trial(name, 2)) == {1: 100}
    with pytest.raises(leptonai.ApiError, match="sum to 100"):
        sdk.deployments.set_traffic(name, {1: 70, 2: 20})
    with pytest.raises(leptonai.ConflictError):
        sdk.deployments.stop_trial(name, 2)
