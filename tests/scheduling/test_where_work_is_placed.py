"""Small work fills gaps, so that whole nodes stay whole for gangs; gangs take as few nodes as they can."""

from apps.resources.scheduling import Demand, Request, Snapshot, plan
from tests.scheduling.pools import node, request


def nodes_of(*work: Request, nodes) -> dict[int, list[int]]:
    decided = plan(Snapshot(0.0, nodes, work))
    return {grant.request_id: [part.node_id for part in grant.placements] for grant in decided.grants}


def test_the_smallest_gap_that_fits_is_taken():
    assert nodes_of(request(1, 2), nodes=[node(1, 8), node(2, 2)]) == {1: [2]}


def test_a_node_in_use_is_taken_before_a_whole_one():
    placed = nodes_of(request(1, 1), request(2, 2), nodes=[node(1, 8), node(2, 4)])
    assert placed == {1: [2], 2: [2]}


def test_a_gang_takes_whole_nodes_and_the_remainder_fits_best():
    work = (request(1, 3), request(2, 20, nodes=None))
    assert nodes_of(*work, nodes=[node(1), node(2), node(3), node(4)]) == {1: [1], 2: [2, 3, 1]}


def test_what_fits_on_one_node_is_never_spread():
    assert nodes_of(request(1, 5), request(2, 5, nodes=None), request(3, 5, nodes=None), nodes=[node(1), node(2)]) == {
        1: [1],
        2: [2],
    }


def test_a_gang_shares_its_cores_in_proportion_and_loses_none():
    work = Request(1, 1, Demand(12, 10_001, 7, "", None), 0.0)
    (grant,) = plan(Snapshot(0.0, [node(1), node(2)], [work])).grants
    assert [len(part.device_ids) for part in grant.placements] == [8, 4]
    assert [part.cpu_millicores for part in grant.placements] == [6667, 3334]
    assert sum(part.memory_bytes for part in grant.placements) == 7


def test_light_work_goes_where_most_cores_are_free():
    work = [request(i, 0, cpu=10_000) for i in (1, 2, 3)]
    assert nodes_of(*work, nodes=[node(1, cpu=32_000), node(2, cpu=40_000)]) == {1: [2], 2: [1], 3: [2]}


def test_a_closed_node_takes_nothing_new():
    assert nodes_of(request(1, 2), nodes=[node(1, is_open=False), node(2)]) == {1: [2]}
