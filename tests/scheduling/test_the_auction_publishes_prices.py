"""The clearing price is where demand meets supply; a bid that lost learns what would have won."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling.auction import Bid, clear

bids_of_teams = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(0, 20)), min_size=1, max_size=8
).map(lambda rows: [Bid(k, team, devices, float(value)) for k, (team, devices, value) in enumerate(rows)])
capacities = st.integers(0, 16)


def demand(bids: list[Bid], price: float) -> int:
    return sum(bid.devices for bid in bids if bid.value / bid.devices > price)


@settings(max_examples=200)
@given(bids_of_teams, capacities)
def test_the_price_is_the_lowest_at_which_demand_fits(bids, capacity) -> None:
    servable = [bid for bid in bids if bid.devices <= capacity]
    price = clear(bids, capacity).clearing_price
    if not servable:
        assert price is None
        return
    assert demand(servable, price + 1e-6) <= capacity
    assert price == 0 or demand(servable, price - 1e-6) > capacity
    assert (price == 0) or sum(bid.devices for bid in servable) > capacity


@settings(max_examples=200)
@given(bids_of_teams, capacities)
def test_the_price_bounds_the_welfare_more_tightly_than_any_other(bids, capacity) -> None:
    """Duality: capacity at the price, and what bids exceed it by, is the worth of the devices could gangs be split."""
    servable = [bid for bid in bids if bid.devices <= capacity]
    outcome = clear(bids, capacity)
    if not servable:
        return

    def bound(price: float) -> float:
        return price * capacity + sum(max(0.0, bid.value - price * bid.devices) for bid in servable)

    least = bound(outcome.clearing_price)
    assert outcome.welfare <= least + 1e-4
    assert all(least <= bound(price) + 1e-4 for price in (0.0, *(bid.value / bid.devices for bid in servable)))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 12))
def test_single_devices_of_different_teams_all_pay_the_published_price(values, capacity) -> None:
    outcome = clear([Bid(k, k, 1, float(value)) for k, value in enumerate(values)], capacity)
    highest_losing = float(([*sorted(values, reverse=True), *[0] * capacity])[capacity])
    assert outcome.clearing_price == highest_losing
    assert set(outcome.payments.values()) == {highest_losing}


@settings(max_examples=200)
@given(bids_of_teams, capacities)
def test_a_losing_bid_wins_above_its_threshold_and_not_below(bids, capacity) -> None:
    outcome = clear(bids, capacity)
    assert {*outcome.winners, *outcome.thresholds} == {bid.id for bid in bids if bid.devices <= capacity}
    for bid_id, threshold in outcome.thresholds.items():
        assert bid_id not in outcome.winners
        assert bids[bid_id].value <= threshold
        others = [bid for bid in bids if bid.id != bid_id]
        assert bid_id in clear([*others, replace(bids[bid_id], value=threshold + 1e-6)], capacity).winners
        if threshold:
            assert bid_id not in clear([*others, replace(bids[bid_id], value=threshold - 1e-6)], capacity).winners


@pytest.mark.parametrize("bids", [[], [Bid(1, 1, 9, 5.0)]])
def test_there_is_no_price_without_a_bid_that_could_be_served(bids: list[Bid]) -> None:
    outcome = clear(bids, 8)
    assert outcome.clearing_price is None
    assert not outcome.winners
    assert not outcome.thresholds


def test_a_gang_above_the_price_may_lose_and_is_told_what_wins() -> None:
    outcome = clear([Bid(1, 1, 6, 12.0), Bid(2, 2, 6, 11.0), Bid(3, 3, 4, 4.0)], 10)
    assert outcome.winners == (1, 3)
    assert outcome.clearing_price == pytest.approx(11 / 6)
    assert outcome.payments == {1: 11.0, 3: 0.0}
    assert outcome.thresholds == {2: 12.0}
