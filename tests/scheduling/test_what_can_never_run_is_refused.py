"""What no wait can help is said at once, and what else a person could ask for."""

import pytest

from apps.resources.scheduling import (
    Demand,
    Limits,
    PolicySettings,
    Snapshot,
    Team,
    exceeds_limit,
    never_fits,
    requests_that_would_help,
)
from tests.scheduling.pools import node, request


@pytest.mark.parametrize(
    ("demand", "code"),
    [
        (Demand(9), "too_large_for_any_node"),
        (Demand(17, max_nodes=None), "too_large_for_pool"),
        (Demand(16, max_nodes=1), "too_large_for_any_node"),
        (Demand(1, device_kind="h100"), "kind_missing"),
        (Demand(0, cpu_millicores=65_000), "too_large_for_any_node"),
        (Demand(16, max_nodes=None), None),
        (Demand(8), None),
    ],
)
def test_a_demand_that_the_pool_could_not_hold_empty_never_fits(demand, code):
    reason = never_fits(demand, [node(1), node(2)])
    assert (reason and reason.code) == code


def test_without_a_node_nothing_fits():
    assert never_fits(Demand(1), []).code == "no_node_online"


def test_what_is_larger_than_the_limit_of_the_team_or_of_a_person_can_never_run():
    assert exceeds_limit(Team(1, limit=Limits(devices=4)), request(1, 5)).numbers["limit"] == 4
    assert exceeds_limit(Team(1, user_limit=Limits(jobs=0)), request(1)).code == "user_limit"
    assert exceeds_limit(Team(1, limit=Limits(devices=4)), request(1, 4)) is None


def test_alternatives_are_smaller_freer_or_dearer():
    rules = PolicySettings("auction")
    asked = request(1, 6, kind="a", cpu=6000, is_preemptible=False, bid=2.0)
    others = requests_that_would_help(Snapshot(0.0, [node(1), node(2, kind="b")], [asked], settings=rules), 1)
    sizes = [(other.request.demand.devices, other.request.demand.cpu_millicores) for other in others[:4]]
    assert sizes == [(5, 5000), (4, 4000), (2, 2000), (1, 1000)]
    codes = [other.code for other in others[4:]]
    assert codes == ["any_device_kind", "several_nodes", "preemptible", "higher_bid", "higher_bid"]
    assert [other.request.bid for other in others[-2:]] == [2.5, 4.0]


def test_alternatives_are_for_what_waits():
    with pytest.raises(KeyError):
        requests_that_would_help(Snapshot(0.0, [node(1)], []), 1)
