"""How the traffic is divided, decided without a database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import Unprocessable
from apps.deployments.traffic import (
    MAX_VERSIONS,
    Share,
    active_weights,
    check_shares,
    in_order,
    served_before,
    stable_of,
    with_canary,
)


@st.composite
def targets(draw) -> list[Share]:
    """Shares that sum to 100, of the versions 1, 2, 3, ..."""
    cuts = sorted(draw(st.lists(st.integers(0, 100), max_size=MAX_VERSIONS - 1)))
    edges = [0, *cuts, 100]
    return [Share(number, right - left) for number, (left, right) in enumerate(zip(edges, edges[1:], strict=False), 1)]


@given(targets())
def test_whole_percents_that_sum_to_100_are_accepted(shares):
    check_shares(shares)


@pytest.mark.parametrize(
    ("shares", "code"),
    [
        ([], "out_of_range"),
        ([Share(1, 90), Share(2, 9)], "weights_do_not_sum"),
        ([Share(1, 90), Share(2, 11)], "weights_do_not_sum"),
        ([Share(1, 50), Share(1, 50)], "named_twice"),
        ([Share(1, 110), Share(2, -10)], "out_of_range"),
        ([Share(1, 90), Share(2, 10, replicas=0)], "out_of_range"),
        ([Share(1, 90), Share(2, 10, replicas=9)], "out_of_range"),
        ([Share(number, 100 if number == 1 else 0) for number in range(1, MAX_VERSIONS + 2)], "out_of_range"),
    ],
)
def test_other_shares_are_refused_with_a_sentence(shares, code):
    with pytest.raises(Unprocessable) as refused:
        check_shares(shares)
    assert refused.value.code == code
    assert refused.value.message.endswith(".")


@given(targets(), st.lists(st.integers(1, MAX_VERSIONS + 2), unique=True))
def test_what_is_active_goes_to_ready_versions_alone_and_sums_to_100(shares, ready):
    active = active_weights(shares, ready)
    assert set(active) <= set(ready)
    assert sum(active.values()) == pytest.approx(100 if ready else 0)


@given(targets())
def test_when_all_are_ready_each_gets_what_was_asked_for(shares):
    active = active_weights(shares, [share.version_id for share in shares])
    assert active == pytest.approx({share.version_id: share.weight for share in shares if share.weight})


@given(targets(), st.data())
def test_those_that_are_ready_keep_their_proportions(shares, data):
    ready = data.draw(st.lists(st.sampled_from([share.version_id for share in shares]), unique=True))
    active = active_weights(shares, ready)
    wanted = {share.version_id: share.weight for share in shares}
    if any(wanted[version_id] for version_id in ready):
        for one in active:
            for other in active:
                assert active[one] * wanted[other] == pytest.approx(active[other] * wanted[one])


def test_while_a_canary_is_not_ready_all_goes_to_the_stable_version():
    assert active_weights([Share(1, 90), Share(2, 10)], [1]) == {1: 100}


def test_a_stopped_canary_gets_nothing_while_anything_else_is_ready():
    assert active_weights([Share(1, 100), Share(2, 0)], [2, 1]) == {1: 100}
    assert active_weights([Share(1, 100), Share(2, 0)], [2, 9]) == {9: 100}


@given(
    st.lists(st.tuples(st.integers(), st.floats(0.01, 100)), min_size=1, max_size=6, unique_by=lambda pair: pair[0]),
    st.floats(0, 1, exclude_max=True),
)
def test_each_version_is_asked_at_most_once(weighted, point):
    found = in_order(weighted, point)
    assert sorted(found) == sorted(item for item, _weight in weighted)


def test_the_first_is_the_one_on_which_the_point_falls():
    weighted = [("stable", 90.0), ("canary", 10.0)]
    assert [in_order(weighted, point)[0] for point in (0.0, 0.899, 0.901, 0.999)] == [
        "stable", "stable", "canary", "canary",
    ]  # fmt: skip
    assert in_order([("a", 10.0), ("b", 30.0), ("c", 60.0)], 0.05) == ["a", "c", "b"]


@given(targets(), st.integers(1, 100), st.integers(1, 10))
def test_a_trial_takes_from_the_stable_version_alone(shares, weight, version):
    canary = Share(version + MAX_VERSIONS, weight)
    if shares[0].weight <= weight:
        with pytest.raises(Unprocessable):
            with_canary(shares, canary)
        return
    found = with_canary(shares, canary)
    assert sum(share.weight for share in found) == 100
    assert found[0] == Share(1, shares[0].weight - weight)
    assert found[1:-1] == [share for share in shares[1:] if share.weight]


def test_a_trial_of_the_same_version_replaces_the_one_before():
    assert with_canary([Share(1, 90), Share(2, 10)], Share(2, 25)) == [Share(1, 75), Share(2, 25)]


def test_the_stable_version_stays_it_while_it_keeps_a_share():
    assert stable_of([Share(1, 10), Share(2, 90)], 1).version_id == 1
    assert stable_of([Share(1, 0), Share(2, 60), Share(3, 40)], 1).version_id == 2
    assert stable_of([Share(2, 40), Share(3, 60)], 1).version_id == 3


def told(**weights: int) -> list[dict]:
    return [{"version_id": int(name[1:]), "weight": weight} for name, weight in weights.items()]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], None),
        ([told(v1=100)], None),
        ([told(v1=90, v2=10), told(v1=100)], 1),
        ([told(v2=100), told(v1=90, v2=10), told(v1=100)], 1),
        ([told(v1=100), told(v2=100), told(v1=100)], 2),
        ([told(v2=100, v3=0), told(v2=90, v3=10), told(v2=100), told(v1=100)], 1),
        ([told(v2=100), told(v7=100), told(v1=100)], 1),  # version 7 was deleted
    ],
)
def test_rolling_back_goes_to_what_served_all_before(history, expected):
    assert served_before(history, {1, 2, 3}) == expected
