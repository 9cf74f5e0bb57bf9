"""Grants are written down with guarded updates: however many schedulers run, no device is held twice."""

import threading

import pytest
from django.db import connection

from apps.accounts.models import Team
from apps.core.errors import Unprocessable
from apps.resources.models import Allocation, Device, Node, Quota, UsageRecord
from apps.resources.nodes import default_pool, register_node, retire_node
from apps.resources.planning import apply_plan, schedule_pool
from apps.resources.scheduling import Demand, plan
from apps.resources.services import release_allocation, request_allocation
from apps.resources.snapshots import take_snapshot

pytestmark = pytest.mark.django_db


def devices(count: int) -> list[dict]:
    return [{"kind": "cuda", "index": index, "name": "GPU", "memory_bytes": 10**9} for index in range(count)]


def join(name: str, count: int) -> Node:
    facts = {"cpu_count": 4, "memory_bytes": 10**9, "storage_free_bytes": 10**9, "devices": devices(count)}
    return register_node(name=name, facts=facts)


def claim_one(team: Team) -> Allocation:
    return request_allocation(team=team, user=None, demand=Demand(devices=1))


@pytest.fixture
def team(db) -> Team:
    return Team.objects.create(name="Birds", slug="birds")


def test_a_free_device_is_granted_and_comes_back_with_a_usage_record(team):
    node = join("one", 1)
    claim = claim_one(team)
    schedule_pool(default_pool())
    claim.refresh_from_db()
    assert (claim.status, claim.node) == (Allocation.Status.GRANTED, node)
    release_allocation(allocation=claim)
    release_allocation(allocation=claim)
    assert Device.objects.get().allocation is None
    assert UsageRecord.objects.get().device_kind == "cuda"


def test_who_waits_is_told_why(team):
    join("one", 1)
    first, second = (claim_one(team) for _ in range(2))
    schedule_pool(default_pool())
    second.refresh_from_db()
    assert second.reason["code"] == "devices_busy"
    assert second.reason["message"] == "It asks for 1 device; 0 free at the moment."
    assert first.pk < second.pk


def test_a_quota_holds_a_team_back_though_devices_are_free(team):
    join("one", 2)
    Quota.objects.create(team=team, pool=default_pool(), resource="devices", limit=1)
    claims = [claim_one(team) for _ in range(2)]
    schedule_pool(default_pool())
    assert [Allocation.objects.get(pk=claim.pk).status for claim in claims] == ["granted", "pending"]
    claims[1].refresh_from_db()
    assert claims[1].reason["code"] == "team_limit"


def test_what_can_never_fit_is_refused_at_once(team):
    join("one", 2)
    with pytest.raises(Unprocessable, match="the largest that would do has 2") as caught:
        request_allocation(team=team, user=None, demand=Demand(devices=3))
    assert caught.value.code == "too_large_for_any_node"


def test_a_machine_that_left_gets_no_work(team):
    retire_node(node=join("one", 1))
    claim = claim_one(team)
    schedule_pool(default_pool())
    claim.refresh_from_db()
    assert claim.reason["code"] == "no_node_online"


def test_a_cordoned_machine_gets_no_work(team):
    Node.objects.filter(pk=join("one", 1).pk).update(is_cordoned=True)
    claim = claim_one(team)
    schedule_pool(default_pool())
    claim.refresh_from_db()
    assert claim.status == Allocation.Status.PENDING


def test_a_plan_made_from_an_old_snapshot_takes_nothing_twice(team):
    join("one", 1)
    claim_one(team)
    pool = default_pool()
    old = plan(take_snapshot(pool))
    apply_plan(pool, old)
    claim_one(team)
    stale = plan(take_snapshot(pool))
    apply_plan(pool, old)
    apply_plan(pool, stale)
    assert Allocation.objects.filter(status="granted").count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_schedulers_at_once_never_give_a_device_twice(team):
    join("one", 3)
    join("two", 2)
    for _ in range(8):
        claim_one(team)
    barrier = threading.Barrier(2)

    def schedule() -> None:
        barrier.wait()
        schedule_pool(default_pool())
        connection.close()

    schedulers = [threading.Thread(target=schedule) for _ in range(2)]
    for scheduler in schedulers:
        scheduler.start()
    for scheduler in schedulers:
        scheduler.join()
    schedule_pool(default_pool())
    granted = Allocation.objects.filter(status="granted")
    assert granted.count() == 5
    assert all(claim.devices.count() == 1 for claim in granted)
