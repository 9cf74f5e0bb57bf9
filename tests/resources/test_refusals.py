"""What can never run is refused at once, with the number that is too large and the field to change."""

import pytest

from apps.core.errors import DomainError
from apps.resources.models import Allocation, Pool, Quota
from apps.resources.nodes import default_pool, register_node
from apps.resources.planning import apply_plan, schedule_pool
from apps.resources.scheduling import Demand, Priority, plan
from apps.resources.services import change_claim, request_allocation
from apps.resources.snapshots import take_snapshot
from apps.resources.wanted import Terms, Wanted, wanted_of

pytestmark = pytest.mark.django_db
GB = 10**9


def join(name: str = "one", devices: int = 2, kind: str = "cuda", cores: int = 4, memory: int = 16 * GB) -> None:
    held = [{"kind": kind, "index": index, "name": "GPU", "memory_bytes": GB} for index in range(devices)]
    register_node(name=name, facts={"cpu_count": cores, "memory_bytes": memory, "devices": held})


def refused(person, terms: Terms | None = None, **demand) -> DomainError:
    with pytest.raises(DomainError) as caught:
        request_allocation(
            team=person.team, user=person.user, demand=Demand(**{"devices": 1} | demand), terms=terms or Terms()
        )
    assert not Allocation.objects.exists()
    return caught.value


@pytest.mark.parametrize(
    ("demand", "code", "field", "asks", "largest"),
    [
        ({"devices": 3}, "too_large_for_any_node", "devices", 3, 2),
        ({"cpu_millicores": 9000}, "too_large_for_any_node", "cpu", 9000, 4000),
        ({"memory_bytes": 64 * GB}, "too_large_for_any_node", "memory", 64 * GB, 16 * GB),
        ({"devices": 0, "memory_bytes": 64 * GB}, "too_large_for_any_node", "memory", 64 * GB, 16 * GB),
    ],
)
def test_what_no_machine_could_give_is_named(member, demand, code, field, asks, largest):
    join()
    error = refused(member, **demand)
    assert (error.status, error.code, error.field) == (422, code, field)
    assert (error.details["asks"], error.details["largest_node"]) == (asks, largest)


def test_the_largest_machine_is_one_that_could_take_the_rest(member):
    """A machine with much memory and no device of the kind is no help."""
    join("gpus", devices=2, memory=8 * GB)
    join("store", devices=1, kind="cpu", memory=512 * GB)
    error = refused(member, device_kind="cuda", memory_bytes=64 * GB)
    assert error.details["largest_node"] == 8 * GB
    assert error.message == (
        "This asks for 64.0 GB of memory on one machine; the largest that would do has 8.0 GB of memory. Ask for less."
    )


def test_a_kind_that_the_pool_has_not_is_named_beside_those_it_has(member):
    join()
    error = refused(member, device_kind="mps")
    assert (error.code, error.field, error.details["known"]) == ("kind_missing", "device_kind", ["cuda"])


def test_a_gang_may_span_machines_and_no_more_than_there_are(member):
    join("one", 2), join("two", 2)
    assert request_allocation(team=member.team, user=None, demand=Demand(devices=4, max_nodes=None))
    Allocation.objects.all().delete()
    error = refused(member, devices=5, max_nodes=None)
    assert (error.code, error.details["total"]) == ("too_large_for_pool", 4)


@pytest.mark.parametrize(("quota", "whose"), [({"limit": 1}, "team"), ({"user_limit": 1}, "user")])
def test_more_than_the_team_or_a_person_may_hold_is_refused(member, quota, whose):
    join()
    Quota.objects.create(team=member.team, pool=default_pool(), resource="devices", **quota)
    error = refused(member, devices=2)
    assert (error.code, error.field, error.details["whose"]) == ("exceeds_limit", "devices", whose)
    assert "ask an administrator for more" in error.message


