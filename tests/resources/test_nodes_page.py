"""The machines: everybody sees them and how they are; administrators cordon, open, drain, remove and put back."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.accounts.models import AuditEvent
from apps.resources.models import Allocation, Node
from apps.resources.nodes import beat_node
from tests.jobs.making import make_node, make_version, run, submit
from workers.measuring import DeviceUse


@pytest.fixture
def node(db) -> Node:
    return make_node("alpha", devices=2)


def html(person, path: str = "/pool/nodes/") -> str:
    return person.page.get(path).content.decode()


def press(person, verb: str, name: str = "alpha"):
    return person.page.post(f"/pool/nodes/{name}/{verb}/", follow=True)


def test_an_empty_pool_says_how_a_machine_joins(member, administrator):
    assert "No machine has joined yet" in html(member) and "Add a machine" not in html(member)
    assert "Add a machine" in html(administrator)


def test_a_machine_shows_what_it_has_and_how_busy_it_is(member, node):
    beat_node(
        node=node,
        devices=[DeviceUse("cpu", 0, 0.42, 3 * 10**9)],
        network_in_bytes_per_second=2_000_000.0,
        health={"load": {"per_core": 0.8, "memory_used_bytes": 4 * 10**9}, "problems": []},
    )
    page = html(member)
    assert "of 2 cores" in page and "load 80 %" in page and "2.0 MB" in page
    assert "42 % · 3.0 GB" in page and "Healthy." in page and 'data-status="online"' in page


def test_what_is_wrong_ends_in_what_to_do(member, node):
    problem = {"code": "device_errors", "numbers": {"kind": "cuda", "index": 3, "errors": 2}, "is_serious": True}
    beat_node(node=node, health={"problems": [problem], "version": "0.0.1+other"})
    page = html(member, "/pool/nodes/alpha/")
    assert "The memory of GPU 3 had 2 errors" in page and "Drain the machine, then restart it." in page
    assert 'data-problem="version_differs"' in page and "Healthy." not in page


def test_a_machine_that_fell_silent_says_since_when_and_what_happens_to_its_jobs(member, node):
    run(submit(member.team, member.user, make_version(member.team)), node)
    Node.objects.update(last_beat_at=timezone.now() - timedelta(seconds=40))
    page = html(member)
    assert 'data-status="offline"' in page and 'data-problem="heartbeat_stale"' in page
    assert "They go on elsewhere after 60 seconds of silence." in page


def test_own_work_is_named_and_another_teams_is_not(member, stranger, administrator, node):
    job = run(submit(member.team, member.user, make_version(member.team, "Secret birds")), node)
    for path in ("/pool/nodes/", "/pool/nodes/alpha/"):
        assert f"/jobs/{job.pk}/" in html(member, path)
        assert "another team" in html(stranger, path) and "Secret birds" not in html(stranger, path)
        assert member.team.name not in html(stranger, path) and member.team.name in html(administrator, path)


def test_everybody_sees_and_only_administrators_may_change(member, owner, administrator, node):
    for person in (member, owner):
        assert "Cordon" not in html(person, "/pool/nodes/alpha/")
        for verb in ("cordon", "open", "drain", "remove", "restore"):
            assert press(person, verb).status_code == 403
        assert person.page.get("/pool/add-machine/").status_code == 403
        assert person.page.post("/pool/add-machine/", {"name": "x"}).status_code == 403
    node.refresh_from_db()
    assert not node.is_cordoned and node.removed_at is None
    assert "Cordon" in html(administrator, "/pool/nodes/alpha/")
    assert press(administrator, "reboot").status_code == 404
    assert press(administrator, "cordon", "nobody").status_code == 404


def test_cordon_and_open_again(administrator, node):
    assert "takes no new work" in press(administrator, "cordon").content.decode()
    assert 'data-status="cordoned"' in html(administrator)
    assert "takes work again" in press(administrator, "open").content.decode()
    assert 'data-status="online"' in html(administrator)
    events = list(AuditEvent.objects.filter(target="alpha").order_by("at").values_list("action", flat=True))
    assert events == ["node.joined", "node.cordoned", "node.opened"]
    page = html(administrator, "/pool/nodes/alpha/")
    assert "Opened again" in page and "anna" in page


def test_a_drain_says_how_many_still_leave(member, administrator, node):
    job = run(submit(member.team, member.user, make_version(member.team)), node)
    assert "1 job writes a checkpoint" in press(administrator, "drain").content.decode()
    page = html(administrator, "/pool/nodes/alpha/")
    assert 'data-status="draining"' in page and "Jobs that still have to leave: 1." in page
    assert Allocation.objects.get(job=job).leave_code == "drained"
    Allocation.objects.update(status="released")
    assert 'data-status="drained"' in html(administrator, "/pool/nodes/alpha/")


def test_a_busy_machine_is_not_removed(member, administrator, node):
    run(submit(member.team, member.user, make_version(member.team)), node)
    answer = press(administrator, "remove")
    assert answer.status_code == 409 and "Drain it first" in answer.content.decode()
    assert Node.objects.get().removed_at is None


def test_a_removed_machine_is_gone_for_all_but_administrators_who_can_put_it_back(member, administrator, node):
    press(administrator, "remove")
    assert "alpha" not in html(member) and member.page.get("/pool/nodes/alpha/").status_code == 404
    assert "1 machine was removed" in html(administrator)
    press(administrator, "restore")
    assert Node.objects.get().removed_at is None and 'data-node="alpha"' in html(member)


def test_the_parts_that_live_are_sent_alone(administrator, node):
    htmx = {"HX-Request": "true"}
    part = administrator.page.get("/pool/nodes/", headers={**htmx, "HX-Target": "nodes-live"}).content.decode()
    assert "<html" not in part and 'id="nodes-live"' in part
    part = administrator.page.get("/pool/nodes/alpha/", headers={**htmx, "HX-Target": "node-live"}).content.decode()
    assert 'id="node-actions" hx-swap-oob="true"' in part and 'id="node-badge" hx-swap-oob="true"' in part


def test_programs_see_and_change_machines_as_people_do(member, administrator, node):
    listed = member.api.get("/api/v1/nodes/").json()
    assert (listed["count"], listed["results"][0]["state"]) == (1, "online")
    assert [item["state"] for item in listed["results"][0]["devices"]] == ["free", "free"]
    assert member.api.post("/api/v1/nodes/alpha/drain/").status_code == 403
    assert administrator.api.post("/api/v1/nodes/alpha/drain/").json()["state"] == "drained"
    assert administrator.api.post("/api/v1/nodes/alpha/open/").json()["state"] == "online"
    assert administrator.api.post("/api/v1/nodes/alpha/cordon/").json()["state"] == "cordoned"
    assert administrator.api.post("/api/v1/nodes/alpha/remove/").json()["state"] == "removed"
    assert member.api.get("/api/v1/nodes/alpha/").status_code == 404
