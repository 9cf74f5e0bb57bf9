"""What a person who waits could ask for instead. Only candidates: what each would bring is for a forecast to say."""

from dataclasses import dataclass, replace

from apps.resources.scheduling.types import Request, Snapshot

# How much higher than now a bid is tried.
HIGHER_BIDS = (1.25, 2.0)


@dataclass(frozen=True, slots=True)
class Alternative:
    """`code`: fewer_devices, any_device_kind, several_nodes, preemptible, higher_bid. `request` keeps its id."""

    code: str
    request: Request


def requests_that_would_help(snapshot: Snapshot, request_id: int) -> list[Alternative]:
    """Variations of a pending request that may start sooner, the mildest of each sort first.

    Smaller counts are one device fewer and each power of two below; CPU and memory shrink in proportion. Raises
    KeyError for a request that is not pending.
    """
    request = next((request for request in snapshot.requests if request.id == request_id), None)
    if request is None:
        raise KeyError(request_id)
    demand = request.demand
    found = [_with_demand("fewer_devices", request, devices=count) for count in _smaller(demand.devices)]
    if demand.device_kind and len({node.device_kind for node in snapshot.nodes if node.is_open}) > 1:
        found.append(_with_demand("any_device_kind", request, device_kind=""))
    if demand.devices > 1 and demand.max_nodes is not None:
        found.append(_with_demand("several_nodes", request, max_nodes=None))
    if not request.is_preemptible:
        found.append(Alternative("preemptible", replace(request, is_preemptible=True)))
    if snapshot.settings.policy == "auction" and demand.devices:
        found += [Alternative("higher_bid", replace(request, bid=bid)) for bid in _higher(request.bid)]
    return found


def _smaller(devices: int) -> list[int]:
    powers = {1 << exponent for exponent in range(devices.bit_length()) if 1 << exponent < devices}
    return sorted(powers | ({devices - 1} if devices > 1 else set()), reverse=True)


def _higher(bid: float) -> list[float]:
    return [bid * factor for factor in HIGHER_BIDS] if bid > 0 else [1.0]


def _with_demand(code: str, request: Request, **changes) -> Alternative:
    demand = request.demand
    devices = changes.get("devices", demand.devices)
    if devices != demand.devices:
        changes["cpu_millicores"] = demand.cpu_millicores * devices // demand.devices
        changes["memory_bytes"] = demand.memory_bytes * devices // demand.devices
    return Alternative(code, replace(request, demand=replace(demand, **changes)))
