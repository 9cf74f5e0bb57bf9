"""Whatever the policy, a grant takes only what was free, and takes all that was asked for, where it was asked for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling import plan
from tests.scheduling.pools import ALL_POLICIES, left_free, snapshots


@pytest.mark.parametrize("policy", ALL_POLICIES)
@given(data=st.data())
@settings(max_examples=25)
def test_no_device_is_given_twice_and_no_core_or_byte_is_promised_beyond_what_is_free(policy, data):
    snapshot = data.draw(snapshots(policy))
    for node in left_free(snapshot, plan(snapshot)):
        assert node.free_cpu_millicores >= 0
        assert node.free_memory_bytes >= 0


@pytest.mark.parametrize("policy", ALL_POLICIES)
@given(data=st.data())
@settings(max_examples=25)
def test_a_gang_is_placed_whole_on_open_nodes_of_its_kind(policy, data):
    snapshot = data.draw(snapshots(policy))
    nodes = {node.id: node for node in snapshot.nodes}
    demands = {request.id: request.demand for request in snapshot.requests}
    for grant in plan(snapshot).grants:
        demand, parts = demands[grant.request_id], grant.placements
        assert sum(len(part.device_ids) for part in parts) == demand.devices
        assert sum(part.cpu_millicores for part in parts) == demand.cpu_millicores
        assert sum(part.memory_bytes for part in parts) == demand.memory_bytes
        assert len({part.node_id for part in parts}) == len(parts) <= (demand.max_nodes or len(nodes))
        assert all(nodes[part.node_id].is_open for part in parts)
        kinds = {nodes[part.node_id].device_kind for part in parts}
        assert len(kinds) == 1 and demand.device_kind in ("", *kinds)
