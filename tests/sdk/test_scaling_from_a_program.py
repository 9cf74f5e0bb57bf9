"""A program lets a running site's deployment sleep, and wakes it by asking."""

import pytest

import leptonai
from tests.site_helpers import digits
from tests.stack import wait_until


def test_a_sleeping_deployment_is_woken_by_a_question(sdk: leptonai.Client, trained: leptonai.Record):
    name = sdk.deployments.wait(sdk.deployments.create("three", name="three-asleep"), timeout=120)["name"]
    record = sdk.deployments.scale(name, 0, 2, in_flight=4)
    assert (record["min_replicas"], record["max_replicas"], record["status"]) == (0, 2, "ready")
    assert sdk.deployments.update(name, wanted_replicas=0)["status"] == "asleep"
    wait_until(lambda: not sdk.deployments.get(name)["traffic"][0]["ready"], seconds=60, what="no process runs")
    pictures = digits("027", 80)
    files = [pictures["digits/0/0000.png"], pictures["digits/7/0007.png"]]
    found = sdk.load_model(name).predict(files)["predictions"]
    assert [item["class"] for item in found] == [sdk.load_model(name).predict(file)["class"] for file in files]
    woken, put_to_sleep = sdk.deployments.scaling(name)["events"]
    assert (woken["before"], woken["after"], woken["reason"]) == (0, 1, "A request came while it slept.")
    assert put_to_sleep["made_by"]
    with pytest.raises(leptonai.ApiError, match="must lie between"):
        sdk.deployments.scale(name, 0, 99)
    sdk.deployments.delete(name)
