"""First come, first served, best fit; what does not fit now does not hold up what does."""

from collections import Counter

from apps.resources.scheduling.types import Grant, Placement, Plan, Reason, Request, Snapshot, Waiting


def plan(snapshot: Snapshot) -> Plan:
    free = {n.id: list(n.free_devices) for n in snapshot.nodes if n.is_open}
    cpu = {n.id: n.free_cpu_millicores for n in snapshot.nodes}
    memory = {n.id: n.free_memory_bytes for n in snapshot.nodes}
    held = Counter()
    for item in snapshot.running:
        held[item.request.team_id] += item.request.demand.devices
    grants, waiting = [], []
    for request in snapshot.requests:
        d = request.demand
        team = snapshot.teams.get(request.team_id)
        limit = team.limit.devices if team else None
        reason = None
        if limit is not None and d.devices and held[request.team_id] + d.devices > limit:
            numbers = {"resource": "devices", "asks": d.devices, "limit": limit, "in_use": held[request.team_id]}
            reason = Reason("team_limit", numbers)
        fits = [
            pk
            for pk in free
            if len(free[pk]) >= d.devices and cpu[pk] >= d.cpu_millicores and memory[pk] >= d.memory_bytes
        ]
        if reason is None and fits:
            best = min(fits, key=lambda pk: (len(free[pk]), pk)) if d.devices else max(fits, key=lambda pk: cpu[pk])
            devices = tuple(free[best][: d.devices])
            del free[best][: d.devices]
            cpu[best] -= d.cpu_millicores
            memory[best] -= d.memory_bytes
            held[request.team_id] += d.devices
            grants.append(Grant(request.id, (Placement(best, devices, d.cpu_millicores, d.memory_bytes),)))
            continue
        waiting.append(Waiting(request.id, len(waiting) + 1, reason or _shortage(request, free)))
    return Plan(tuple(grants), tuple(waiting))


def _shortage(request: Request, free) -> Reason:
    asks = request.demand.devices
    if not free:
        return Reason("no_node_online", {"asks": asks})
    return Reason("devices_busy", {"asks": asks, "free": sum(map(len, free.values()))})
