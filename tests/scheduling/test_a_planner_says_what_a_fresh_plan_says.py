"""A planner that is told every change decides as if it were made anew from the snapshot."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from apps.resources.scheduling import Planner, PolicySettings, Snapshot, plan
from tests.scheduling.pools import ALL_POLICIES, node, requests, teams


class Changes(RuleBasedStateMachine):
    policy = ""

    @initialize(data=st.data(), promises=teams(), is_preemptive=st.booleans())
    def start(self, data, promises, is_preemptive):
        rules = PolicySettings(
            self.policy, is_preemptive=is_preemptive, min_runtime_seconds=100.0, starvation_seconds=2000.0
        )
        nodes = [node(1), node(2, 4), node(3, 4, kind="b")]
        self.planner = Planner(Snapshot(0.0, nodes, (), (), promises, rules))
        self.now, self.next_id = 0.0, 1

    @rule(data=st.data())
    def submit(self, data):
        self.planner.submit(data.draw(requests(self.next_id, self.now)))
        self.next_id += 1

    @precondition(lambda self: self.planner.claims)
    @rule(data=st.data(), comes_back=st.booleans())
    def finish(self, data, comes_back):
        claim = self.planner.claims[data.draw(st.sampled_from(sorted(self.planner.claims)))]
        self.planner.finish(claim.request.id)
        if comes_back:
            attained = claim.attained_seconds(self.now)
            self.planner.submit(replace(claim.request, waiting_since=self.now, attained_seconds=attained))

    @precondition(lambda self: self.planner.tickets)
    @rule(data=st.data())
    def withdraw(self, data):
        self.planner.withdraw(data.draw(st.sampled_from(sorted(self.planner.tickets))))

    @precondition(lambda self: self.planner.claims)
    @rule(data=st.data())
    def drain(self, data):
        self.planner.leave(data.draw(st.sampled_from(sorted(self.planner.claims))))

    @rule(data=st.data())
    def open_or_close(self, data):
        state = self.planner.pool.nodes[data.draw(st.sampled_from(sorted(self.planner.pool.nodes)))].state()
        self.planner.change_node(replace(state, is_open=not state.is_open))

    @rule(promises=teams())
    def change_promises(self, promises):
        for team in promises.values():
            self.planner.change_team(team)

    @rule(seconds=st.sampled_from((0.0, 60.0, 1500.0)))
    def decide(self, seconds):
        self.now += seconds
        fresh = plan(self.planner.snapshot(self.now))
        assert self.planner.decide(self.now) == fresh

    @rule()
    def compare_what_was_counted(self):
        fresh = Planner(self.planner.snapshot(self.now))
        assert counted(self.planner) == counted(fresh)


def counted(planner: Planner) -> tuple:
    """What is kept from plan to plan: when devices come free, what may be preempted, what teams and persons hold."""
    nodes = {node.id: (node.ends.tolist(), node.loose_devices) for node in planner.pool.nodes.values()}
    uses = {team_id: (use.held, use.leaving, use.locked) for team_id, use in planner.ledger.uses.items()}
    persons = {
        (team_id, user_id): person.held
        for team_id, use in planner.ledger.uses.items()
        for user_id, person in use.users.items()
        if any(person.held)
    }
    return nodes, {team_id: use for team_id, use in uses.items() if any(map(any, use))}, persons


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_a_planner_says_what_a_fresh_plan_says(policy):
    machine = type("Changes", (Changes,), {"policy": policy})
    rules = settings(max_examples=12, stateful_step_count=40)
    run_state_machine_as_test(machine, settings=rules)
