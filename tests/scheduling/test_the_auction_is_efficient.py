"""The winners are worth most, teams pay what they cost the others, and nothing depends on the order of the bids."""

import random
import time
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling.auction import Bid, Outcome, clear
from apps.resources.scheduling.credits import to_micro

CREDITS = st.one_of(st.integers(0, 4), st.floats(0, 1000, allow_nan=False), st.sampled_from([0.1, 1 / 3, 1e-7]))


@st.composite
def auctions(draw) -> tuple[list[Bid], int]:
    ids = draw(st.lists(st.integers(-50, 50), unique=True, max_size=8))
    bids = [Bid(k, draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(CREDITS)) for k in ids]
    return bids, draw(st.integers(0, 16))


def micro(bids: Sequence[Bid]) -> int:
    return sum(to_micro(bid.value) for bid in bids)


def best_sets(bids: Sequence[Bid], capacity: int) -> list[tuple[Bid, ...]]:
    """All sets that fit and are worth most."""
    sets = (chosen for count in range(len(bids) + 1) for chosen in combinations(bids, count))
    fitting = [chosen for chosen in sets if sum(bid.devices for bid in chosen) <= capacity]
    most = max(map(micro, fitting))
    return [chosen for chosen in fitting if micro(chosen) == most]


def best_micro(bids: Sequence[Bid], capacity: int) -> int:
    return micro(best_sets(bids, capacity)[0])


def winners_of(bids: Sequence[Bid], outcome: Outcome) -> list[Bid]:
    return [bid for bid in bids if bid.id in outcome.winners]


@settings(max_examples=300)
@given(auctions())
def test_the_winners_fit_and_are_worth_most(auction) -> None:
    bids, capacity = auction
    outcome = clear(bids, capacity)
    won = winners_of(bids, outcome)
    assert sum(bid.devices for bid in won) <= capacity
    assert micro(won) == best_micro(bids, capacity) == to_micro(outcome.welfare)
    assert set(outcome.payments) == set(outcome.winners)


@settings(max_examples=200)
@given(auctions(), st.randoms())
def test_small_ids_win_among_equals_in_any_order_of_the_bids(auction, shuffler) -> None:
    bids, capacity = auction
    outcome = clear(bids, capacity)
    position = {bid_id: k for k, bid_id in enumerate(sorted(bid.id for bid in bids))}
    sets = [sorted(bid.id for bid in chosen) for chosen in best_sets(bids, capacity)]
    in_order = [[position[k] for k in chosen] + [len(bids)] * (len(bids) - len(chosen)) for chosen in sets]
    assert list(outcome.winners) == sets[in_order.index(min(in_order))]
    shuffler.shuffle(bids)
    again = clear(bids, capacity)
    assert again == outcome
    assert list(again.payments) == sorted(outcome.winners)


@settings(max_examples=300)
@given(auctions())
def test_a_team_pays_what_it_costs_the_others_and_no_bid_more_than_it_offered(auction) -> None:
    bids, capacity = auction
    outcome = clear(bids, capacity)
    won = winners_of(bids, outcome)
    for team_id in {bid.team_id for bid in won}:
        others = [bid for bid in bids if bid.team_id != team_id]
        cost = best_micro(others, capacity) - micro([bid for bid in won if bid.team_id != team_id])
        paid = sum(to_micro(outcome.payments[bid.id]) for bid in won if bid.team_id == team_id)
        assert paid == cost
    assert all(0 <= outcome.payments[bid.id] <= bid.value for bid in won)


@settings(max_examples=150)
@given(auctions(), st.floats(0, 100))
def test_raising_a_winning_bid_keeps_it_winning(auction, more) -> None:
    bids, capacity = auction
    outcome = clear(bids, capacity)
    for bid in winners_of(bids, outcome):
        others = [other for other in bids if other.id != bid.id]
        raised = clear([*others, Bid(bid.id, bid.team_id, bid.devices, bid.value + more)], capacity)
        assert bid.id in raised.winners
        if sum(other.team_id == bid.team_id for other in bids) == 1:
            assert raised.payments[bid.id] == pytest.approx(outcome.payments[bid.id], abs=1e-6)


@given(auctions(), st.integers(0, 5))
def test_nobody_pays_when_everything_fits(auction, spare) -> None:
    bids, _ = auction
    outcome = clear(bids, sum(bid.devices for bid in bids) + spare)
    assert outcome.winners == tuple(sorted(bid.id for bid in bids))
    assert not any(outcome.payments.values())
    assert not outcome.clearing_price


def test_one_bid_per_team_pays_the_second_price() -> None:
    outcome = clear([Bid(1, 1, 8, 30.0), Bid(2, 2, 8, 50.0), Bid(3, 3, 8, 40.0)], 8)
    assert (outcome.winners, outcome.payments, outcome.welfare) == ((2,), {2: 40.0}, 50.0)


def test_a_team_does_not_bid_against_itself() -> None:
    outcome = clear([Bid(1, 1, 1, 10.0), Bid(2, 1, 1, 9.0), Bid(3, 2, 1, 1.0)], 1)
    assert outcome.payments == {1: 1.0}


def test_a_payment_is_split_in_proportion_to_the_bids() -> None:
    outcome = clear([Bid(1, 1, 1, 6.0), Bid(2, 1, 2, 3.0), Bid(3, 2, 3, 4.0)], 3)
    assert outcome.payments == {1: 2.666667, 2: 1.333333}


@pytest.mark.parametrize(
    ("bids", "capacity"),
    [
        ([Bid(1, 1, 0, 1.0)], 4),
        ([Bid(1, 1, 1, -1.0)], 4),
        ([Bid(1, 1, 1, float("nan"))], 4),
        ([Bid(1, 1, 1, float("inf"))], 4),
        ([Bid(1, 1, 1, 1e13)], 4),
        ([Bid(1, 1, 1, 1.0), Bid(1, 2, 1, 1.0)], 4),
        ([], -1),
    ],
)
def test_what_makes_no_sense_is_refused(bids: list[Bid], capacity: int) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        clear(bids, capacity)


def test_a_thousand_bids_for_a_large_pool_take_less_than_half_a_second() -> None:
    rng = random.Random(7)
    sizes = [rng.choice((1, 2, 3, 4, 8, 16, 40, 64)) for _ in range(1000)]
    bids = [Bid(k, rng.randrange(60), size, size * rng.lognormvariate(0, 1)) for k, size in enumerate(sizes)]
    taken = []
    for _ in range(3):
        start = time.process_time()
        outcome = clear(bids, 8192)
        taken.append(time.process_time() - start)
    assert min(taken) <= 0.5
    won = winners_of(bids, outcome)
    assert sum(bid.devices for bid in won) <= 8192
    for team_id in (0, 30, 59):
        table = np.zeros(8193, np.int64)
        for bid in bids:
            if bid.team_id != team_id:
                table[bid.devices :] = np.maximum(table[bid.devices :], table[: -bid.devices] + to_micro(bid.value))
        paid = sum(to_micro(outcome.payments[bid.id]) for bid in won if bid.team_id == team_id)
        assert paid == int(table[-1]) - micro([bid for bid in won if bid.team_id != team_id])
