"""The lives of small, crowded pools, told to a planner change by change and drawn from a seed."""

import random
from dataclasses import replace

from apps.resources.scheduling import (
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
from tests.scheduling.pools import node, runs_for

TEAMS = (1, 2, 3, 4)
ESTIMATES = (None, runs_for(60.0), runs_for(900.0), Estimate(300.0, 3000.0, 20_000.0), runs_for(40_000.0))


class Life:
    """One pool. `go_on` tells the planner what happened since its last plan; `now` is the time of the next."""

    def __init__(self, policy: str, seed: int) -> None:
        self.rng = rng = random.Random(f"{policy} {seed}")
        self.now = 0.0
        self.next_id = 1
        self.cycle = 0
        self.has_guarantees = rng.random() < 0.6
        self.has_limits = rng.random() < 0.6
        self.is_tidal = seed % 2 == 1
        self.has_services = seed % 4 == 2
        self.sizes = (1, 1, 1, 1, 20) if self.is_tidal else rng.choice(((1, 1, 1, 2), (1, 2, 4, 8), (1, 1, 4, 12, 20)))
        settings = PolicySettings(
            policy,
            is_preemptive=rng.random() < 0.85,
            min_runtime_seconds=0.0 if self.is_tidal else rng.choice((0.0, 0.0, 700.0)),
            starvation_seconds=rng.choice((4000.0, 40_000.0, 1e9)),
        )
        nodes = [self._node(number) for number in range(1, rng.randint(4, 9))]
        teams = {number: self._team(number) for number in TEAMS}
        self.planner = Planner(Snapshot(0.0, nodes, (), (), teams, settings))

    def go_on(self) -> None:
        rng, planner = self.rng, self.planner
        self.now += rng.choice((0.0, 60.0, 600.0, 600.0, 2500.0))
        for claim_id in [claim_id for claim_id, claim in planner.claims.items() if claim.leaving_for is not None]:
            if rng.random() < 0.6:
                self._leave(claim_id, comes_back=rng.random() < 0.8)
        for claim_id in sorted(planner.claims):
            if rng.random() < 0.12:
                self._leave(claim_id, comes_back=False)
        for team_id in self._arrivals():
            planner.submit(self._request(team_id))
        for _ in range(rng.randint(0, 2)):
            self._something_rare()

    def _arrivals(self) -> list[int]:
        """Whose work arrives. Bursts of one team make shares drift apart; a tide of one fills the pool, and then all
        others come and ask for the same."""
        self.cycle += 1
        rng = self.rng
        busy_team = rng.choice(TEAMS)
        if not self.is_tidal:
            return [rng.choice((busy_team, busy_team, rng.choice(TEAMS))) for _ in range(rng.randint(0, 9))]
        tide, is_flood = divmod(self.cycle, 4)
        team_id = TEAMS[tide % len(TEAMS)]
        others = [other for other in TEAMS if other != team_id]
        return [team_id] * rng.randint(8, 20) if is_flood < 2 else others * rng.randint(0, 2)

    def _leave(self, claim_id: int, *, comes_back: bool) -> None:
        claim = self.planner.claims[claim_id]
        attained = claim.attained_seconds(self.now)
        self.planner.finish(claim_id)
        if comes_back:
            self.planner.submit(replace(claim.request, waiting_since=self.now, attained_seconds=attained))

    def _something_rare(self) -> None:
        rng, planner = self.rng, self.planner
        of_waiting = (self._revise_waiting, self._withdraw, self._hand_in_again)
        of_running = (self._revise_running, self._revise_running, self._drain)
        of_all = (self._change_team, self._change_node)
        rng.choice((*(of_waiting if planner.tickets else ()), *(of_running if planner.claims else ()), *of_all))()

    def _revise_waiting(self) -> None:
        ticket = self.planner.tickets[self.rng.choice(sorted(self.planner.tickets))]
        self.planner.revise(replace(ticket.request, estimate=self.rng.choice(ESTIMATES)))

    def _revise_running(self) -> None:
        claim = self.planner.claims[self.rng.choice(sorted(self.planner.claims))]
        self.planner.revise(replace(claim.request, estimate=self.rng.choice(ESTIMATES)))

    def _hand_in_again(self) -> None:
        """Those for whom others were asked to leave first: they give up what was promised to them."""
        planner = self.planner
        known = sorted(planner.promised & planner.tickets.keys()) or sorted(planner.tickets)
        ticket = planner.tickets[self.rng.choice(known)]
        planner.submit(replace(ticket.request, waiting_since=self.now, is_promised=False))

    def _withdraw(self) -> None:
        self.planner.withdraw(self.rng.choice(sorted(self.planner.tickets)))

    def _drain(self) -> None:
        self.planner.leave(self.rng.choice(sorted(self.planner.claims)))

    def _change_team(self) -> None:
        self.planner.change_team(self._team(self.rng.choice(TEAMS)))

    def _change_node(self) -> None:
        rng, pool = self.rng, self.planner.pool
        of = pool.nodes[rng.choice(sorted(pool.nodes))]
        if len(pool.nodes) < 10 and rng.random() < 0.3:
            self.planner.change_node(self._node(max(pool.nodes) + 1))
        elif not of.claims and len(pool.nodes) > 3:
            self.planner.remove_node(of.id)
        else:
            self.planner.change_node(replace(of.state(), is_open=not of.is_open))

    def _node(self, number: int) -> NodeState:
        return node(number, self.rng.choice((4, 8, 8)), kind=self.rng.choice("aaab"))

    def _team(self, number: int) -> Team:
        rng = self.rng
        few = (None, None, None, 3, 9) if self.has_limits else (None,)
        devices, cpu = (rng.choice((0, 0, 4, 9)), rng.choice((0, 0, 20_000))) if self.has_guarantees else (0, 0)
        return Team(
            number,
            weight=rng.choice((0.5, 1.0, 1.0, 3.0)),
            guaranteed=Resources(devices, cpu),
            limit=Limits(devices=rng.choice((None, 30)) if self.has_limits else None),
            user_limit=Limits(devices=rng.choice(few), jobs=rng.choice(few)),
            recent_device_seconds=rng.choice((0.0, 200_000.0)),
            credits=rng.choice((5.0, 100.0)),
        )

    def _request(self, team_id: int) -> Request:
        rng = self.rng
        request_id, self.next_id = self.next_id, self.next_id + 1
        devices = rng.choice(self.sizes) if rng.random() < 0.9 else 0
        demand = Demand(devices, 1000 * max(devices, 1), max_nodes=None if devices > 4 else 1)
        if not self.is_tidal:
            cores, memory, kind = rng.choice((1, 1, 9)), rng.choice((0, 5)), rng.choice(("", "", "", "a", "b"))
            cpu = cores * demand.cpu_millicores
            demand = replace(demand, cpu_millicores=cpu, memory_bytes=memory, device_kind=kind)
        if not devices and self.has_services:
            demand = replace(demand, is_service=True)
        return Request(
            id=request_id,
            team_id=team_id,
            user_id=rng.randint(1, 2),
            demand=demand,
            submitted_at=self.now - rng.choice((0.0, 0.0, 0.0, 3000.0)),
            priority=rng.choice((Priority.LOW, Priority.NORMAL, Priority.NORMAL, Priority.HIGH)),
            is_preemptible=rng.random() < 0.85 and not demand.is_service,
            estimate=rng.choice(ESTIMATES),
            bid=rng.choice((0.0, 1.0, 1.05, 3.0)),
        )
