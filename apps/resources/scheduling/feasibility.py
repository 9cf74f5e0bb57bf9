"""What can never run, however long it waits."""

from collections.abc import Sequence

from apps.resources.scheduling.ledger import RESOURCES, amounts_of, limits_of
from apps.resources.scheduling.nodes import Node, Shape, empty_devices, fewest_nodes
from apps.resources.scheduling.types import Demand, NodeState, Reason, Request, Team


def never_fits(demand: Demand, nodes: Sequence[NodeState]) -> Reason | None:
    """Why `demand` would not fit even if all of `nodes` were empty; None if it would.

    Pass every node of the pool to judge a submission, and only the open ones to judge the present.
    """
    return shape_never_fits(Shape(demand), [Node(state) for state in nodes])


def shape_never_fits(shape: Shape, nodes: Sequence[Node]) -> Reason | None:
    if not nodes:
        return Reason("no_node_online")
    if fewest_nodes(shape, nodes)[0]:
        return None
    of_kind = [node for node in nodes if shape.kind in ("", node.kind)]
    if not of_kind:
        return Reason("kind_missing", {"kind": shape.kind})
    if not shape.devices:
        return Reason("too_large_for_any_node", _light_numbers(shape, of_kind))
    largest = max(node.size for node in of_kind)
    numbers = {"asks": shape.devices, "largest_node": largest}
    if shape.demand.max_nodes == 1:
        return Reason("too_large_for_any_node", numbers)
    total = sum(empty_devices(shape, node) for node in of_kind)
    return Reason("too_large_for_pool", {**numbers, "pool": total})


def _light_numbers(shape: Shape, nodes: Sequence[Node]) -> dict[str, int | str]:
    """Of work without devices: what no node has enough of."""
    largest_cpu = max(node.total_cpu for node in nodes)
    if shape.cpu > largest_cpu:
        return {"resource": "cpu_millicores", "asks": shape.cpu, "largest_node": largest_cpu}
    largest_memory = max(node.total_memory for node in nodes)
    return {"resource": "memory_bytes", "asks": shape.memory, "largest_node": largest_memory}


def exceeds_limit(team: Team, request: Request) -> Reason | None:
    """Why `request` could not run under the limits of its team, or of one person in it, even if they held nothing."""
    asked = (*amounts_of(request.demand), request.demand.jobs)
    for code, limits in (("team_limit", team.limit), ("user_limit", team.user_limit)):
        for resource, asks, limit in zip((*RESOURCES, "jobs"), asked, limits_of(limits), strict=True):
            if limit is not None and asks > limit:
                return Reason(code, {"resource": resource, "asks": asks, "limit": limit, "in_use": 0})
    return None
