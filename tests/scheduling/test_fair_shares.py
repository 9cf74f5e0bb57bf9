"""Dominant resource fairness (Ghodsi et al., NSDI 2011): its four properties, on one large node.

Work is whole, so the first three hold up to the dominant share of the largest piece of work there is; Pareto efficiency
holds exactly.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling import Demand, NodeState, PolicySettings, Request, Snapshot, Team, plan

CAPACITY = (60, 60_000, 6000)
MANY = 70
RULES = PolicySettings("fair_share", is_preemptive=False)

Needs = tuple[int, int, int]
needs = st.tuples(
    st.integers(1, 4), st.integers(0, 5).map(lambda n: n * 1000), st.integers(0, 4).map(lambda n: n * 100)
)


def shares(wanted: list[Needs], weights: list[float] | None = None) -> list[int]:
    """How many works each team runs when all have more than fits."""
    node = NodeState(1, "n", "a", 60, tuple(range(60)), CAPACITY[1], CAPACITY[1], CAPACITY[2], CAPACITY[2])
    teams = {i: Team(i, weight=weights[i] if weights else 1.0) for i in range(len(wanted))}
    work = [
        Request(MANY * team + number, team, Demand(*one), submitted_at=0.0)
        for team, one in enumerate(wanted)
        for number in range(MANY)
    ]
    granted = [grant.request_id // MANY for grant in plan(Snapshot(0.0, [node], work, (), teams, RULES)).grants]
    return [granted.count(team) for team in range(len(wanted))]


def dominant(one: Needs) -> float:
    return max(asked / whole for asked, whole in zip(one, CAPACITY, strict=True))


def one_piece(wanted: list[Needs]) -> float:
    """The dominant share of the largest work: as far as whole work may be from what can be divided at will."""
    return max(map(dominant, wanted)) + 1e-9


def runs(bundle: tuple[float, ...], one: Needs) -> int:
    """How many works a team could run with a bundle."""
    return min(int(has // asks) for has, asks in zip(bundle, one, strict=True) if asks)


@given(st.lists(needs, min_size=2, max_size=4))
@settings(max_examples=40)
def test_each_team_gets_as_much_as_with_its_own_part_of_the_pool(wanted):
    part = tuple(whole / len(wanted) for whole in CAPACITY)
    for one, count in zip(wanted, shares(wanted), strict=True):
        assert (runs(part, one) - count) * dominant(one) <= one_piece(wanted)


@given(st.lists(needs, min_size=2, max_size=4))
@settings(max_examples=40)
def test_no_team_would_rather_have_what_another_has(wanted):
    counts = shares(wanted)
    for one, count in zip(wanted, counts, strict=True):
        for theirs, other in zip(wanted, counts, strict=True):
            bundle = tuple(other * asks for asks in theirs)
            assert (runs(bundle, one) - count) * dominant(one) <= one_piece(wanted)


@given(st.lists(needs, min_size=2, max_size=3), needs)
@settings(max_examples=40)
def test_no_team_gains_by_asking_for_more_than_it_needs(wanted, extra):
    lie = tuple(one + more for one, more in zip(wanted[0], extra, strict=True))
    told = [lie, *wanted[1:]]
    assert (shares(told)[0] - shares(wanted)[0]) * dominant(wanted[0]) <= one_piece([*wanted, lie])


@given(st.lists(needs, min_size=2, max_size=4))
@settings(max_examples=40)
def test_nothing_is_left_that_anybody_could_use(wanted):
    counts = shares(wanted)
    left = [
        whole - sum(count * one[at] for count, one in zip(counts, wanted, strict=True))
        for at, whole in enumerate(CAPACITY)
    ]
    assert not any(all(asks <= has for asks, has in zip(one, left, strict=True)) for one in wanted)


@given(needs, needs)
@settings(max_examples=60)
def test_shares_are_in_proportion_to_weight_up_to_one_work(one, other):
    counts = shares([one, other], weights=[1.0, 2.0])
    first, second = counts[0] * dominant(one), counts[1] * dominant(other) / 2.0
    if all(count < MANY for count in counts):
        assert first - dominant(one) <= second + 1e-9 or second - dominant(other) / 2.0 <= first + 1e-9


def test_the_example_of_the_paper():
    """9 cores and 18 GB; A asks 1 core and 4 GB, B asks 3 cores and 1 GB: 3 works and 2 (section 4.1)."""
    node = NodeState(1, "n", "", 0, (), 9000, 9000, 18, 18)
    work = [Request(i, i % 2, Demand(0, *((1000, 4), (3000, 1))[i % 2]), 0.0) for i in range(20)]
    granted = [grant.request_id % 2 for grant in plan(Snapshot(0.0, [node], work, settings=RULES)).grants]
    assert (granted.count(0), granted.count(1)) == (3, 2)
