"""A seeded, weighted walk over a real PostgreSQL: two schedulers with old plans and at once, machines that die and come
back, work that ends, is cancelled, asked to leave or drained. Nothing is ever held twice, and nothing is lost.

A walk whose steps are weighted towards plans that have grown old finds what uniformly chosen steps miss.
"""

import random
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Count, Sum
from django.db.models.functions import Coalesce, Now

from apps.accounts.models import User
from apps.accounts.services import create_team
from apps.jobs import attempts
from apps.jobs.models import Job, Member
from apps.jobs.services import cancel_job
from apps.jobs.tasks import tick
from apps.resources.models import Allocation, Device, Node, Placement, Pool, Share, UsageRecord
from apps.resources.nodes import beat_node, default_pool, drain_node, register_node, uncordon_node
from apps.resources.planning import apply_plan
from apps.resources.quotas import set_quota
from apps.resources.scheduling import Eviction, Grant, Plan, plan
from apps.resources.scheduling import Placement as PlannedPlacement
from apps.resources.snapshots import take_snapshot
from tests.jobs.making import make_version, reap, submit

TEAMS, NODES, DEVICES = 3, 3, 2
LIMIT = 1
GRANTED, PENDING, RELEASED = Allocation.Status.GRANTED, Allocation.Status.PENDING, Allocation.Status.RELEASED
STEPS = 200


