"""From a program: where and how a job is to run, why it waits, and what would help; without a network."""

import httpx
import pytest
from django.test import Client

import leptonai
from apps.resources.nodes import default_pool, register_node
from apps.resources.planning import schedule_pool
from tests.jobs.making import make_node, make_version, run, submit


class Site(httpx.BaseTransport):
    """Hands requests to the site in this process."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = {"Authorization": request.headers["Authorization"], "Accept": "application/json"}
        answer = Client(headers=headers).generic(
            request.method,
            request.url.raw_path.decode(),
            request.read(),
            content_type=request.headers.get("Content-Type", "application/json"),
        )
        return httpx.Response(answer.status_code, content=answer.content, headers=dict(answer.headers))


@pytest.fixture
def client(member):
    with leptonai.Client(member.secret, "http://testserver", transport=Site()) as opened:
        yield opened


def test_a_program_is_told_why_it_waits_and_changes_what_it_asks_for(client, member):
    node = make_node(devices=1)
    first = run(submit(member.team, member.user, make_version(member.team)), node)
    held = [{"kind": "cuda", "index": 0, "name": "L4", "memory_bytes": 10**9}]
    register_node(name="gpu", facts={"cpu_count": 4, "memory_bytes": 16 * 10**9, "devices": held})
    job = client.jobs.train("Digits", device_kind="cpu", cpu=1, memory=2, priority="low", preemptible=False)
    assert (job.terms.cpu, job.terms.memory, job.terms.priority) == (1.0, 2.0, "low")
    schedule_pool(default_pool())
    waiting = client.jobs.get(job).waiting
    assert (waiting.code, waiting.place, waiting.holders[0].job) == ("devices_busy", 1, first.pk)
    [found] = waiting.would_help
    changed = client.jobs.change(job, **found.changes)
    assert (changed.terms.device_kind, changed.terms.memory) == ("", 2.0)
    schedule_pool(default_pool())
    with pytest.raises(leptonai.ConflictError) as caught:
        client.jobs.change(job, memory=1)
    assert caught.value.code == "not_waiting"


def test_what_can_never_run_is_refused_with_the_number_and_the_field(client, member):
    make_node()
    make_version(member.team)
    with pytest.raises(leptonai.InvalidRequest) as caught:
        client.jobs.train("Digits", memory=999)
    error = caught.value
    assert (error.code, error.field, error.details["largest_node"]) == ("too_large_for_any_node", "memory", 16 * 10**9)
