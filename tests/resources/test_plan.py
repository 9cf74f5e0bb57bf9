"""The scheduler decides from a snapshot; these rules hold for every snapshot."""

from hypothesis import given
from hypothesis import strategies as st

from apps.resources.scheduling import NodeState, Request, Snapshot, plan


@st.composite
def snapshots(draw) -> Snapshot:
    next_device = iter(range(1, 1000))
    nodes = []
    for number in range(draw(st.integers(0, 4))):
        count = draw(st.integers(1, 4))
        free = draw(st.integers(0, count))
        devices = tuple(next(next_device) for _ in range(free))
        nodes.append(NodeState(number + 1, f"n{number}", devices, count, draw(st.integers(0, 3))))
    teams = st.integers(1, 3)
    requests = tuple(
        Request(number, draw(teams), draw(st.integers(0, 5))) for number in range(draw(st.integers(0, 12)))
    )
    held = draw(st.dictionaries(teams, st.integers(0, 6)))
    limits = draw(st.dictionaries(teams, st.integers(0, 6)))
    return Snapshot(tuple(nodes), requests, held, limits)


@given(snapshots())
def test_every_request_gets_a_grant_or_a_reason(snapshot):
    decided = plan(snapshot)
    answered = [grant.request_id for grant in decided.grants] + [waiting.request_id for waiting in decided.waiting]
    assert sorted(answered) == [request.id for request in snapshot.requests]
    assert all(waiting.reason.code for waiting in decided.waiting)


@given(snapshots())
def test_a_grant_is_whole_on_one_node_and_no_device_is_given_twice(snapshot):
    decided = plan(snapshot)
    asked = {request.id: request.devices for request in snapshot.requests}
    free = {node.id: set(node.free_devices) for node in snapshot.nodes}
    given_out = [device for grant in decided.grants for device in grant.device_ids]
    assert len(given_out) == len(set(given_out))
    for grant in decided.grants:
        assert len(grant.device_ids) == asked[grant.request_id]
        assert set(grant.device_ids) <= free[grant.node_id]


@given(snapshots())
def test_no_team_gets_more_than_its_limit(snapshot):
    decided = plan(snapshot)
    team = {request.id: request.team_id for request in snapshot.requests}
    for team_id, limit in snapshot.device_limits.items():
        granted = sum(len(grant.device_ids) for grant in decided.grants if team[grant.request_id] == team_id)
        assert granted == 0 or granted + snapshot.held.get(team_id, 0) <= limit


@given(snapshots())
def test_nothing_waits_for_a_shortage_that_is_not_there(snapshot):
    decided = plan(snapshot)
    taken = {device for grant in decided.grants for device in grant.device_ids}
    left = {node.id: len(set(node.free_devices) - taken) for node in snapshot.nodes}
    asked = {request.id: request.devices for request in snapshot.requests}
    for waiting in decided.waiting:
        if waiting.reason.code == "devices_busy":
            assert max(left.values()) < asked[waiting.request_id]


@given(snapshots())
def test_the_same_snapshot_gives_the_same_plan(snapshot):
    assert plan(snapshot) == plan(snapshot)


def test_the_fullest_node_that_fits_is_chosen_so_that_large_gaps_stay_whole():
    nodes = (NodeState(1, "wide", (1, 2, 3, 4), 4, 2), NodeState(2, "narrow", (5, 6), 2, 2))
    decided = plan(Snapshot(nodes, (Request(1, 1, 2),)))
    assert decided.grants[0].node_id == 2


def test_who_came_first_is_served_first():
    nodes = (NodeState(1, "one", (1,), 1, 2),)
    decided = plan(Snapshot(nodes, (Request(7, 1, 1), Request(8, 2, 1))))
    assert [grant.request_id for grant in decided.grants] == [7]
    assert (decided.waiting[0].request_id, decided.waiting[0].place) == (8, 1)


def test_a_full_quota_is_the_reason_and_carries_its_numbers():
    nodes = (NodeState(1, "one", (1, 2), 2, 2),)
    decided = plan(Snapshot(nodes, (Request(1, 9, 1),), held={9: 1}, device_limits={9: 1}))
    assert decided.waiting[0].reason.code == "team_quota"
    assert decided.waiting[0].reason.numbers == {"asks": 1, "limit": 1, "in_use": 1}
