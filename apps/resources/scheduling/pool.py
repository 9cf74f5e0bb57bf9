"""The nodes as a plan is being made: what is free where, and the best place for a demand.

Open nodes stand on shelves by device kind and number of free devices, so that a place is found without looking at every
node. Nodes on which room is kept for somebody are taken off the shelves for the length of one plan (`Pool.keep`).
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain, zip_longest

from apps.resources.scheduling.nodes import Held, Kept, Node, Part, Shape, empty_devices, fewest_nodes
from apps.resources.scheduling.types import NodeState, Placement, made

# The shelves of nodes in use, and of wholly free ones: by number of free devices, those of several kinds.
_Rows = tuple[list[tuple[Sequence[int], ...]], list[tuple[Sequence[int], ...]]]


class _Shelves:
    """The nodes of one kind by their number of free devices, ids ascending; wholly free ones stand apart."""

    __slots__ = ("used", "whole")

    def __init__(self, largest: int) -> None:
        self.used: list[list[int]] = [[] for _ in range(largest + 1)]
        self.whole: list[list[int]] = [[] for _ in range(largest + 1)]


class Pool:
    """All nodes. `version` changes with the set of open nodes and their sizes."""

    def __init__(self, states: Iterable[NodeState]) -> None:
        self.nodes = {state.id: Node(state) for state in sorted(states, key=lambda state: state.id)}
        self.version = 0
        self._kept_nodes: dict[int, Node] = {}
        self._reserved: set[int] = set()  # of these, where what is kept is timed
        self._roomiest: list[tuple[int, int]] = []
        self._roomier: set[int] = set()  # nodes that have more CPU free than when they were last looked at for it
        self._arrange()

    def _arrange(self) -> None:
        self.version += 1
        self._gang_parts: dict[tuple[int, str], tuple[int, int]] = {}
        self.open_nodes = [node for _, node in sorted(self.nodes.items()) if node.is_open]
        largest: dict[str, int] = {}
        for node in self.nodes.values():
            largest[node.kind] = max(largest.get(node.kind, 0), node.size, len(node.free))
        self._shelves = {kind: _Shelves(size) for kind, size in sorted(largest.items())}
        self._rows: dict[tuple[str, ...], _Rows] = {}
        for node in self.nodes.values():
            node.shelf = None
            self._file(node)
        self.has_closed = len(self.open_nodes) < len(self.nodes)
        self._roomiest = [(-node.cpu, node.id) for node in self.open_nodes]
        heapify(self._roomiest)
        self._roomier.clear()

    def change(self, state: NodeState) -> None:
        """Add a node, or take over what the caller now says of it."""
        node = self.nodes.get(state.id)
        if node is None:
            self.nodes[state.id] = Node(state)
        else:
            node.become(state)
        self._arrange()

    def remove(self, node_id: int) -> None:
        del self.nodes[node_id]
        self._arrange()

    def capacity(self) -> tuple[int, int, int]:
        """Devices, CPU and memory of the open nodes, and what work on closed nodes still holds."""
        devices = sum(node.size for node in self.open_nodes)
        cpu = sum(node.total_cpu for node in self.open_nodes)
        memory = sum(node.total_memory for node in self.open_nodes)
        for node in self.nodes.values():
            if not node.is_open:
                devices += sum(len(claim.device_ids) for claim in node.claims.values())
                cpu += sum(claim.cpu_millicores for claim in node.claims.values())
                memory += sum(claim.memory_bytes for claim in node.claims.values())
        return devices, cpu, memory

    def _file(self, node: Node) -> None:
        shelf = None
        free = len(node.free)
        if free and node.is_open and not node.kept:
            shelves = self._shelves[node.kind]
            shelf = (shelves.whole if free == node.size else shelves.used)[free]
        if shelf is node.shelf:
            return
        if node.shelf is not None:
            del node.shelf[bisect_left(node.shelf, node.id)]
        if shelf is not None:
            insort(shelf, node.id)
        node.shelf = shelf

    def take(self, request_id: int, parts: Iterable[Part], is_loose: bool) -> tuple[Placement, ...]:
        """Give out the lowest free device ids of each node. `is_loose`: they may be taken away again."""
        placements = []
        for node, devices, cpu, memory in parts:
            free = node.free
            placement = made(Placement, (node.id, free[:devices], cpu, memory))
            node.free = free[devices:]
            node.cpu -= cpu
            node.memory -= memory
            node.claims[request_id] = placement
            node.loose_teams = None
            if is_loose:
                node.loose_devices += devices
            self._file(node)
            placements.append(placement)
        return tuple(placements)

    def adopt(self, request_id: int, placements: Iterable[Placement], is_loose: bool) -> Held:
        """Count work that runs already on devices that were not free. Returns on which nodes it holds how many."""
        held = []
        for placement in placements:
            node = self.nodes.get(placement.node_id)
            if node is None:
                continue
            node.claims[request_id] = placement
            node.loose_teams = None
            devices = len(placement.device_ids)
            if is_loose:
                node.loose_devices += devices
            held.append((node, devices))
        return held

    def give_back(self, request_id: int, placements: Iterable[Placement], is_loose: bool) -> Held:
        """Returns on which nodes how many devices were held until now."""
        held = []
        for placement in placements:
            node = self.nodes.get(placement.node_id)
            if node is None or node.claims.pop(request_id, None) is None:
                continue
            node.loose_teams = None
            devices = len(placement.device_ids)
            if devices:
                if is_loose:
                    node.loose_devices -= devices
                node.free = tuple(sorted(node.free + placement.device_ids))
                self._file(node)
            node.cpu += placement.cpu_millicores
            node.memory += placement.memory_bytes
            self._roomier.add(node.id)
            held.append((node, devices))
        return held

    def held_by(self, request_id: int, placements: Iterable[Placement]) -> Held:
        """The nodes on which running work is placed, with how many devices it holds there."""
        nodes = self.nodes
        return [
            (node, len(placement.device_ids))
            for placement in placements
            if (node := nodes.get(placement.node_id)) is not None and request_id in node.claims
        ]

    def keep(self, node: Node, kept: Kept) -> None:
        node.kept += (kept,)
        self._kept_nodes[node.id] = node
        if kept.is_timed:
            self._reserved.add(node.id)
        self._file(node)

    def keep_nothing(self) -> None:
        """The plan is made: every node goes back to its shelf."""
        for node in self._kept_nodes.values():
            node.kept = ()
            self._file(node)
        self._kept_nodes.clear()
        self._reserved.clear()

    def nodes_needed(self, shape: Shape) -> tuple[int, tuple[str, ...]]:
        """The fewest nodes of one kind that could hold the shape were they empty, and the kinds that can do with so
        few. (0, ()): it fits nowhere, however long it waits."""
        if shape.version != self.version:
            shape.needed = fewest_nodes(shape, self.open_nodes)
            shape.version = self.version
        return shape.needed

    def find(self, shape: Shape, is_short: bool = False) -> list[Part] | None:
        """The best place for `shape` in what is free now and kept for nobody; None if there is none.

        One node: best fit, nodes in use before empty ones. Several: empty nodes first, the remainder best fit. Light
        work: the node with the most free CPU. Ties go to the lowest id.
        """
        needed, kinds = self.nodes_needed(shape)
        if not needed:
            return None
        if not shape.devices:
            return self._find_roomiest(shape, is_short)
        if needed == 1:
            node = self._best_fit(shape.devices, shape.cpu, shape.memory, kinds, is_short)
            return None if node is None else [(node, shape.devices, shape.cpu, shape.memory)]
        for kind in kinds:
            parts = self._find_gang(shape, needed, kind, is_short)
            if parts is not None:
                return parts
        return None

    def _best_fit(
        self, devices: int, cpu: int, memory: int, kinds: tuple[str, ...], is_short: bool, but: Collection[int] = ()
    ) -> Node | None:
        for rows in self._rows_of(kinds):
            for shelves in rows[devices:]:
                found = self._first_fit(shelves, cpu, memory, but)
                if found is not None:
                    return found
        if not self._kept_nodes:
            return None
        return self._best_fit_kept(devices, cpu, memory, kinds, is_short, but)

    def _rows_of(self, kinds: tuple[str, ...]) -> _Rows:
        rows = self._rows.get(kinds)
        if rows is None:
            shelves = [self._shelves[kind] for kind in kinds]
            rows = self._rows[kinds] = (
                list(zip_longest(*(each.used for each in shelves), fillvalue=())),
                list(zip_longest(*(each.whole for each in shelves), fillvalue=())),
            )
        return rows

    def _first_fit(
        self, shelves: tuple[Sequence[int], ...], cpu: int, memory: int, but: Collection[int]
    ) -> Node | None:
        """The node with the lowest id that has so much free."""
        nodes, best = self.nodes, None
        for shelf in shelves:
            for node_id in shelf:
                if best is not None and node_id > best.id:
                    break
                node = nodes[node_id]
                if node.cpu >= cpu and node.memory >= memory and node_id not in but:
                    best = node
                    break
        return best

    def _best_fit_kept(
        self, devices: int, cpu: int, memory: int, kinds: tuple[str, ...], is_short: bool, but: Collection[int]
    ) -> Node | None:
        best, best_key = None, None
        for node in self._kept_nodes.values():
            if node.kind not in kinds or not node.is_open or node.id in but:
                continue
            free, free_cpu, free_memory = node.available(is_short)
            key = (free, node.id)
            if free >= devices and free_cpu >= cpu and free_memory >= memory and (best is None or key < best_key):
                best, best_key = node, key
        return best

    def _find_roomiest(self, shape: Shape, is_short: bool) -> list[Part] | None:
        heap, nodes, passed = self._roomiest, self.nodes, []
        for node_id in self._roomier:
            if (node := nodes.get(node_id)) is not None and node.is_open:
                heappush(heap, (-node.cpu, node_id))
        self._roomier.clear()
        if len(heap) > 4 * len(nodes) + 64:
            heap[:] = [(-node.cpu, node.id) for node in self.open_nodes]
            heapify(heap)
        found, last = None, None
        while heap:
            entry = heap[0]
            node = nodes.get(entry[1])
            if node is None or not node.is_open or entry == last or -entry[0] < node.cpu:
                heappop(heap)  # closed, a double, or a newer entry of this node stands elsewhere
                continue
            if -entry[0] > node.cpu:
                heappop(heap)
                heappush(heap, (-node.cpu, node.id))
                continue
            if node.cpu < shape.cpu:
                break
            last = entry
            _, cpu, memory = node.available(is_short)
            if cpu >= shape.cpu and memory >= shape.memory and shape.kind in ("", node.kind):
                found = [(node, 0, shape.cpu, shape.memory)]
                break
            passed.append(heappop(heap))
        for entry in passed:
            heappush(heap, entry)
        return found

    def _find_gang(self, shape: Shape, needed: int, kind: str, is_short: bool) -> list[Part] | None:
        roomiest = self._with_most_room(shape, needed, kind, is_short)
        if sum(usable for usable, _ in roomiest) < shape.devices or len(roomiest) < needed:
            return None
        first = [(self.nodes[node_id], usable) for usable, node_id in roomiest[: needed - 1]]
        rest = shape.devices - sum(devices for _, devices in first)
        chosen = {node.id for node, _ in first}
        last = self._best_fit(rest, shape.cpu_each * rest, shape.memory_each * rest, (kind,), is_short, but=chosen)
        return shape.split([*first, (last, rest)])

    def _with_most_room(self, shape: Shape, count: int, kind: str, is_short: bool) -> list[tuple[int, int]]:
        """The `count` nodes that could take the most of the gang, as (devices, node id), most first."""
        kept = [node for node in self._kept_nodes.values() if node.kind == kind and node.is_open]
        usable = ((node.usable_devices(shape, is_short), node.id) for node in kept)
        found = sorted((-devices, node_id) for devices, node_id in usable if devices)[:count]
        shelves = self._shelves[kind]
        for free in range(len(shelves.whole) - 1, 0, -1):
            if len(found) == count and -found[-1][0] > free:
                break
            if more := self._with_room_on(chain(shelves.whole[free], shelves.used[free]), shape, count, free):
                found = sorted(found + more)[:count]
        return [(-devices, node_id) for devices, node_id in found]

    def _with_room_on(self, shelf: Iterable[int], shape: Shape, count: int, free: int) -> list[tuple[int, int]]:
        """Nodes with so many devices `free`, as (less devices, node id), until `count` could give all of them."""
        found, full = [], 0
        for node_id in shelf:
            usable = self.nodes[node_id].usable_devices(shape)
            if usable:
                found.append((-usable, node_id))
                full += usable == free
                if full == count:
                    break
        return found

    def gang_parts(self, shape: Shape, needed: int, kind: str) -> tuple[int, int]:
        """Devices on each of the first `needed` - 1 nodes, and on the last: whole nodes and a remainder."""
        key = (shape.number, kind)
        parts = self._gang_parts.get(key)
        if parts is None:
            sizes = sorted((empty_devices(shape, node) for node in self.open_nodes if node.kind == kind), reverse=True)
            each = sizes[needed - 2]
            rest = shape.devices - each * (needed - 1)
            if rest > sizes[needed - 1]:  # nodes of several sizes: share evenly
                each = -(-shape.devices // needed)
                rest = shape.devices - each * (needed - 1)
            parts = self._gang_parts[key] = (each, rest)
        return parts

    def by_room(self, kinds: tuple[str, ...]) -> Iterator[Node]:
        """Open nodes of these kinds that are reserved for nobody, those with the most free devices first."""
        nodes = self.nodes
        for node_id in sorted(self._kept_nodes.keys() - self._reserved):
            node = nodes[node_id]
            if node.kind in kinds and node.is_open:
                yield node
        for free in range(max(len(self._shelves[kind].used) for kind in kinds) - 1, 0, -1):
            for kind in kinds:
                shelves = self._shelves[kind]
                if free < len(shelves.used):
                    for node_id in chain(shelves.whole[free], shelves.used[free]):
                        yield nodes[node_id]
        for node in self.open_nodes:
            if not node.free and not node.kept and node.kind in kinds:
                yield node
