"""Pools, teams and work for the scheduler's properties, and plain answers to check it against."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from apps.resources.scheduling import (
    POLICIES,
    Demand,
    Estimate,
    Limits,
    NodeState,
    Planner,
    PolicySettings,
    Priority,
    Request,
    Resources,
    Snapshot,
    Team,
)

ALL_POLICIES = sorted(POLICIES)


def node(node_id: int, devices: int = 8, *, kind: str = "a", cpu: int = 64_000, is_open: bool = True) -> NodeState:
    ids = tuple(range(100 * node_id, 100 * node_id + devices))
    return NodeState(node_id, f"node-{node_id}", kind, devices, ids, cpu, cpu, 1 << 30, 1 << 30, is_open)


def request(
    request_id: int, devices: int = 1, *, team: int = 1, at: float = 0.0, nodes: int | None = 1, **more
) -> Request:
    demand = Demand(devices, more.pop("cpu", 0), more.pop("memory", 0), more.pop("kind", ""), nodes)
    return Request(request_id, team, demand, at, **more)


def runs_for(seconds: float) -> Estimate:
    return Estimate(seconds, seconds, seconds)


@st.composite
def demands(draw) -> Demand:
    devices = draw(st.integers(0, 6))
    each = draw(st.sampled_from((0, 0, 1000, 3000)))
    kind = draw(st.sampled_from(("", "", "a", "b")))
    cpu = each * devices if devices else draw(st.sampled_from((1000, 9000)))
    return Demand(devices, cpu, draw(st.sampled_from((0, 0, 5, 30))), kind, draw(st.sampled_from((1, None))))


@st.composite
def requests(draw, request_id: int, now: float) -> Request:
    estimate = draw(st.sampled_from((None, runs_for(50.0), runs_for(500.0), Estimate(100.0, 1000.0, 9000.0))))
    demand = draw(demands())
    if not demand.devices:
        demand = replace(demand, is_service=draw(st.booleans()))
    return Request(
        id=request_id,
        team_id=draw(st.integers(1, 3)),
        demand=demand,
        submitted_at=now - draw(st.sampled_from((0.0, 5.0, 3000.0))),
        user_id=draw(st.integers(1, 2)),
        priority=draw(st.sampled_from(Priority)),
        is_preemptible=draw(st.booleans()) and not demand.is_service,
        estimate=estimate,
        bid=draw(st.sampled_from((0.0, 1.0, 1.05, 3.0))),
    )


@st.composite
def teams(draw) -> dict[int, Team]:
    few = st.sampled_from((None, None, 2, 5))
    limits = st.builds(Limits, devices=few, cpu_millicores=st.sampled_from((None, 9000)), jobs=few)
    guarantees = st.builds(Resources, devices=st.integers(0, 5), cpu_millicores=st.sampled_from((0, 0, 8000)))
    made = {}
    for team_id in draw(st.sets(st.integers(1, 3))):
        made[team_id] = Team(
            id=team_id,
            weight=draw(st.sampled_from((0.5, 1.0, 2.0))),
            guaranteed=draw(guarantees),
            limit=draw(limits),
            user_limit=draw(limits),
            device_seconds_left=draw(st.sampled_from((None, None, None, 0.0))),
            credits=draw(st.sampled_from((0.0, 4.0, 100.0))),
        )
    return made


@st.composite
def snapshots(draw, policy: str) -> Snapshot:
    """A pool in the middle of its life: earlier plans have granted, evicted and let end."""
    nodes = [
        node(
            number,
            draw(st.integers(0, 4)),
            kind=draw(st.sampled_from("aab")),
            cpu=draw(st.sampled_from((4000, 32_000))),
        )
        for number in range(1, draw(st.integers(0, 4)) + 1)
    ]
    settings = PolicySettings(
        policy=policy,
        is_preemptive=draw(st.booleans()),
        min_runtime_seconds=draw(st.sampled_from((0.0, 300.0))),
        starvation_seconds=draw(st.sampled_from((1000.0, 1e6))),
    )
    planner = Planner(Snapshot(0.0, nodes, (), (), draw(teams()), settings))
    next_id = 1
    for now in (0.0, 400.0):
        for _ in range(draw(st.integers(0, 6))):
            planner.submit(draw(requests(next_id, now)))
            next_id += 1
        planner.decide(now)
        for request_id in (
            draw(st.lists(st.sampled_from(sorted(planner.claims)), max_size=2, unique=True)) if planner.claims else ()
        ):
            planner.finish(request_id)
    for closed in draw(st.lists(st.sampled_from(nodes), max_size=1)) if nodes else ():
        planner.change_node(replace(planner.pool.nodes[closed.id].state(), is_open=False))
    for _ in range(draw(st.integers(1, 6))):
        planner.submit(draw(requests(next_id, 800.0)))
        next_id += 1
    return planner.snapshot(800.0)


def left_free(snapshot: Snapshot, plan) -> list[NodeState]:
    """The nodes once the plan's grants are taken out. A placement that takes what was not free raises ValueError."""
    nodes = {node.id: node for node in snapshot.nodes}
    for grant in plan.grants:
        for placement in grant.placements:
            of = nodes[placement.node_id]
            free = list(of.free_devices)
            for device in placement.device_ids:
                free.remove(device)
            nodes[of.id] = replace(
                of,
                free_devices=tuple(free),
                free_cpu_millicores=of.free_cpu_millicores - placement.cpu_millicores,
                free_memory_bytes=of.free_memory_bytes - placement.memory_bytes,
            )
    return list(nodes.values())


