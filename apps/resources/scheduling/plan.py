"""First come, first served, best fit; what does not fit now does not hold up what does."""

from apps.resources.scheduling.types import Grant, NodeState, Plan, Reason, Request, Snapshot, Waiting


class _Draft:
    """The snapshot while grants are being made: what is still free, and what each team holds."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.nodes = {node.id: node for node in snapshot.nodes}
        self.free = {node.id: list(node.free_devices) for node in snapshot.nodes}
        self.light = {node.id: node.light_slots for node in snapshot.nodes}
        self.held = dict(snapshot.held)
        self.limits = snapshot.device_limits

    def take(self, request: Request, node: NodeState) -> Grant:
        devices = tuple(self.free[node.id][: request.devices])
        del self.free[node.id][: request.devices]
        if not request.devices:
            self.light[node.id] -= 1
        self.held[request.team_id] = self.held.get(request.team_id, 0) + request.devices
        return Grant(request.id, node.id, devices)


def plan(snapshot: Snapshot) -> Plan:
    """Give every request of `snapshot` a grant or a reason to wait."""
    draft = _Draft(snapshot)
    grants: list[Grant] = []
    waiting: list[Waiting] = []
    for request in snapshot.requests:
        reason = _refuse(request, draft)
        node = None if reason else _best_fit(request, draft)
        if node is not None:
            grants.append(draft.take(request, node))
        else:
            waiting.append(Waiting(request.id, len(waiting) + 1, reason or _shortage(request, draft)))
    return Plan(tuple(grants), tuple(waiting))


def _refuse(request: Request, draft: _Draft) -> Reason | None:
    limit = draft.limits.get(request.team_id)
    held = draft.held.get(request.team_id, 0)
    if limit is not None and request.devices and held + request.devices > limit:
        return Reason("team_quota", {"asks": request.devices, "limit": limit, "in_use": held})
    return None


def _best_fit(request: Request, draft: _Draft) -> NodeState | None:
    """The node that is left with the fewest free devices; for light work the one with the most room."""
    if not request.devices:
        fitting = [node for node in draft.nodes.values() if draft.light[node.id] > 0]
        return max(fitting, key=lambda node: (draft.light[node.id], -node.id), default=None)
    fitting = [node for node in draft.nodes.values() if len(draft.free[node.id]) >= request.devices]
    return min(fitting, key=lambda node: (len(draft.free[node.id]), node.id), default=None)


def _shortage(request: Request, draft: _Draft) -> Reason:
    if not draft.nodes:
        return Reason("no_node_online", {"asks": request.devices})
    if not request.devices:
        return Reason("nodes_busy", {"asks": 0, "nodes": len(draft.nodes)})
    largest = max(node.device_count for node in draft.nodes.values())
    if largest < request.devices:
        return Reason("too_large_for_any_node", {"asks": request.devices, "largest_node": largest})
    free = sum(len(devices) for devices in draft.free.values())
    return Reason("devices_busy", {"asks": request.devices, "free": free})