class SharedPool:
    """The pool as its users, agents and two schedulers treat it. The methods without underscore are the steps."""

    WEIGHTS = {
        "submit": 8, "cancel": 1, "look": 6, "apply_what_was_seen": 6, "apply_nonsense": 6, "two_schedulers_at_once": 2,
        "evict": 1, "claim": 6, "end": 3, "leave_when_asked": 3, "a_machine_dies_with_its_work": 1,
        "a_machine_comes_back": 2, "drain": 1, "open_again": 2, "reap_and_tick": 2,
    }  # fmt: skip

    def __init__(self, seed: int, policy: str) -> None:
        self.random = random.Random(seed)
        self.pool = default_pool()
        Pool.objects.update(policy=policy, min_runtime_seconds=0)
        self.pool.refresh_from_db()
        memory = (3 * 2**29, 4 * 2**30, 4 * 2**30)  # the first has memory for less than its devices could take
        self.nodes = [self._join(f"n{index}", memory[index]) for index in range(NODES)]
        users = [User.objects.create(username=f"u{index}") for index in range(TEAMS)]
        self.teams = [create_team(user=user, name=f"Team {user.username}") for user in users]
        self.versions = {team: make_version(team) for team in self.teams}
        set_quota(team=self.teams[0], pool=self.pool, resource="devices", user=None, limit=LIMIT)
        set_quota(team=self.teams[1], pool=self.pool, resource="devices", user=None, guaranteed=2)
        self.seen: dict[str, Plan] = {}  # by scheduler: what it planned from what it saw, perhaps long ago

    def _join(self, name: str, memory_bytes: int) -> Node:
        devices = [{"kind": "cuda", "index": index, "name": "GPU", "memory_bytes": 10**9} for index in range(DEVICES)]
        facts = {"cpu_count": 2, "memory_bytes": memory_bytes, "storage_free_bytes": 10**9, "devices": devices}
        return register_node(name=name, facts=facts)

    def _job(self, *statuses: str) -> Job | None:
        jobs = list(Job.objects.filter(status__in=statuses).order_by("id"))
        return self.random.choice(jobs) if jobs else None

    def walk(self) -> None:
        names = self.random.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()), k=STEPS)
        for count, name in enumerate(names):
            getattr(self, name)()
            self._check(f"after step {count}, {name}")

    # Users

    def submit(self) -> None:
        team = self.random.choice(self.teams)
        job = submit(team, version=self.versions[team])
        Allocation.objects.filter(pk=job.allocation_id).update(is_preemptible=self.random.random() < 0.7)

    def cancel(self) -> None:
        if job := self._job("queued", "starting", "running"):
            cancel_job(job=job, user=None)

    # Two schedulers

    def look(self) -> None:
        self.seen[self.random.choice("AB")] = plan(take_snapshot(self.pool))

    def apply_what_was_seen(self) -> None:
        if decided := self.seen.get(self.random.choice("AB")):
            apply_plan(self.pool, decided)

    def apply_nonsense(self) -> None:
        """Grants of the right size on devices that may be taken, of claims that may be over a limit, perhaps twice."""
        wanted = (PENDING,) if self.random.random() < 0.7 else (PENDING, GRANTED)
        claims = list(Allocation.objects.filter(status__in=wanted))
        grants = tuple(self._any_grant(self.random.choice(claims)) for _ in range(4) if claims)
        apply_plan(self.pool, Plan(grants, ()))

    def _any_grant(self, claim: Allocation) -> Grant:
        node = self.random.choice(self.nodes)
        devices = self.random.sample(list(node.devices.values_list("pk", flat=True)), claim.devices_asked)
        part = PlannedPlacement(node.pk, tuple(devices), claim.cpu_millicores, claim.memory_bytes)
        return Grant(claim.pk, (part,))

    def two_schedulers_at_once(self) -> None:
        barrier, errors = threading.Barrier(2), []

        def schedule() -> None:
            try:
                barrier.wait()
                apply_plan(self.pool, plan(take_snapshot(self.pool)))
            except Exception as error:
                errors.append(error)
            finally:
                connection.close()

        schedulers = [threading.Thread(target=schedule) for _ in range(2)]
        for scheduler in schedulers:
            scheduler.start()
        for scheduler in schedulers:
            scheduler.join()
        assert errors == []

    def evict(self) -> None:
        granted = list(Allocation.objects.filter(status=GRANTED).values_list("pk", flat=True))
        pending = list(Allocation.objects.filter(status=PENDING).values_list("pk", flat=True))
        if granted and pending:
            eviction = Eviction(self.random.choice(granted), self.random.choice(pending), "outranked")
            apply_plan(self.pool, Plan((), (), (eviction,)))

    # Machines

    def claim(self) -> None:
        job = self._job("queued")
        if job and job.allocation.node:
            attempts.claim_job(job_id=job.pk, node=job.allocation.node)

    def end(self) -> None:
        if job := self._job("starting", "running"):
            failure = {"code": "x", "message": "x", "hint": "", "blame": "data", "evidence": ""}
            attempts.fail_job(job=job, attempt=job.attempt, failure=failure)

    def leave_when_asked(self) -> None:
        job = self._job("starting", "running")
        if job and attempts.reason_to_leave(job_id=job.pk, attempt=job.attempt):
            attempts.requeue_job(job=job, attempt=job.attempt, message="made room", is_strike=False)

    def a_machine_dies_with_its_work(self) -> None:
        node = self.random.choice(self.nodes)
        Node.objects.filter(pk=node.pk).update(last_beat_at=Now() - timedelta(minutes=5))
        Allocation.objects.filter(node=node, status=GRANTED).update(granted_at=Now() - timedelta(minutes=5))
        Member.objects.filter(node=node, ended_at=None).update(lease_expires_at=Now() - timedelta(seconds=1))

    def a_machine_comes_back(self) -> None:
        beat_node(node=self.random.choice(self.nodes))

    def drain(self) -> None:
        drain_node(node=self.random.choice(self.nodes), user=None)

    def open_again(self) -> None:
        uncordon_node(node=self.random.choice(self.nodes), user=None)

    def reap_and_tick(self) -> None:
        reap()
        tick()

    # What must hold at every moment

    def _check(self, when: str) -> None:
        for name in [name for name in dir(self) if name.startswith("_must_")]:
            try:
                getattr(self, name)()
            except AssertionError as error:
                raise AssertionError(f"{name.strip('_').replace('_', ' ')}: {when}") from error

    def _must_hold_every_grant_whole(self) -> None:
        granted = Allocation.objects.filter(status=GRANTED).annotate(n=Count("devices"))
        assert all(row.n == row.devices_asked for row in granted)
        held = Device.objects.exclude(allocation=None)
        assert not held.exclude(allocation__status=GRANTED).exists()
        places = set(Placement.objects.values_list("allocation_id", "node_id"))
        assert all((device.allocation_id, device.node_id) in places for device in held)
        assert not Placement.objects.exclude(allocation__status=GRANTED).exists()

    def _must_promise_no_more_than_a_machine_has(self) -> None:
        for node in Node.objects.annotate(
            cpu=Coalesce(Sum("placements__cpu_millicores"), 0), memory=Coalesce(Sum("placements__memory_bytes"), 0)
        ):
            assert node.cpu_held_millicores == node.cpu <= node.cpu_millicores
            assert node.memory_held_bytes == node.memory <= node.memory_bytes

    def _must_count_every_team_right_and_within_its_limit(self) -> None:
        for share in Share.objects.all():
            mine = Allocation.objects.filter(team=share.team_id, pool=share.pool_id, status=GRANTED)
            sums = mine.aggregate(
                devices=Sum("devices_asked", default=0),
                cpu=Sum("cpu_millicores", default=0),
                memory=Sum("memory_bytes", default=0),
                jobs=Count("id"),
            )
            held = {
                "devices": share.held_devices,
                "cpu": share.held_cpu_millicores,
                "memory": share.held_memory_bytes,
                "jobs": share.held_jobs,
            }
            assert held == sums
        assert Share.objects.get(team=self.teams[0]).held_devices <= LIMIT

    def _must_lose_no_job(self) -> None:
        for job in Job.objects.select_related("allocation"):
            if job.is_ended:
                assert job.allocation.status == RELEASED
            elif job.status == Job.Status.QUEUED:
                assert job.allocation.status in (PENDING, GRANTED)
            else:
                assert job.allocation.status == GRANTED

    def _must_write_down_once_what_was_held(self) -> None:
        ran = Allocation.objects.filter(status=RELEASED, granted_at__isnull=False)
        assert UsageRecord.objects.count() == ran.count()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("policy", Pool.Policy.values)
def test_two_schedulers_and_dying_machines_never_over_commit_or_lose_anything(policy):
    SharedPool(seed=2, policy=policy).walk()