def fits(demand: Demand, nodes: Sequence[NodeState]) -> bool:
    """Whether the demand can be placed on what is free, on as few nodes as it needs in an empty pool."""
    open_nodes = [node for node in nodes if node.is_open and demand.device_kind in ("", node.device_kind)]
    if not demand.devices:
        return any(_usable(demand, node, is_empty=False) for node in open_nodes)
    by_kind: dict[str, list[NodeState]] = {}
    for of in open_nodes:
        by_kind.setdefault(of.device_kind, []).append(of)
    counts = {
        kind: _count(demand, [_usable(demand, of, is_empty=True) for of in all_]) for kind, all_ in by_kind.items()
    }
    fewest = min((count for count in counts.values() if count), default=0)
    return any(
        _count(demand, [_usable(demand, of, is_empty=False) for of in by_kind[kind]]) == fewest
        for kind, count in counts.items()
        if count and count == fewest
    )


def _count(demand: Demand, usable: list[int]) -> int:
    left = demand.devices
    for count, devices in enumerate(sorted(usable, reverse=True), start=1):
        left -= devices
        if left <= 0:
            return count if demand.max_nodes is None or count <= demand.max_nodes else 0
    return 0


def _usable(demand: Demand, of: NodeState, *, is_empty: bool) -> int:
    devices = of.device_count if is_empty else len(of.free_devices)
    cpu = of.cpu_millicores if is_empty else of.free_cpu_millicores
    memory = of.memory_bytes if is_empty else of.free_memory_bytes
    if devices >= demand.devices and cpu >= demand.cpu_millicores and memory >= demand.memory_bytes:
        return max(demand.devices, 1)
    if not demand.devices:
        return 0
    for amount, free in ((demand.cpu_millicores, cpu), (demand.memory_bytes, memory)):
        if amount:
            devices = min(devices, free // -(-amount // demand.devices))
    return max(devices, 0)


def held_by(work: Sequence[Request]) -> tuple[int, int, int, int]:
    """Devices, CPU, memory and number of jobs."""
    wanted = [one.demand for one in work]
    return (
        sum(demand.devices for demand in wanted),
        sum(demand.cpu_millicores for demand in wanted),
        sum(demand.memory_bytes for demand in wanted),
        sum(demand.jobs for demand in wanted),
    )
