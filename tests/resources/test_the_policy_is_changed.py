"""Administrators choose how a pool is shared, see beforehand what that does, and keep several pools."""

import pytest
from django.utils import timezone

from apps.accounts.models import AuditEvent
from apps.core.errors import Conflict, Unprocessable
from apps.resources.models import Allocation, CreditEntry, Node, Pool, Share
from apps.resources.nodes import default_pool
from apps.resources.planning import schedule_pool
from apps.resources.policies import set_policy
from apps.resources.pools import create_pool, move_node, rename_pool
from apps.resources.scheduling import Demand
from apps.resources.services import request_allocation
from tests.jobs.making import make_node, run, submit

pytestmark = pytest.mark.django_db
PAGE = "/pool/policy/"
FORM = {
    "policy": "priority",
    "is_preemptive": "on",
    "min_runtime_minutes": "5",
    "starvation_hours": "24",
    "credits_per_period": "1000",
    "credit_period_hours": "24",
}
VALUES = {
    "policy": "auction",
    "is_preemptive": True,
    "min_runtime_seconds": 600,
    "starvation_seconds": 86400,
    "credits_per_period": 1000,
    "credit_period_hours": 24,
}


def test_the_policy_is_saved_with_its_settings_and_leaves_a_trace(administrator):
    answer = administrator.page.post(PAGE, FORM)
    assert answer.status_code == 302
    pool = default_pool()
    assert (pool.policy, pool.min_runtime_seconds, pool.starvation_seconds) == ("priority", 300, 86400)
    event = AuditEvent.objects.get(action="pool.policy_changed")
    assert event.details["policy"] == ["fifo", "priority"] and event.actor == administrator.user


def test_a_look_ahead_changes_nothing(administrator, team):
    node = make_node(devices=1)
    run(submit(team), node)
    request_allocation(team=team, user=None, demand=Demand(devices=1))
    values = {**FORM, "preview": "yes"}
    part = administrator.page.post(PAGE, values, headers={"HX-Request": "true", "HX-Target": "policy-outlook"})
    seen = part.content.decode()
    assert "1 job waits; 0 would start at once." in seen and "<html" not in seen
    assert "<html" in administrator.page.post(PAGE, values).content.decode()
    assert default_pool().policy == "fifo"
    assert not AuditEvent.objects.filter(action="pool.policy_changed").exists()


@pytest.mark.parametrize(
    "changes",
    [{"policy": "anarchy"}, {"starvation_hours": "0"}, {"credits_per_period": "9" * 20}, {"min_runtime_minutes": "-1"}],
)
def test_nonsense_is_refused_beside_its_field(administrator, changes):
    answer = administrator.page.post(PAGE, FORM | changes)
    assert answer.status_code == 422 and "invalid-feedback" in answer.content.decode()
    assert default_pool().policy == "fifo"


def test_only_administrators_see_it(owner):
    assert owner.page.get(PAGE).status_code == 403
    assert owner.page.post(PAGE, FORM).status_code == 403
    assert owner.page.post(f"{PAGE}pools/", {"name": "mine"}).status_code == 403
    assert "Policy" not in owner.page.get("/pool/").content.decode()


def test_an_auction_begins_with_credits_and_ends_with_a_last_charge(team):
    node = make_node(devices=1)
    pool = set_policy(pool=default_pool(), user=None, **VALUES)
    share = Share.objects.get(team=team)
    assert share.credits == 1000
    claim = request_allocation(team=team, user=None, demand=Demand(devices=1))
    an_hour_ago = timezone.now() - timezone.timedelta(hours=1)
    Allocation.objects.filter(pk=claim.pk).update(status="granted", node=node, price=10, granted_at=an_hour_ago)
    set_policy(pool=pool, user=None, **{**VALUES, "policy": "fifo"})
    claim.refresh_from_db()
    share.refresh_from_db()
    assert claim.price == 0 and share.credits == pytest.approx(990, abs=0.1)
    assert CreditEntry.objects.filter(kind="charged", allocation=claim).count() == 1


def test_going_back_to_the_auction_in_the_same_period_gives_nothing_twice(team):
    for policy in ("auction", "fifo", "auction"):
        set_policy(pool=default_pool(), user=None, **{**VALUES, "policy": policy})
    assert Share.objects.get(team=team).credits == 1000


def test_a_second_pool_takes_a_machine_and_has_its_own_queue(administrator, team):
    node = make_node(devices=1)
    administrator.page.post(f"{PAGE}pools/", {"name": "teaching"})
    teaching = Pool.objects.get(name="teaching")
    administrator.page.post(f"{PAGE}nodes/{node.pk}/", {"pool": "teaching"})
    node.refresh_from_db()
    assert node.pool == teaching
    claim = request_allocation(team=team, user=None, demand=Demand(devices=1), pool=teaching)
    schedule_pool(default_pool())
    schedule_pool(teaching)
    claim.refresh_from_db()
    assert claim.node == node
    with pytest.raises(Conflict, match="still runs on one"):
        move_node(node=node, pool=default_pool(), user=None)
    assert {"pool.created", "node.moved"} <= set(AuditEvent.objects.values_list("action", flat=True))


@pytest.mark.parametrize("name", ["", "Größe", "a b", "-x", "x" * 61, "<b>", "a\x00"])
def test_a_pool_needs_a_name_that_fits_an_address(administrator, name):
    with pytest.raises(Unprocessable):
        create_pool(name=name, user=None)
    assert administrator.page.post(f"{PAGE}pools/", {"name": name}).status_code == 422
    assert Pool.objects.exclude(name="default").count() == 0


def test_pools_are_renamed_but_for_the_default_one(administrator):
    pool = create_pool(name="teaching", user=None)
    administrator.page.post(f"{PAGE}pools/{pool.pk}/", {"name": "courses"})
    pool.refresh_from_db()
    assert pool.name == "courses"
    with pytest.raises(Conflict, match="keeps its name"):
        rename_pool(pool=default_pool(), name="other", user=None)
    with pytest.raises(Conflict, match="already"):
        rename_pool(pool=pool, name="default", user=None)


def test_a_machine_that_was_removed_is_not_moved():
    node = make_node()
    Node.objects.update(removed_at=timezone.now())
    with pytest.raises(Conflict, match="was removed"):
        move_node(node=node, pool=create_pool(name="teaching", user=None), user=None)
