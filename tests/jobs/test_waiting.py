"""A job that waits says why, who holds what it waits for, when it starts and what would help, to those concerned."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.accounts.models import AuditEvent
from apps.jobs import attempts
from apps.jobs.models import Job
from apps.resources.models import Allocation, Node, Pool
from apps.resources.nodes import default_pool, drain_node, register_node
from apps.resources.planning import schedule_pool
from apps.resources.quotas import set_quota
from apps.resources.scheduling import Demand
from apps.resources.wanted import Terms
from tests.jobs.making import make_node, make_version, run, submit
from tests.people import Person

PARTIAL = {"HX-Request": "true", "HX-Target": "job-live"}


@pytest.fixture
def node(db) -> Node:
    return make_node(devices=1)


def page_of(person: Person, job: Job) -> str:
    response = person.page.get(f"/jobs/{job.pk}/")
    assert response.status_code == 200
    return response.content.decode()


def waiting(person: Person, name: str = "More", **choices) -> Job:
    job = submit(person.team, person.user, make_version(person.team, name), **choices)
    schedule_pool(default_pool())
    return Job.objects.get(pk=job.pk)


def told(person: Person, job: Job) -> dict:
    return person.api.get(f"/api/v1/jobs/{job.pk}/").json()["waiting"]


def change(person: Person, job: Job, **terms):
    return person.api.patch(f"/api/v1/jobs/{job.pk}/", terms, content_type="application/json")


def add_gpu() -> Node:
    held = [{"kind": "cuda", "index": 0, "name": "L4", "memory_bytes": 10**9}]
    return register_node(name="gpu", facts={"cpu_count": 4, "memory_bytes": 16 * 10**9, "devices": held})


def test_the_own_teams_job_is_named_with_a_link(member, node):
    first = run(submit(member.team, member.user, make_version(member.team)), node)
    job = waiting(member)
    assert f'<a href="/jobs/{first.pk}/">Train Digits</a>' in page_of(member, job)
    assert told(member, job)["holders"] == [
        {"team": member.team.name, "job": first.pk, "name": "Train Digits", "devices": 1}
    ]


def test_of_another_teams_job_nothing_is_told_but_that_it_holds_something(member, stranger, node):
    run(submit(stranger.team, stranger.user, make_version(stranger.team, "Secret plans")), node)
    job = waiting(member)
    for text in (page_of(member, job), str(told(member, job))):
        assert "Secret plans" not in text and stranger.team.name not in text
    assert "another team" in page_of(member, job)
    assert told(member, job)["holders"] == [{"team": None, "job": None, "name": None, "devices": 1}]


def test_an_administrator_sees_who_it_is_and_gets_no_link_that_leads_nowhere(administrator, stranger, node):
    held = run(submit(stranger.team, stranger.user, make_version(stranger.team, "Whales")), node)
    page = page_of(administrator, waiting(administrator))
    assert stranger.team.name in page and "Train Whales" in page and f"/jobs/{held.pk}/" not in page


def test_a_name_with_markup_stays_a_name(member, node):
    run(submit(member.team, member.user, make_version(member.team), model_name="<script>x"), node)
    assert "<script>x" not in page_of(member, waiting(member))


def test_where_a_limit_holds_it_back_the_work_that_counts_against_it_is_named(member, owner, node):
    make_node("two", devices=2)
    first = run(submit(member.team, member.user, make_version(member.team)), Node.objects.get(name="one"))
    set_quota(team=member.team, pool=default_pool(), resource="devices", user=None, limit=1)
    job = waiting(member)
    assert (told(member, job)["code"], told(member, job)["holders"][0]["job"]) == ("team_limit", first.pk)


def test_what_is_being_freed_for_it_is_named(member, stranger, node):
    held = run(submit(stranger.team, stranger.user, make_version(stranger.team)), node)
    job = waiting(member)
    asked = {"leave_requested_at": timezone.now(), "leave_code": "reclaimed", "leaving_for": job.allocation}
    Allocation.objects.filter(pk=held.allocation_id).update(**asked)
    schedule_pool(default_pool())
    assert told(member, job)["code"] == "being_freed" and len(told(member, job)["holders"]) == 1


def test_when_it_starts_is_a_range_and_honest_while_it_cannot_be_told(member, node):
    run(submit(member.team, member.user, make_version(member.team)), node)
    job = waiting(member)
    Allocation.objects.filter(pk=job.allocation_id).update(starts_low_at=None, starts_high_at=None)
    assert "When it starts cannot be told yet." in page_of(member, job)
    assert told(member, job)["starts_between"] is None
    low = timezone.now() + timedelta(minutes=12)
    Allocation.objects.filter(pk=job.allocation_id).update(
        starts_low_at=low, starts_high_at=low + timedelta(minutes=30)
    )
    page = page_of(member, job)
    assert f"between {low:%H:%M}" in page and "min</span>" in page and "Place 1 in the queue." in page
    assert told(member, job)["starts_between"].keys() == {"earliest", "latest"}


def test_what_has_its_place_is_about_to_start_and_needs_no_help(member, node):
    Pool.objects.create(name="night")
    job = waiting(member)
    assert (told(member, job)["code"], told(member, job)["would_help"]) == ("granted", [])
    assert "It has its place and is about to start." in page_of(member, job)


def test_the_live_part_carries_the_whole_card(member, node):
    first = run(submit(member.team, member.user, make_version(member.team)), node)
    part = member.page.get(f"/jobs/{waiting(member).pk}/", headers=PARTIAL).content.decode()
    assert "<html" not in part and f"/jobs/{first.pk}/" in part


def test_another_kind_would_help_and_one_click_applies_it(member, node):
    run(submit(member.team, member.user, make_version(member.team)), node)
    add_gpu()
    job = waiting(member, demand=Demand(devices=1, cpu_millicores=500, device_kind="cpu"))
    [found] = [item for item in told(member, job)["would_help"] if item["code"] == "any_device_kind"]
    assert (found["changes"], found["starts_now"]) == ({"device_kind": ""}, True)
    page = page_of(member, job)
    assert "Take any kind of device" in page and "starts at once" in page
    age = job.allocation.submitted_at
    assert member.page.post(f"/jobs/{job.pk}/terms/", {"device_kind": ""}).status_code == 302
    schedule_pool(default_pool())
    job = Job.objects.get(pk=job.pk)
    assert (job.allocation.status, job.allocation.submitted_at) == ("granted", age)
    event = AuditEvent.objects.get(action="job.terms_changed")
    assert (event.actor, event.details) == (member.user, {"device_kind": ["cpu", ""]})
    assert job.events.last().message == "Changed what it asks for: kind of device CPU → any."


def test_another_pool_would_help(member, node):
    run(submit(member.team, member.user, make_version(member.team)), node)
    night = Pool.objects.create(name="night")
    Node.objects.filter(pk=add_gpu().pk).update(pool=night)
    job = waiting(member)
    [found] = [item for item in told(member, job)["would_help"] if item["code"] == "other_pool"]
    assert found["changes"] == {"pool": "night"}
    assert change(member, job, **found["changes"]).json()["terms"]["pool"] == "night"
    schedule_pool(night)
    assert Job.objects.get(pk=job.pk).allocation.status == "granted"


def test_what_does_not_help_is_not_proposed(member, node):
    run(submit(member.team, member.user, make_version(member.team)), node)
    Pool.objects.create(name="empty")
    assert told(member, waiting(member))["would_help"] == []


def test_a_viewer_is_told_and_may_change_nothing(member, viewer, stranger, node):
    run(submit(member.team, member.user, make_version(member.team)), node)
    add_gpu()
    job = waiting(member, demand=Demand(devices=1, cpu_millicores=500, device_kind="cpu"))
    page = page_of(viewer, job)
    assert "Take any kind of device" in page and f"/jobs/{job.pk}/terms/" not in page
    assert viewer.page.post(f"/jobs/{job.pk}/terms/", {"device_kind": ""}).status_code == 403
    assert change(viewer, job, device_kind="").status_code == 403
    assert stranger.page.post(f"/jobs/{job.pk}/terms/", {"device_kind": ""}).status_code == 404
    assert change(stranger, job, device_kind="").status_code == 404
    assert not AuditEvent.objects.filter(action="job.terms_changed").exists()


def test_once_it_has_started_nothing_is_changed(member, node):
    job = run(submit(member.team, member.user, make_version(member.team)), node)
    response = change(member, job, memory=2)
    assert (response.status_code, response.json()["error"]["code"]) == (409, "not_waiting")
    assert told(member, job) is None


@pytest.mark.parametrize(
    ("terms", "status", "code", "field"),
    [
        ({"memory": 999}, 422, "too_large_for_any_node", "memory"),
        ({"devices": 2}, 422, "too_large_for_pool", "devices"),
        ({"devices": 65}, 422, "too_many_devices", "devices"),
        ({"device_kind": "mps"}, 422, "kind_missing", "device_kind"),
        ({"device_kind": "abacus"}, 422, "invalid_input", "device_kind"),
        ({"priority": "high"}, 403, "priority_not_allowed", "priority"),
        ({"priority": 7}, 422, "invalid_input", "priority"),
        ({"bid": 3}, 422, "no_auction", "bid"),
        ({"bid": "nan"}, 422, "invalid_input", "bid"),
        ({"cpu": 1e300}, 422, "invalid_input", "cpu"),
        ({"cpu": -1}, 422, "invalid_input", "cpu"),
        ({"pool": "nowhere"}, 404, "not_found", "pool"),
        ({"preemptible": "perhaps"}, 422, "invalid_input", "preemptible"),
    ],
)
def test_what_cannot_be_is_said_with_a_stable_code_and_the_field(member, node, terms, status, code, field):
    make_version(member.team)
    body = {"kind": "train", "dataset": "Digits", **terms}
    refused = member.api.post("/api/v1/jobs/", body, content_type="application/json")
    assert not Job.objects.exists()
    run(submit(member.team, member.user, make_version(member.team, "First")), node)
    for response in (refused, change(member, waiting(member), **terms)):
        error = response.json()["error"]
        assert (response.status_code, error["code"], error.get("field", "")) == (status, code, field)


@pytest.mark.parametrize("value", ["x", "-1", "1e400", "\x00", "nan", "9" * 300])
def test_a_form_that_was_tampered_with_changes_nothing(member, node, value):
    run(submit(member.team, member.user, make_version(member.team)), node)
    job = waiting(member)
    for field in ("devices", "device_kind", "cpu", "memory", "priority", "preemptible", "bid", "pool"):
        response = member.page.post(f"/jobs/{job.pk}/terms/", {field: value})
        assert response.status_code in (404, 422), field
    assert Job.objects.get(pk=job.pk).allocation_id == job.allocation_id


def test_terms_go_with_a_job_from_a_program(member, node):
    make_version(member.team)
    body = {"kind": "train", "dataset": "Digits", "cpu": 1.5, "memory": 2, "priority": "low", "preemptible": False}
    response = member.api.post("/api/v1/jobs/", body, content_type="application/json").json()
    assert response["terms"] == {
        "pool": "default", "devices": 1, "device_kind": "", "cpu": 1.5, "memory": 2.0, "priority": "low",
        "preemptible": False, "bid": 0.0,
    }  # fmt: skip
    expected = response["expected"]
    assert 0 < expected["low_seconds"] <= expected["median_seconds"] <= expected["high_seconds"]


def test_lists_leave_out_what_costs_questions(member, node):
    run(submit(member.team, member.user, make_version(member.team)), node)
    waiting(member)
    listed = member.api.get("/api/v1/jobs/", {"status": "queued"}).json()["results"][0]["waiting"]
    assert listed["code"] == "devices_busy" and listed.keys().isdisjoint({"holders", "would_help"})


def test_work_that_was_asked_to_leave_says_so_then_waits_as_preempted(member, administrator, node):
    job = run(submit(member.team, member.user, make_version(member.team)), node)
    drain_node(node=node, user=administrator.user)
    page = page_of(member, job)
    assert "Making room: the machine is being emptied." in page and 'data-code="drained"' in page
    assert attempts.requeue_job(job=job, attempt=1, message="Made room: the machine is being emptied.", is_strike=False)
    schedule_pool(default_pool())
    page = page_of(member, job)
    assert 'data-status="preempted"' in page and "It made room before: the machine is being emptied." in page
    assert "Made room: the machine is being emptied." in page
    assert [step.state for step in member.page.get(f"/jobs/{job.pk}/").context["steps"]][0] == "current"
    assert 'data-status="preempted"' in member.page.get("/jobs/").content.decode()


def test_what_was_lost_with_its_machine_is_not_called_preempted(member, node):
    job = run(submit(member.team, member.user, make_version(member.team)), node)
    attempts.requeue_job(job=job, attempt=1, message="The machine stopped answering.", is_strike=True)
    assert 'data-status="preempted"' not in page_of(member, job)


def test_a_claim_that_may_not_be_preempted_is_told_that_allowing_it_helps(member, stranger, owner):
    """Its team is guaranteed nothing, and all that is not guaranteed to others is held."""
    make_node(devices=2)
    set_quota(team=stranger.team, pool=default_pool(), resource="devices", user=None, guaranteed=2)
    job = waiting(member, terms=Terms(is_preemptible=False))
    [found] = told(member, job)["would_help"]
    assert (found["code"], found["changes"], found["starts_now"]) == ("preemptible", {"preemptible": True}, True)
    assert change(member, job, preemptible=True).status_code == 200
    schedule_pool(default_pool())
    assert Job.objects.get(pk=job.pk).allocation.status == "granted"
