"""A node measures what plans want to know, on a device that nobody holds, and tells when it could not."""

from collections.abc import Iterator

import pytest

from apps.resources.links import links_between, open_link, record_link, want_links
from apps.resources.models import Allocation, Device, LayerProfile, NodeLink
from apps.resources.nodes import default_pool
from apps.resources.profiles import want_profile
from apps.resources.scheduling import Demand
from apps.resources.services import request_allocation
from apps.resources.wanted import USUAL_TERMS
from tests.jobs.making import make_node
from tests.stack import wait_until
from workers import links, profiles
from workers.launcher import find_by_token
from workers.parallel.shapes import Shape
from workers.tokens import profile_prefix

SHAPE = Shape("resnet_tiny", side=16, classes=3)


@pytest.fixture
def node(db) -> Iterator:
    made = make_node(devices=1)
    yield made
    profiles.stop(made)


def wanted(node, shape: Shape = SHAPE) -> LayerProfile:
    return want_profile(shape=shape, device=node.devices.select_related("node").get())


def looks_until(node, condition, what: str) -> None:
    def look() -> bool:
        profiles.supervise(node)
        return condition()

    wait_until(look, seconds=100, what=what)


def test_what_is_wanted_is_measured_by_a_program_of_its_own(node):
    row = wanted(node)
    profiles.supervise(node)
    assert find_by_token(profile_prefix(node.name)), "it runs apart from the agent"
    looks_until(node, lambda: LayerProfile.objects.filter(measured_at__isnull=False).exists(), "it is measured")
    row.refresh_from_db()
    assert row.result["profile"]["is_measured"] and row.error == ""
    profiles.supervise(node)
    assert not find_by_token(profile_prefix(node.name)), "it is measured once"


def test_work_comes_first_and_what_was_begun_is_begun_again(node, team):
    row = wanted(node)
    profiles.supervise(node)
    claim = request_allocation(team=team, user=None, demand=Demand(devices=1), terms=USUAL_TERMS, pool=default_pool())
    Device.objects.update(allocation=claim)
    profiles.supervise(node)
    assert not find_by_token(profile_prefix(node.name))
    profiles.supervise(node)
    assert not find_by_token(profile_prefix(node.name)), "the device is held"
    Allocation.objects.all().delete()
    profiles.supervise(node)
    assert find_by_token(profile_prefix(node.name))
    row.refresh_from_db()
    assert (row.measured_at, row.error) == (None, "")


def test_what_cannot_be_measured_says_why_and_is_not_tried_again_at_once(node):
    row = wanted(node, Shape("no_such_network", side=16, classes=3))
    looks_until(node, lambda: LayerProfile.objects.exclude(error="").exists(), "it failed")
    row.refresh_from_db()
    assert "no_such_network" in row.error
    assert wanted(node, Shape("no_such_network", side=16, classes=3)).error


@pytest.mark.django_db(transaction=True)
def test_two_machines_measure_the_way_between_them_both_ways():
    one, two = make_node("one"), make_node("two")
    assert want_links([one, two]) and NodeLink.objects.count() == 2

    def look() -> bool:
        links.supervise(one)
        links.supervise(two)
        return not NodeLink.objects.filter(measured_at=None).exists()

    wait_until(look, seconds=60, what="both ways are measured")
    assert set(links_between([one, two]).measured) == {("one", "two"), ("two", "one")}
    assert not NodeLink.objects.exclude(token="", port=None, wanted_at=None).exists(), "nothing is left open"
    assert want_links([one, two]) is False


def test_a_measurement_that_was_asked_for_anew_is_not_answered_by_the_old_one(db):
    one, two = make_node("one"), make_node("two")
    want_links([one, two])
    link = NodeLink.objects.get(from_node=one)
    assert open_link(link=link, port=4000, token="first")
    assert not open_link(link=link, port=4001, token="second"), "one listener at a time"
    link.refresh_from_db()
    NodeLink.objects.update(token="third")
    record_link(link=link, bytes_per_second=1.0, rtt_seconds=1.0)
    link.refresh_from_db()
    assert link.measured_at is None
