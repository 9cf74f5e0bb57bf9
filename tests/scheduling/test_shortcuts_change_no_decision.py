"""The short ways that a round takes through its queue lead to the decisions of the long one."""

import gc
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling import Demand, Planner, PolicySettings, Priority, Request, Snapshot, Team, plan
from apps.resources.scheduling import planner as planner_module
from apps.resources.scheduling.rounds import Round
from apps.resources.scheduling.types import Limits, Resources
from tests.scheduling.pools import ALL_POLICIES, node, runs_for, snapshots


class PlainRound(Round):
    """Looks at all lines and all that waits in them at every step, remembers no share, and skips nothing in advance."""

    def _serve(self, teams):
        lines = [line for of_team in teams for line in of_team]
        heads = {line: head for line in lines if (head := self._plain_head(line)) is not None}
        while heads:
            line = min(heads, key=lambda line: self._plain_place(heads[line]))
            has_more = self._attempt(heads[line][-1], line)
            head = self._plain_head(line) if has_more else None
            if head is None:
                del heads[line]
            else:
                heads[line] = head

    def _plain_head(self, line):
        shape = line.shape.number
        waiting = [
            (*ticket.rank, ticket.id, ticket)
            for ticket in self._planner.tickets.values()
            if ticket.line is line and ticket.is_live and not ticket.lane.is_parked
        ]
        if shape in self._only_short:
            waiting = [entry for entry in waiting if entry[-1].lane.seconds <= self._longest]
        return None if shape in self._closed else min(waiting, default=None, key=lambda entry: entry[:-1])

    def _plain_place(self, head):
        at = None if self._is_starving else self._policy.team_key_at
        if at is None:
            return head[:-1]
        return (*head[:at], self._policy.team_key(head[-1].line.use, self._ledger.capacity), *head[at:-1])

    def _outranked(self, teams, bar, node):
        claims = [self._planner.claims[claim_id] for claim_id in sorted(node.claims)]
        return [claim for claim in claims if self._is_ripe(claim) and bar < self._plain_grip(claim)]

    def _plain_grip(self, claim):
        claim.use.forget()
        return self._policy.grip(claim, claim.use, self._ledger.capacity, self._now)


def decided_by(kind: type[Round], planner: Planner, now: float) -> tuple:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner_module, "Round", kind)
        decided = planner.decide(now)
    return decided.grants, decided.evictions, list(decided.waiting), decided.clearing_price


@pytest.mark.parametrize("policy", ALL_POLICIES)
@settings(max_examples=25)
@given(data=st.data())
def test_the_long_way_decides_the_same(policy, data):
    snapshot = data.draw(snapshots(policy))
    short, long = Planner(snapshot), Planner(snapshot)
    assert decided_by(Round, short, snapshot.now) == decided_by(PlainRound, long, snapshot.now)


@pytest.mark.parametrize("policy", ALL_POLICIES)
@settings(max_examples=8)
@given(seed=st.integers(0, 1_000_000), is_preemptive=st.booleans())
def test_the_long_way_decides_the_same_cycle_after_cycle_with_persons_at_their_limits(policy, seed, is_preemptive):
    rng = random.Random(seed)
    rules = PolicySettings(policy, is_preemptive=is_preemptive, min_runtime_seconds=100.0, starvation_seconds=4000.0)
    nodes = [node(number, kind="ab"[number % 2]) for number in range(1, 7)]
    start = Snapshot(0.0, nodes, (), (), {number: a_team(rng, number) for number in (1, 2, 3)}, rules)
    short, long = Planner(start), Planner(start)
    for cycle in range(9):
        now = cycle * 900.0
        for number in range(12):
            some = a_request(rng, 100 * cycle + number + 1, now, mostly_of=cycle % 3 + 1)
            short.submit(some)
            long.submit(some)
        for request_id in [claim_id for claim_id in sorted(short.claims) if rng.random() < 0.2]:
            short.finish(request_id)
            long.finish(request_id)
        for request_id in rng.sample(sorted(short.tickets), len(short.tickets) // 10):
            some = replace(short.tickets[request_id].request, estimate=runs_for(rng.choice((60.0, 6000.0))))
            short.revise(some)
            long.revise(some)
        assert decided_by(Round, short, now) == decided_by(PlainRound, long, now)


def test_a_plan_leaves_the_collector_of_cycles_as_it_was():
    snapshot = Snapshot(0.0, [node(1)], (Request(1, 1, Demand(1), 0.0),))
    assert gc.isenabled()
    plan(snapshot)
    assert gc.isenabled()
    with pytest.raises(KeyError):
        plan(replace(snapshot, settings=PolicySettings("of no such name")))
    assert gc.isenabled()
    gc.disable()
    try:
        plan(snapshot)
        assert not gc.isenabled()
    finally:
        gc.enable()


def a_team(rng: random.Random, number: int) -> Team:
    return Team(
        number,
        weight=rng.choice((1.0, 2.0)),
        guaranteed=Resources(devices=rng.choice((0, 0, 6))),
        limit=Limits(devices=rng.choice((None, 20))),
        user_limit=Limits(jobs=rng.choice((None, None, 3))),
        credits=100.0,
    )


def a_request(rng: random.Random, request_id: int, now: float, mostly_of: int) -> Request:
    devices = rng.choice((1, 1, 2, 4, 8, 12))
    return Request(
        id=request_id,
        team_id=rng.choice((mostly_of, mostly_of, mostly_of, 1, 2, 3)),
        user_id=rng.randint(1, 2),
        demand=Demand(devices, 1000 * devices, max_nodes=None),
        submitted_at=now - rng.choice((0.0, 0.0, 5000.0)),
        priority=rng.choice(tuple(Priority)),
        is_preemptible=rng.random() < 0.8,
        estimate=rng.choice((None, runs_for(60.0), runs_for(6000.0))),
        bid=rng.choice((0.0, 1.0, 3.0)),
    )
