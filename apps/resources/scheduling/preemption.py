"""The cheapest running work to send away so that a gang really fits.

The cost of a set is its loss to the policy, where the policy says, then the devices that it holds in all (each pays one
checkpoint), then the number of victims, then how long they have run. On one node the set is exact for a single victim
and greedy beyond; needless victims are put back at the end. Without a loss a node is passed over as soon as what is
missing on it alone costs more than the best set so far.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from apps.resources.scheduling.grounds import Ground
from apps.resources.scheduling.ledger import Amounts
from apps.resources.scheduling.nodes import Node, Part, Shape
from apps.resources.scheduling.pool import Pool
from apps.resources.scheduling.reservations import Claim

# How many nodes a search looks at, and four more for each that the gang needs: it is complete in pools of this size.
LOOKED_AT = 64

Cost = tuple[float, int, int, float]


@dataclass(frozen=True, slots=True)
class Displacement:
    """Who is to leave, and the place that is free for the beneficiary then."""

    victims: tuple[Claim, ...]
    parts: tuple[Part, ...]


class Search:
    """One beneficiary's search. `ground` says whose work on a node may be sent away for it; `leaving` goes anyway."""

    def __init__(
        self,
        pool: Pool,
        ground: Ground,
        asker_team_id: int,
        leaving: tuple[Claim, ...] = (),
        loss: Callable[[Claim], float] | None = None,
    ) -> None:
        self._pool = pool
        self._candidates = ground.candidates
        self._most = ground.most
        self._asker_team_id = asker_team_id
        self._leaving = leaving
        self._loss = loss
        self._options: dict[int, Sequence[Claim]] = {}  # by node, the candidates

    def cheapest(self, shape: Shape) -> Displacement | None:
        needed, kinds = self._pool.nodes_needed(shape)
        if not needed:
            return None
        if needed == 1:
            return self._on_one_node(shape, kinds)
        options = [option for kind in kinds if (option := self._on_several(shape, needed, kind)) is not None]
        return min(options, key=lambda option: self._cost(option.victims), default=None)

    def _on_one_node(self, shape: Shape, kinds: tuple[str, ...]) -> Displacement | None:
        asked, leaving, is_plain = shape.asked, self._leaving, self._loss is None
        best, best_key, looked_at = None, None, 0
        for node in self._pool.by_room(kinds):
            missing = self._missing(node, asked, leaving)[0] if node.kept or leaving else asked[0] - len(node.free)
            if missing > node.loose_devices:
                continue
            if best_key is not None and is_plain and missing > best_key[0][1]:
                if len(node.free):
                    continue
                break  # all that come now have no device free
            looked_at += 1
            if missing <= self._most(node):
                victims = self._on_node(node, asked, leaving)
                if victims is not None and (best is None or (self._cost(victims), node.id) < best_key):
                    best, best_key = Displacement(victims, ((node, *asked),)), (self._cost(victims), node.id)
                    if best_key[0][:2] <= (0.0, max(missing, 0)):
                        break
            if looked_at == LOOKED_AT:
                break
        return best

    def _on_several(self, shape: Shape, needed: int, kind: str) -> Displacement | None:
        each, rest = self._pool.gang_parts(shape, needed, kind)
        nodes = list(islice(self._able(min(each, rest), kind), LOOKED_AT + 4 * needed))
        victims = self._leaving
        shares: list[tuple[Node, int]] = []
        for count, devices in ((needed, each),) if rest == each else ((needed - 1, each), (1, rest)):
            taken = {node.id for node, _ in shares}
            chosen = self._cheapest_nodes(shape, devices, count, [n for n in nodes if n.id not in taken], victims)
            if chosen is None:
                return None
            victims, more = chosen
            shares += [(node, devices) for node in more]
        parts = tuple(shape.split(shares))
        victims = tuple(claim for claim in victims if claim not in self._leaving)
        return Displacement(self._without_needless(victims, parts, self._leaving), parts)

    def _able(self, devices: int, kind: str) -> Iterator[Node]:
        """Nodes that have so many devices free, or held by work that may be preempted at all."""
        return (node for node in self._pool.by_room((kind,)) if len(node.free) + node.loose_devices >= devices)

    def _cheapest_nodes(
        self, shape: Shape, devices: int, count: int, nodes: list[Node], victims: tuple[Claim, ...]
    ) -> tuple[tuple[Claim, ...], list[Node]] | None:
        """`count` nodes, each with room for `devices` once all victims are gone, the cheapest first."""
        asked = (devices, shape.cpu_each * devices, shape.memory_each * devices)
        costs = []
        for node in nodes:
            if victims or node.kept or devices - len(node.free) <= self._most(node):
                on_node = self._on_node(node, asked, victims)
                if on_node is not None:
                    costs.append((self._cost(on_node), node.id, node))
        chosen: list[Node] = []
        for _, _, node in sorted(costs, key=lambda entry: entry[:2]):
            # Earlier victims may have freed this node, too.
            on_node = self._on_node(node, asked, victims)
            if on_node is not None:
                victims += tuple(claim for claim in on_node if claim not in victims)
                chosen.append(node)
                if len(chosen) == count:
                    return victims, chosen
        return None

    def _on_node(self, node: Node, asked: Amounts, given: tuple[Claim, ...]) -> tuple[Claim, ...] | None:
        """The victims on `node` that make room for what is missing of `asked` next to those given; None if all together
        do not."""
        missing = self._missing(node, asked, given)
        if missing[0] <= 0 and missing[1] <= 0 and missing[2] <= 0:
            return ()
        options = self._options.get(node.id)
        if options is None:
            options = self._options[node.id] = self._candidates(node)
        if not options:
            return None
        if given:
            options = [claim for claim in options if claim not in given]
        here, most = node.claims, 0
        for claim in options:
            most += len(here[claim.id].device_ids)
        if most < missing[0]:
            return None
        single = [
            claim for claim in options if max(self._less(missing, node, claim)) <= 0 and self._spares([*given, claim])
        ]
        if single:
            return (min(single, key=lambda claim: (self._cost((claim,)), claim.id)),)
        chosen: list[Claim] = []
        for claim in sorted(options, key=lambda claim: (-self._gain(node, claim), -claim.started_at, claim.id)):
            if self._spares([*given, *chosen, claim]):
                chosen.append(claim)
                missing = self._less(missing, node, claim)
                if max(missing) <= 0:
                    return self._without_needless(tuple(chosen), ((node, *asked),), given)
        return None

    def _gain(self, node: Node, claim: Claim) -> float:
        """What this node gets of the devices (for light work, the cores) that the claim gives up in all."""
        devices, cpu, _ = claim.asked
        here = node.claims[claim.id]
        if devices:
            return len(here.device_ids) / devices
        return here.cpu_millicores / max(cpu, 1)

    def _missing(self, node: Node, asked: Amounts, gone: tuple[Claim, ...]) -> Amounts:
        if node.kept:
            free, cpu, memory = node.available()
        else:
            free, cpu, memory = len(node.free), node.cpu, node.memory
        missing = (asked[0] - free, asked[1] - cpu, asked[2] - memory)
        for claim in gone:
            if claim.id in node.claims:
                missing = self._less(missing, node, claim)
        return missing

    def _less(self, missing: Amounts, node: Node, claim: Claim) -> Amounts:
        here = node.claims[claim.id]
        return (
            missing[0] - len(here.device_ids),
            missing[1] - here.cpu_millicores,
            missing[2] - here.memory_bytes,
        )

    def _without_needless(
        self, victims: tuple[Claim, ...], parts: tuple[Part, ...], given: tuple[Claim, ...] = ()
    ) -> tuple[Claim, ...]:
        """Put back, the dearest first, everyone without whose leaving the gang fits as well."""
        for claim in sorted(victims, key=lambda claim: (self._cost((claim,)), claim.id), reverse=True):
            others = tuple(other for other in victims if other is not claim)
            if all(max(self._missing(node, tuple(asked), given + others)) <= 0 for node, *asked in parts):
                victims = others
        return victims

    def _spares(self, victims: list[Claim]) -> bool:
        """Whether every team but the asker's own keeps its guarantee when all these are gone."""
        lost: dict[int, list[int]] = {}
        for claim in victims:
            team_id = claim.use.team.id
            if team_id == self._asker_team_id or claim.leaving_for is not None:
                continue
            already = lost.setdefault(team_id, [0, 0, 0])
            if not claim.use.may_lose(claim.asked, already):
                return False
            for of_this in (0, 1, 2):
                already[of_this] += claim.asked[of_this]
        return True

    def _cost(self, victims: tuple[Claim, ...]) -> Cost:
        loss = 0.0 if self._loss is None else sum(map(self._loss, victims))
        devices = sum(claim.asked[0] for claim in victims)
        return loss, devices, len(victims), -sum(claim.started_at for claim in victims)
