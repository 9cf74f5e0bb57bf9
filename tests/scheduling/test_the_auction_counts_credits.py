"""Credits are neither made nor lost: income, saving, what a bid may be, and what work is charged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.resources.scheduling.credits import (
    MICRO,
    Settlement,
    affordable,
    cost,
    from_micro,
    hand_out,
    renew,
    settle,
    to_micro,
)

amounts = st.integers(0, 10**13)
prices = st.floats(0, 1e4)
seconds = st.floats(0, 1e8)
weights = st.dictionaries(st.integers(1, 99), st.floats(0, 1e3), max_size=8)


@given(amounts, weights)
def test_income_adds_up_and_follows_the_weights(total, weights) -> None:
    income = hand_out(total, weights)
    whole = sum(weights.values())
    assert sum(income.values()) == (total if whole else 0)
    for team_id, part in income.items():
        assert part >= 0
        if whole:
            assert part == pytest.approx(total * weights[team_id] / whole, rel=1e-9, abs=1.001)


def test_equal_teams_get_equal_parts_and_the_odd_one_goes_to_the_first() -> None:
    assert hand_out(10, {3: 1.0, 1: 1.0, 2: 1.0}) == {1: 4, 2: 3, 3: 3}
    assert hand_out(10, {1: 1.0, 2: 0.0}) == {1: 10, 2: 0}


@given(amounts, st.lists(st.integers(0, 10**12), min_size=1, max_size=20), st.floats(0, 10))
def test_saving_is_bounded(balance, incomes, carry_periods) -> None:
    for income in incomes:
        renewed = renew(balance, income, carry_periods)
        assert income <= renewed <= balance + income
        assert renewed <= income * (1 + carry_periods) + 1
        balance = renewed


def test_a_part_of_a_period_is_carried_over() -> None:
    assert renew(900, 1000, 0.5) == 1500
    assert renew(300, 1000, 0.5) == 1300
    assert renew(900, 1000, 0) == 1000


@given(amounts, prices, st.integers(1, 4096), st.floats(0, 1000))
def test_a_bid_is_lowered_to_what_the_balance_pays(balance, bid, devices, hours) -> None:
    allowed = affordable(balance, bid, devices, hours)
    device_seconds = devices * hours * 3600
    assert 0 <= allowed <= bid
    assert cost(allowed, device_seconds) <= balance
    if allowed < bid and allowed > 0:
        assert cost(allowed, device_seconds) >= balance * (1 - 1e-9) - 1


def test_a_spent_balance_refuses_bids_but_not_work_without_one() -> None:
    assert affordable(0, 2.0, 8, 1.0) == 0.0
    assert affordable(-5, 2.0, 8, 1.0) == 0.0
    assert affordable(0, 0.0, 8, 1.0) == 0.0
    assert affordable(8 * MICRO, 2.0, 8, 1.0) == 1.0
    assert affordable(16 * MICRO, 2.0, 8, 1.0) == 2.0


@given(amounts, amounts, prices, seconds)
def test_a_settlement_makes_and_loses_no_credit(balance, reserved, price, device_seconds) -> None:
    result = settle(balance, reserved, price, device_seconds)
    assert result.balance + result.charge == balance + reserved
    assert result.charge + result.unpaid == cost(price, device_seconds)
    assert min(result.balance, result.charge, result.refund, result.unpaid) >= 0
    assert result.refund == max(0, reserved - result.charge)
    assert result.unpaid == 0 or result.balance == 0


@given(amounts, prices, st.floats(0, 1), st.integers(1, 64), st.floats(0, 100), st.floats(0, 1))
def test_work_within_its_estimate_costs_at_most_what_was_set_aside(left, bid, saved, devices, hours, part) -> None:
    device_seconds = devices * hours * 3600
    reserved = cost(bid, device_seconds)
    result = settle(left, reserved, bid * saved, device_seconds * part)
    assert result.charge <= reserved
    assert result.unpaid == 0
    assert result.balance == left + result.refund


def test_preempted_work_pays_for_the_time_it_held_devices_only() -> None:
    reserved = cost(2.0, 8 * 4 * 3600)
    assert settle(0, reserved, 2.0, 8 * 3600) == Settlement(16 * MICRO, 48 * MICRO, 0, 48 * MICRO)
    assert settle(5, reserved, 2.0, 0) == Settlement(0, 64 * MICRO, 0, 64 * MICRO + 5)


def test_use_beyond_the_balance_is_reported() -> None:
    assert settle(1 * MICRO, 2 * MICRO, 1.0, 4 * 3600) == Settlement(3 * MICRO, 0, 1 * MICRO, 0)


@given(prices, prices, seconds, seconds)
def test_rounding_never_reverses_an_order(price, other, first, second) -> None:
    assert cost(min(price, other), min(first, second)) <= cost(max(price, other), max(first, second))
    assert abs(cost(price, first) - price * first / 3600 * MICRO) <= 0.5 + 1e-9 * cost(price, first)


@given(amounts)
def test_credits_and_micro_credits_convert_both_ways(micro) -> None:
    assert to_micro(from_micro(micro)) == micro


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: hand_out(-1, {1: 1.0}),
        lambda: hand_out(1, {1: -1.0}),
        lambda: hand_out(1, {1: float("inf")}),
        lambda: renew(-1, 1, 1.0),
        lambda: cost(-1.0, 1.0),
        lambda: settle(-1, 0, 1.0, 1.0),
    ],
)
def test_negative_amounts_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="negative"):
        wrong()
