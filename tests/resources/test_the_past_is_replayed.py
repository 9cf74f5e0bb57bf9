"""An administrator replays the pool's own past under another policy and sees who would have waited how long."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from apps.accounts.models import AuditEvent, Team
from apps.core.errors import Unprocessable
from apps.resources import simulator
from apps.resources.models import Allocation, Node
from apps.resources.nodes import default_pool
from apps.resources.quotas import set_quota
from apps.resources.scheduling import POLICIES
from apps.resources.simulation import NothingToReplay, Question, TooSlow, simulate
from tests.jobs.making import make_node

pytestmark = pytest.mark.django_db
PAGE = "/pool/simulator/"
NOW = timezone.now()
FORM = {"policy": "shortest_predicted", "days": "7", "extra_nodes": "0", "is_preemptive": "on"}


@pytest.fixture
def node(db) -> Node:
    return make_node("one", devices=1)


@pytest.fixture
def birds(db) -> Team:
    return Team.objects.create(name="Birds", slug="birds")


@pytest.fixture
def fish(db) -> Team:
    return Team.objects.create(name="Fish", slug="fish")


def past(team: Team, node: Node, hours_ago: float, minutes: float, **fields) -> Allocation:
    asked = NOW - timedelta(hours=hours_ago)
    values = {"devices_asked": 1, "status": "released", "submitted_at": asked, **fields}
    row = Allocation.objects.create(
        team=team,
        pool=default_pool(),
        node=node,
        granted_at=asked,
        released_at=asked + timedelta(minutes=minutes),
        **values,
    )
    Allocation.objects.filter(pk=row.pk).update(requested_at=asked)
    return row


def ask(**changes) -> dict:
    question = Question(**{"pool": "default", "days": 7, "policy": "fifo", **changes})
    return simulate(question, now=NOW, tell=lambda part: None, clock=lambda: 0.0, seconds=1)


def test_the_same_policy_changes_nothing(node, birds):
    for number in range(5):
        past(birds, node, 10 - number / 10, 30)
    answer = ask()
    assert answer["jobs"] == 5 and answer["before"] == answer["after"]
    assert answer["before"]["mean_wait"] == pytest.approx(24 * 60 * 2, rel=0.01)  # 0, 24, 48, 72 and 96 minutes
    assert answer["teams"] == [
        {"name": "Birds", "jobs": 5, "before": answer["before"]["mean_wait"],
         "after": answer["after"]["mean_wait"], "change": 0.0}
    ]  # fmt: skip


def test_more_machines_shorten_the_wait(node, birds, fish):
    for number in range(6):
        past(birds if number % 2 else fish, node, 10 - number / 10, 60)
    answer = ask(extra_nodes=5)
    assert answer["before"]["mean_wait"] > 3600 and answer["after"]["mean_wait"] == 0
    assert answer["after"]["utilisation"] < answer["before"]["utilisation"]
    assert [team["change"] < 0 for team in answer["teams"]] == [True, True]
    assert max(answer["queue"]["before"]) == 4 and max(answer["queue"]["after"]) == 0


def test_a_high_priority_wins_and_a_low_one_loses(node, birds, fish):
    past(birds, node, 10, 60)
    past(birds, node, 9.9, 60, priority=0)
    past(fish, node, 9.8, 60, priority=2)
    gains = {team["name"]: team["change"] for team in ask(policy="priority", is_preemptive=False)["teams"]}
    assert gains["Fish"] < 0 < gains["Birds"]


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_policy_can_be_asked(node, birds, fish, policy):
    for number in range(6):
        past(birds if number % 2 else fish, node, 10 - number / 10, 60, bid=number)
    answer = ask(policy=policy)
    assert answer["left_out"] == 0 and answer["after"]["utilisation"] > 0.9


def test_what_could_not_start_today_is_left_out_and_counted(node, birds, fish):
    past(birds, node, 5, 10)
    past(birds, node, 5, 10, devices_asked=4)
    set_quota(team=fish, pool=default_pool(), resource="devices", user=None, limit=0)
    past(fish, node, 5, 10)
    answer = ask()
    assert (answer["jobs"], answer["left_out"]) == (1, 2)


def test_an_empty_past_says_so(node, administrator):
    with pytest.raises(NothingToReplay):
        ask()
    administrator.page.post(PAGE, FORM)
    assert "Nothing ran on devices of this pool" in administrator.page.get(PAGE).content.decode()


def test_a_long_replay_is_given_up(node, birds):
    past(birds, node, 5, 10)
    ticks = iter(range(100))
    with pytest.raises(TooSlow):
        simulate(Question("default", 7, "fifo"), now=NOW, tell=lambda part: None, clock=lambda: next(ticks), seconds=1)


def test_a_short_replay_is_answered_at_once(administrator, node, birds):
    past(birds, node, 5, 10)
    answer = administrator.page.post(PAGE, FORM)
    assert answer.status_code == 302
    seen = administrator.page.get(PAGE).content.decode()
    assert "Shortest predicted first instead of First come, first served" in seen and "Birds" in seen
    assert AuditEvent.objects.get(action="pool.simulated").actor == administrator.user


def test_a_longer_one_goes_on_in_the_control_worker(administrator, node, birds, monkeypatch):
    past(birds, node, 5, 10)
    monkeypatch.setattr(simulator, "QUICK_SECONDS", -1.0)
    state = simulator.ask_simulation(user=administrator.user, question=Question("default", 7, "fifo"))
    assert state["state"] == "running"
    live = administrator.page.get(PAGE, headers={"HX-Request": "true", "HX-Target": "simulation"})
    assert live.status_code == 200 and "<progress" in live.content.decode()
    simulator.run_simulation(user_id=administrator.user.pk, run_id=state["id"])
    done = administrator.page.get(PAGE, headers={"HX-Request": "true", "HX-Target": "simulation"})
    assert done.status_code == 286 and "Who wins, who loses" in done.content.decode()


def test_a_question_asked_since_takes_the_place_of_an_older_one(administrator, node, birds, monkeypatch):
    past(birds, node, 5, 10)
    monkeypatch.setattr(simulator, "QUICK_SECONDS", -1.0)
    older = simulator.ask_simulation(user=administrator.user, question=Question("default", 7, "fifo"))
    newer = simulator.ask_simulation(user=administrator.user, question=Question("default", 3, "priority"))
    simulator.run_simulation(user_id=administrator.user.pk, run_id=older["id"])
    assert simulator.current_simulation(administrator.user)["id"] == newer["id"]
    assert simulator.current_simulation(administrator.user)["state"] == "running"
    cache.clear()
    simulator.run_simulation(user_id=administrator.user.pk, run_id=newer["id"])
    assert simulator.current_simulation(administrator.user) is None


@pytest.mark.parametrize("changes", [{"policy": "anarchy"}, {"days": "0"}, {"days": "9999"}, {"extra_nodes": "-1"}])
def test_nonsense_is_refused(administrator, changes):
    assert administrator.page.post(PAGE, FORM | changes).status_code == 422
    with pytest.raises(Unprocessable):
        simulator.ask_simulation(
            user=administrator.user,
            question=Question(
                "default",
                int(changes.get("days", 7)),
                changes.get("policy", "fifo"),
                extra_nodes=int(changes.get("extra_nodes", 0)),
            ),
        )


def test_only_administrators_replay(owner):
    assert owner.page.get(PAGE).status_code == 403
    assert owner.page.post(PAGE, FORM).status_code == 403
