"""A device that broke under a job is not given to the next one."""

import pytest

from apps.jobs import attempts
from apps.resources.models import Device
from apps.resources.nodes import drop_gone_devices, register_node
from tests.jobs.making import make_node, run, submit

pytestmark = pytest.mark.django_db


def test_a_device_that_was_held_when_its_machine_came_back_without_it_is_dropped_once_it_is_free(member):
    node = make_node(devices=1)
    job = run(submit(member.team, member.user), node)
    facts = {"cpu_count": 2, "memory_bytes": 16 * 10**9, "storage_free_bytes": 10**9, "devices": []}
    register_node(name=node.name, facts=facts)
    drop_gone_devices(node=node, present=set())
    assert Device.objects.count() == 1, "it is still held"
    attempts.requeue_job(job=job, attempt=1, message="gone", is_strike=True)
    drop_gone_devices(node=node, present=set())
    assert not Device.objects.exists()
