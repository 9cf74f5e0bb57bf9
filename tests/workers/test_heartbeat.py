"""The machine beats whatever else its agent does, says what is wrong, and leaves when it may not work any more."""

import threading
import time

import pytest

from apps.resources.models import Node
from apps.resources.nodes import beat_node, register_node, remove_node
from tests.stack import wait_until
from workers import heartbeat, replicas
from workers.agent import Agent
from workers.heartbeat import Heartbeat, StorageWatch, machine_id
from workers.measuring import Measurer

pytestmark = pytest.mark.django_db(transaction=True)
FACTS = {"cpu_count": 2, "memory_bytes": 10**9, "storage_free_bytes": 10**9, "devices": []}


@pytest.fixture
def beating(tmp_path) -> Heartbeat:
    return Heartbeat("bench", tmp_path, stopping=threading.Event(), on_refused=pytest.fail)


def test_a_beat_writes_down_what_the_machine_is_doing(beating):
    assert beating.beat() == ""
    node = Node.objects.get(name="bench")
    assert node.machine_id == machine_id() and node.storage_bytes > node.storage_free_bytes > 0
    assert node.health["load"]["memory_used_bytes"] > 0 and node.health["version"]
    assert "clock_skew" not in [problem["code"] for problem in node.health["problems"]]
    device = node.devices.first()
    assert device.kind != "cpu" or device.memory_used_bytes > 0


def test_a_device_that_is_gone_since_the_machine_joined_is_told(beating):
    beating.beat()
    beating.expected.add(("cuda", 7))
    beating.beat()
    assert "device_lost" in [problem["code"] for problem in Node.objects.get().health["problems"]]


def test_a_removed_machine_and_one_whose_name_is_taken_are_told_to_leave(beating, administrator):
    beating.beat()
    remove_node(node=Node.objects.get(), user=administrator.user)
    assert beating.beat() == "The machine bench is no longer part of the pool."
    beating.node = None
    assert "was removed from the pool" in beating.beat()
    Node.objects.update(removed_at=None, machine_id="another")
    register_node(name="bench", facts=FACTS, machine_id="another")
    assert "Another machine works under the name bench" in beating.beat()


def test_beats_go_on_while_a_replica_holds_the_agents_loop(monkeypatch):
    """A model that answers its sample slowly holds the loop for ten seconds; the machine must not look dead."""
    held, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(replicas, "supervise", lambda node: (held.set(), go_on.wait(60)))
    agent = Agent("bench", end_process=lambda: None)
    agent.start()
    try:
        assert held.wait(30)
        before = Node.objects.get().last_beat_at
        wait_until(lambda: Node.objects.get().last_beat_at > before, seconds=20, what="another beat")
    finally:
        go_on.set()
        agent.stop(with_work=True)
    assert Node.objects.get().last_beat_at is None


def test_the_agent_of_a_removed_machine_ends_its_process_and_says_why(monkeypatch, administrator, caplog):
    ended = threading.Event()
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.05)
    agent = Agent("bench", end_process=ended.set)
    agent.start()
    try:
        wait_until(lambda: Node.objects.exclude(last_beat_at=None).exists(), seconds=20, what="the first beat")
        remove_node(node=Node.objects.get(), user=administrator.user)
        assert ended.wait(20)
    finally:
        agent.stop(with_work=True)
    assert agent.refusal == "The machine bench is no longer part of the pool."
    assert "ends its work and leaves" in caplog.text
    assert not beat_node(node=Node.objects.get())


def test_storage_that_does_not_answer_or_is_not_mounted_is_told(settings, tmp_path):
    watch = StorageWatch(threading.Event())
    watch.asked_at = time.monotonic() - 31
    assert "has not answered for 31 seconds" in watch.what_is_wrong(now=time.monotonic())
    settings.LEPTON_STORAGE_URL = f"file://{tmp_path}/not-mounted"
    settings.JOINED = {"LEPTON_NODE_NAME": "gpu-2"}
    watch.thread.start()
    wait_until(lambda: "there is no folder" in watch.error, seconds=20, what="the folder is missed")
    watch.stopping.set()
    assert not (tmp_path / "not-mounted").exists()


def test_rates_are_of_the_time_between_two_looks(tmp_path):
    measurer = Measurer(tmp_path)
    measurer.network, measurer.looked_at = (0, 0), time.monotonic() - 10
    measured = measurer.look()
    total = sum(measurer.network)
    assert measured.network_in + measured.network_out == pytest.approx(total / 10, rel=0.1)
    assert 0 < measured.memory_available_bytes <= measured.memory_bytes
