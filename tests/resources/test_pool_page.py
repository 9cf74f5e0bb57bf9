"""The pool: machines, who holds them as far as the viewer may see, and why the queue waits."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.resources.models import Allocation, Node, Quota
from apps.resources.nodes import default_pool
from apps.resources.planning import schedule_pool
from tests.jobs.making import make_node, make_version, run, submit


@pytest.fixture
def node(db) -> Node:
    return make_node("alpha", devices=1)


def html(person) -> str:
    return person.page.get("/pool/").content.decode()


def test_an_empty_pool_says_how_a_machine_joins(member):
    page = html(member)
    assert "No machine has joined yet" in page and "Nothing waits." in page


def test_the_map_has_a_cell_for_each_device_and_says_what_it_is_doing(member, node):
    assert 'title="CPU 0: free"' in html(member) and "heat-cell is-free" in html(member)
    Node.objects.update(is_cordoned=True)
    assert 'data-status="cordoned"' in html(member) and "free, but takes no new work" in html(member)
    Node.objects.update(last_beat_at=None)
    assert 'data-status="offline"' in html(member) and 'title="CPU 0: offline"' in html(member)


def test_the_map_tells_own_from_others_by_colour_and_in_words(member, stranger, node):
    job = run(submit(member.team, member.user, make_version(member.team, "Secret birds")), node)
    assert "heat-cell is-mine" in html(member) and f"CPU 0: held by {job.name}" in html(member)
    assert "heat-cell is-held" in html(stranger) and "CPU 0: held by another team" in html(stranger)


def test_five_hundred_devices_take_as_many_queries_as_one(member, node):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            html(member)
        return len(captured)

    before = queries()
    for number in range(50):
        make_node(f"rack-{number}", devices=10)
    assert queries() == before
    page = html(member)
    assert page.count('class="heat-cell is-') == 501 and "heat-sm" in page


def test_own_work_is_named_and_another_teams_is_not(member, stranger, administrator, node):
    job = run(submit(member.team, member.user, make_version(member.team, "Secret birds")), node)
    assert f"/jobs/{job.pk}/" in html(member) and "Secret birds" in html(member)
    seen = html(stranger)
    assert "another team" in seen and "Secret birds" not in seen and member.team.name not in seen
    assert member.team.name in html(administrator)


def test_the_queue_says_when_work_is_expected_to_start(member, stranger, node):
    run(submit(member.team, member.user, make_version(member.team)), node)
    waiting = submit(member.team, member.user, make_version(member.team, "More"))
    schedule_pool(default_pool())
    now = timezone.now()
    times = {"starts_low_at": now + timedelta(minutes=5, seconds=5), "starts_high_at": now + timedelta(minutes=40)}
    Allocation.objects.filter(job=waiting).update(place=1, **times)
    assert "in 5 to 40 min" in html(member) and "in 5 to 40 min" in html(stranger)


def test_the_queue_says_why_to_those_who_wait(member, stranger, node):
    run(submit(member.team, member.user, make_version(member.team)), node)
    submit(member.team, member.user, make_version(member.team, "More"))
    schedule_pool(default_pool())
    reason = "It asks for 1 device; 0 free at the moment."
    assert reason in html(member) and reason not in html(stranger)
    assert "another team" in html(stranger)


def test_the_quota_stands_beside_what_is_held(member, node):
    for resource, limit in {"devices": 3, "jobs": 7}.items():
        Quota.objects.create(team=member.team, pool=default_pool(), resource=resource, limit=limit)
    assert "of 3 allowed" in html(member) and "your team may have 7 at once" in html(member)


def test_the_pool_is_told_to_programs_too(member, node):
    body = member.api.get("/api/v1/pool/").json()
    assert (body["devices_total"], body["nodes_online"], body["quota_devices"]) == (1, 1, None)


def test_somebody_without_a_team_sees_the_pool_too(member, node):
    member.membership.delete()
    assert "alpha" in html(member)
