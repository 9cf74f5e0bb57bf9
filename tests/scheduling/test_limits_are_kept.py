"""No plan brings a team or a person over a limit, or starts work of a team that has spent what it had."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.resources.scheduling import Team, plan
from tests.scheduling.pools import ALL_POLICIES, held_by, snapshots


@pytest.mark.parametrize("policy", ALL_POLICIES)
@given(data=st.data())
@settings(max_examples=25)
def test_no_team_and_no_person_gets_more_than_its_limit(policy, data):
    snapshot = data.draw(snapshots(policy))
    granted = {grant.request_id for grant in plan(snapshot).grants}
    started = [request for request in snapshot.requests if request.id in granted]
    for request in started:
        team = snapshot.teams.get(request.team_id, Team(request.team_id))
        everything = started + [running.request for running in snapshot.running]
        of_team = [work for work in everything if work.team_id == team.id]
        of_user = [work for work in of_team if work.user_id == request.user_id]
        asked = held_by([request])
        for work, limits in ((of_team, team.limit), (of_user, team.user_limit)):
            caps = (limits.devices, limits.cpu_millicores, limits.memory_bytes, limits.jobs)
            for asks, held, cap in zip(asked, held_by(work), caps, strict=True):
                assert cap is None or not asks or held <= cap
        assert not (request.demand.devices and team.device_seconds_left == 0)
        assert not team.is_budget_spent
