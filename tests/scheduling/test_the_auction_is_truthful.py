"""Whatever the others bid, a team gains most from its true bids. Small cases in full, larger ones at random."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, combinations_with_replacement, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling.auction import Bid, Outcome, clear

Job = tuple[int, int]  # devices, credits per hour

LIAR = 1
JOBS: list[Job] = list(product((1, 2, 3), (0, 1, 2, 3)))
REPORTS: list[tuple[Job, ...]] = [(), *((job,) for job in JOBS), *product(JOBS, repeat=2)]
TRUTHS: list[tuple[Job, ...]] = [*((job,) for job in JOBS), *combinations_with_replacement(JOBS, 2)]


def worth(jobs: Iterable[Job], devices: int) -> int:
    """What a team makes of so many devices, however it came by them."""
    jobs = list(jobs)
    sets = (chosen for count in range(len(jobs) + 1) for chosen in combinations(jobs, count))
    return max(sum(value for _, value in chosen) for chosen in sets if sum(size for size, _ in chosen) <= devices)


def received(outcome: Outcome, bids: Sequence[Bid]) -> tuple[int, float]:
    """The devices that the liar gets, and what it pays for them."""
    won = [bid for bid in bids if bid.team_id == LIAR and bid.id in outcome.winners]
    return sum(bid.devices for bid in won), sum(outcome.payments[bid.id] for bid in won)


def bids_of(team_id: int, jobs: Iterable[Job], ids: Iterator[int]) -> list[Bid]:
    return [Bid(next(ids), team_id, devices, float(value)) for devices, value in jobs]


def check_no_gain(rivals: Sequence[Bid], capacity: int) -> None:
    """Try every report of up to two bids against every truth; ids of the liar stand on both sides of the rivals'."""
    outcomes = {}
    for report in REPORTS:
        bids = [*bids_of(LIAR, report, iter((1, 99))), *rivals]
        outcomes[report] = received(clear(bids, capacity), bids)
    distinct = set(outcomes.values())
    for truth in TRUTHS:
        values = [worth(truth, devices) for devices in range(capacity + 1)]
        devices, paid = outcomes[truth]
        honest = values[devices] - paid
        assert honest >= 0
        best = max(values[devices] - paid for devices, paid in distinct)
        assert best <= honest, (rivals, capacity, truth)


@pytest.mark.parametrize("capacity", [1, 2, 3, 4])
def test_no_report_of_a_team_beats_the_truth_against_two_teams(capacity: int) -> None:
    for first, second in combinations_with_replacement(JOBS, 2):
        rivals = [Bid(2, 2, first[0], first[1]), Bid(3, 3, second[0], second[1])]
        check_no_gain(rivals, capacity)


@pytest.mark.parametrize("capacity", [2, 3, 5])
def test_no_report_beats_the_truth_where_the_other_teams_have_two_jobs(capacity: int) -> None:
    jobs = [(1, 1), (1, 2), (2, 2), (2, 3), (3, 3)]
    for pair in combinations(jobs, 2):
        for other in jobs:
            rivals = [*bids_of(2, pair, iter((2, 4))), Bid(3, 3, other[0], other[1])]
            check_no_gain(rivals, capacity)


@pytest.mark.parametrize("capacity", [2, 4])
def test_no_report_beats_the_truth_against_three_teams(capacity: int) -> None:
    for rivals in combinations_with_replacement(product((1, 2), (1, 2, 3)), 3):
        check_no_gain([Bid(k, k, *job) for k, job in enumerate(rivals, 2)], capacity)


jobs = st.tuples(st.integers(1, 6), st.integers(0, 40))


@settings(max_examples=400)
@given(
    truth=st.lists(jobs, min_size=1, max_size=3),
    report=st.lists(jobs, max_size=4),
    rivals=st.lists(st.lists(jobs, min_size=1, max_size=2), min_size=1, max_size=3),
    capacity=st.integers(1, 14),
    ids=st.permutations(range(11)),
)
def test_no_report_beats_the_truth_against_up_to_three_teams(truth, report, rivals, capacity, ids) -> None:
    numbers = iter(ids)
    others = [bid for team_id, theirs in enumerate(rivals, 2) for bid in bids_of(team_id, theirs, numbers)]
    rest = list(numbers)
    utilities = []
    for told in (truth, report):
        bids = [*bids_of(LIAR, told, iter(rest)), *others]
        devices, paid = received(clear(bids, capacity), bids)
        utilities.append(worth(truth, devices) - paid)
    assert utilities[0] >= 0
    assert utilities[1] <= utilities[0] + 1e-9


def test_fewer_devices_than_a_gang_needs_are_worth_nothing() -> None:
    bids = [Bid(1, LIAR, 2, 5.0), Bid(2, 2, 2, 4.0)]
    devices, paid = received(clear(bids, 2), bids)
    assert worth([(4, 5)], devices) - paid == -4.0


def test_a_team_that_passes_as_two_can_gain() -> None:
    """The limit of every such auction: one team pays 3 for both jobs, two false teams pay 1 each."""
    rival = Bid(9, 9, 2, 3.0)
    as_one = clear([Bid(1, 1, 1, 2.0), Bid(2, 1, 1, 2.0), rival], 2)
    as_two = clear([Bid(1, 1, 1, 2.0), Bid(2, 2, 1, 2.0), rival], 2)
    assert as_one.winners == as_two.winners == (1, 2)
    assert sum(as_one.payments.values()) == 3.0
    assert sum(as_two.payments.values()) == 2.0