def test_a_pool_without_a_machine_takes_it_and_lets_it_wait(member):
    claim = request_allocation(team=member.team, user=member.user, demand=Demand(devices=8))
    schedule_pool(default_pool())
    claim.refresh_from_db()
    assert claim.reason["code"] == "no_node_online"


@pytest.mark.parametrize("demand", [{"devices": 10**12}, {"cpu_millicores": 2**40}, {"memory_bytes": -1}])
def test_senseless_numbers_never_reach_the_database(member, demand):
    assert refused(member, **demand).code == "out_of_range"


def test_high_priority_is_for_owners_and_admins(owner, member):
    terms = Terms(priority=Priority.HIGH)
    error = refused(member, terms)
    assert (error.status, error.code, error.field) == (403, "priority_not_allowed", "priority")
    assert request_allocation(team=owner.team, user=owner.user, demand=Demand(devices=1), terms=terms).priority == 2


@pytest.mark.parametrize(
    ("policy", "bid", "code"),
    [("fifo", 1.0, "no_auction"), ("auction", -1.0, "out_of_range"), ("auction", float("nan"), "out_of_range"),
     ("auction", 1e12, "out_of_range"), ("auction", 5.0, "too_few_credits")],
)  # fmt: skip
def test_a_bid_is_a_number_of_credits_in_a_pool_that_is_auctioned(member, policy, bid, code):
    Pool.objects.filter(pk=default_pool().pk).update(policy=policy)
    error = refused(member, Terms(bid=bid))
    assert (error.code, error.field) == (code, "bid")


def test_what_waits_can_ask_for_less_and_keeps_its_age(member):
    join()
    first = request_allocation(team=member.team, user=member.user, demand=Demand(devices=2))
    changed = change_claim(allocation=first, wanted=wanted_of(first).changed({"devices": 1}), user=member.user)
    first.refresh_from_db()
    assert (changed.devices_asked, changed.submitted_at, changed.user) == (1, first.submitted_at, member.user)
    assert first.status == Allocation.Status.RELEASED and not hasattr(first, "usage")


def test_a_plan_made_before_the_change_grants_nothing_of_it(member):
    join()
    claim = request_allocation(team=member.team, user=member.user, demand=Demand(devices=2))
    old = plan(take_snapshot(default_pool()))
    changed = change_claim(allocation=claim, wanted=wanted_of(claim).changed({"devices": 1}), user=member.user)
    assert apply_plan(default_pool(), old) == 0
    schedule_pool(default_pool())
    changed.refresh_from_db()
    assert changed.status == "granted" and changed.devices.count() == 1


def test_what_has_started_keeps_what_it_has(member):
    join()
    claim = request_allocation(team=member.team, user=member.user, demand=Demand(devices=2))
    schedule_pool(default_pool())
    with pytest.raises(DomainError) as caught:
        change_claim(allocation=claim, wanted=Wanted(claim.pool, Demand(devices=1)), user=member.user)
    assert (caught.value.status, caught.value.code) == (409, "not_waiting")


def test_a_member_may_change_what_an_owner_had_made_urgent(owner, member):
    claim = request_allocation(
        team=owner.team, user=owner.user, demand=Demand(devices=1), terms=Terms(priority=Priority.HIGH)
    )
    changed = change_claim(allocation=claim, wanted=wanted_of(claim).changed({"memory": 2}), user=member.user)
    assert (changed.priority, changed.memory_bytes) == (Priority.HIGH, 2 * GB)


def test_a_bid_from_an_auction_that_has_ended_is_left_out_of_every_change(db):
    bidding = Wanted(default_pool(), Demand(devices=1), Terms(bid=5.0))
    assert bidding.changed({"priority": "low"}).terms.bid == 0.0
    Pool.objects.update(policy=Pool.Policy.AUCTION)
    assert Wanted(default_pool(), Demand(devices=1), Terms(bid=5.0)).changed({"priority": "low"}).terms.bid == 5.0
