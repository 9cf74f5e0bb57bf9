"""A seeded, weighted walk over the leases of a gang: machines freeze and thaw, lose touch, die, and renew in the last
moment, while others reap and claim. No program takes a step of an attempt once one of the next has taken one.

The database and the lease are the real ones; time is not: a wait moves the clock of the fence on and the leases back.
Steps are weighted towards waits that end just before or after the fence or a lease, with the reaper right behind. So
the walk finds each of the bugs that are planted.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import F
from django.utils import timezone

from apps.jobs import attempts, members
from apps.jobs.members import claim_member, expire_leases, members_to_claim, others_of
from apps.jobs.models import Job, Member
from apps.resources.models import Allocation, Device, Node
from apps.resources.nodes import beat_node, default_pool
from apps.resources.planning import schedule_pool
from apps.resources.services import reclaim_unclaimed
from tests.jobs.gangs import leave, submit_gang
from tests.jobs.making import make_node
from workers import fence
from workers import lease as leases
from workers.fence import Fence
from workers.lease import Lease, LeaseLost

pytestmark = pytest.mark.django_db

SEED = 2
LEASE = 60_000  # long, so that the seconds that the test itself takes do not matter
FENCE = LEASE * 2 / 3
NEAR = LEASE / 100
WAITS = (LEASE / 12, LEASE / 12, LEASE / 12, FENCE - NEAR, FENCE + NEAR, LEASE - FENCE, LEASE - NEAR, LEASE + NEAR)
STEPS = 300
MOST_STEPS = 1500  # until a bug that was planted is found
E = Member.Ending


@dataclass
class Part:
    """What one runner and its program do. A program that is alive may take a step at any time, unless it is fenced."""

    member: Member
    lease: Lease
    fence: Fence
    has_runner: bool = True
    has_program: bool = True


class Walk:
    """The methods that WEIGHTS names are the steps."""

    WEIGHTS = {
        "wait": 2, "wait_and_reap": 5, "renew_wait_and_reap": 5, "a_lease_time_passes": 6, "everybody_renews": 4,
        "all_work": 14, "runners_look": 4, "agents_look": 14, "reap": 2,
        "freeze": 3, "thaw": 4, "cut": 3, "mend": 4, "a_runner_dies": 1, "a_machine_dies": 1,
    }  # fmt: skip

    def __init__(self, seed: int, team, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.random, self.folder, self.now = random.Random(seed), folder, 1_000_000.0
        monkeypatch.setattr(fence, "now", lambda: self.now)
        monkeypatch.setattr(attempts, "MAX_STRIKES", 10**9)
        self.renew = leases.renew_lease
        monkeypatch.setattr(leases, "renew_lease", self._renew_slowly)
        self.machines = [make_node(name, devices=1) for name in ("one", "two", "three")]
        self.job = submit_gang(team)
        self.parts: dict[tuple[int, int], Part] = {}  # by machine and attempt
        self.frozen: set[int] = set()
        self.away: set[int] = set()
        self.newest_step = 0
        self.steps_taken = 0

    def go(self, steps: int) -> None:
        names = self.random.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()), k=steps)
        for count, name in enumerate(names):
            getattr(self, name)()
            self._check(f"after step {count}, {name}")

    # Time

    def wait(self) -> None:
        self._elapse(self.random.choice(WAITS))

    def wait_and_reap(self) -> None:
        self.wait()
        self.reap()

    def renew_wait_and_reap(self) -> None:
        """Whose answer was slow now lives by what it knows of its lease."""
        self.everybody_renews()
        self.wait_and_reap()

    def a_lease_time_passes(self) -> None:
        """In good order for those who are well."""
        for _beat in range(leases.RENEWALS + 1):
            self._elapse(LEASE / leases.RENEWALS)
            self.everybody_renews()
        self.reap()

    def _elapse(self, seconds: float) -> None:
        self.now += seconds
        Member.objects.filter(ended_at=None).update(lease_expires_at=F("lease_expires_at") - timedelta(seconds=seconds))

    # Machines and their agents

    def freeze(self) -> None:
        self._lose(self.frozen)

    def thaw(self) -> None:
        self._bring_back(self.frozen)

    def cut(self) -> None:
        self._lose(self.away)

    def mend(self) -> None:
        self._bring_back(self.away)

    def _lose(self, which: set[int]) -> None:
        node = self.random.choice(self.machines)
        which.add(node.pk)
        Node.objects.filter(pk=node.pk).update(last_beat_at=timezone.now() - timedelta(hours=1))

    def _bring_back(self, which: set[int]) -> None:
        if which:
            which.discard(pk := self.random.choice(sorted(which)))
            if pk not in self.frozen | self.away:
                beat_node(node=next(node for node in self.machines if node.pk == pk))

    def _awake(self) -> list[Part]:
        return [part for part in self.parts.values() if part.member.node_id not in self.frozen]

    def _runners(self) -> list[Part]:
        return [part for part in self._awake() if part.has_runner]

    def _reaches_the_site(self, part: Part) -> bool:
        return part.member.node_id not in self.away

    def a_machine_dies(self) -> None:
        """And is there again at once, with nothing left on it."""
        node = self.random.choice(self.machines)
        self.parts = {key: part for key, part in self.parts.items() if key[0] != node.pk}

    def agents_look(self) -> None:
        schedule_pool(default_pool())
        for node in self.machines:
            if node.pk in self.frozen | self.away:
                continue
            self._recover_orphans(node)
            self.job.refresh_from_db()
            if self.job.allocation.node_id == node.pk:
                attempts.claim_job(job_id=self.job.pk, node=node)
                for member in Member.objects.filter(node=node, rank=0, runner="", ended_at=None):
                    self._start(member)
            for member in members_to_claim(node):
                if claim_member(member=member):
                    self._start(member)

    def _start(self, member: Member) -> None:
        folder = self.folder / f"{member.node_id}-{member.attempt}"
        folder.mkdir()
        lease = Lease(member, folder)
        lease.take()
        self.parts[member.node_id, member.attempt] = Part(member, lease, Fence(lease.path))

    def _recover_orphans(self, node: Node) -> None:
        for member in Member.objects.filter(node=node, claimed_at__isnull=False, ended_at=None):
            part = self.parts.get((node.pk, member.attempt))
            if part is None or not part.has_runner:
                self.parts.pop((node.pk, member.attempt), None)
                leave(member, E.LOST, message="Its runner died.")

    # Runners and programs

    def everybody_renews(self) -> None:
        for part in self._runners():
            if self._reaches_the_site(part) and not part.lease.is_lost:
                part.lease.renew()

    def _renew_slowly(self, **whose) -> bool:
        """The way there and back may take long."""
        self._elapse_now_and_then()
        is_renewed = self.renew(**whose)
        self._elapse_now_and_then()
        return is_renewed

    def _elapse_now_and_then(self) -> None:
        if self.random.random() < 0.15:
            self._elapse(LEASE * 0.8)

    def all_work(self) -> None:
        for part in self._awake():
            if not part.has_program:
                continue
            if part.fence.has_passed():
                part.has_program = False
                continue
            attempt = part.member.attempt
            assert attempt >= self.newest_step, f"attempt {attempt} steps after attempt {self.newest_step}"
            self.newest_step, self.steps_taken = attempt, self.steps_taken + 1

    def runners_look(self) -> None:
        for part in self._runners():
            try:
                part.lease.check()
                if self._reaches_the_site(part) and self._is_to_follow(part):
                    self._leave(part, E.FOLLOWED)
            except LeaseLost:
                self._leave(part, E.LOST)

    def _is_to_follow(self, part: Part) -> bool:
        return others_of(part.member).exclude(ending="").exists()

    def _leave(self, part: Part, ending: str) -> None:
        part.has_program = part.has_runner = False
        if self._reaches_the_site(part):
            leave(part.member, ending)

    def a_runner_dies(self) -> None:
        if runners := self._runners():
            self.random.choice(runners).has_runner = False

    # The site

    def reap(self) -> None:
        expire_leases()
        for job in attempts.unsettled_jobs():
            attempts.settle_attempt(job)
        reclaim_unclaimed(after_seconds=0)

    # What must hold at every moment

    def _check(self, when: str) -> None:
        open_attempts = set(Member.objects.filter(ended_at=None).values_list("attempt", flat=True))
        assert len(open_attempts) <= 1, f"{open_attempts} are open {when}"
        for part in self.parts.values():
            if part.has_program and not part.fence.has_passed():
                assert self._holds_its_devices(part), f"devices given away under attempt {part.member.attempt} {when}"

    def _holds_its_devices(self, part: Part) -> bool:
        """A program that may still take a step is of the present attempt, and nobody else was given its device."""
        job = Job.objects.get(pk=self.job.pk)
        is_granted = Allocation.objects.filter(pk=job.allocation_id, status=Allocation.Status.GRANTED).exists()
        device = Device.objects.get(node=part.member.node_id)
        return part.member.attempt == job.attempt and is_granted and device.allocation_id == job.allocation_id


@pytest.fixture(autouse=True)
def long_leases(settings) -> None:
    settings.LEPTON_LEASE_SECONDS = LEASE


def test_a_gang_is_never_run_twice_and_never_lost(team, tmp_path, monkeypatch):
    done = Walk(SEED, team, tmp_path, monkeypatch)
    done.go(STEPS)
    done.job.refresh_from_db()
    assert done.job.attempt > 4 and done.steps_taken > 20, "the walk has led somewhere"
    assert done.job.status in (Job.Status.QUEUED, *Job.ACTIVE)


# Bugs that are planted


def leases_end_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reaper does not wait for the whole lease."""
    real = members.new_lease
    monkeypatch.setattr(members, "new_lease", lambda: real() - timedelta(seconds=LEASE / 2))


def the_fence_counts_from_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def renew(self: Lease) -> bool:
        member = self.member
        if not leases.renew_lease(job_id=member.job_id, attempt=member.attempt, rank=member.rank):
            self.is_lost = True
            self.fence.move(0.0)
            return False
        self._move(fence.now())
        return True

    monkeypatch.setattr(Lease, "renew", renew)


def what_is_lost_can_be_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    def renew(*, job_id: int, attempt: int, rank: int = 0) -> bool:
        return Job.objects.filter(pk=job_id, status__in=Job.ACTIVE).exists()

    monkeypatch.setattr(leases, "renew_lease", renew)


def one_loss_requeues_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    real = members._expire

    def expire(member: Member) -> bool:
        if not real(member):
            return False
        return attempts.requeue_job(job=member.job, attempt=member.attempt, message="lost", is_strike=True)

    monkeypatch.setattr(members, "_expire", expire)


def a_runner_leaves_before_its_program_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave_first(self: Walk, part: Part, ending: str) -> None:
        part.has_runner = False
        if self._reaches_the_site(part):
            leave(part.member, ending)

    monkeypatch.setattr(Walk, "_leave", leave_first)


def programs_do_not_look_at_the_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fence, "has_passed", lambda self: False)


BUGS = (
    leases_end_early,
    the_fence_counts_from_the_answer,
    what_is_lost_can_be_renewed,
    one_loss_requeues_at_once,
    a_runner_leaves_before_its_program_is_gone,
    programs_do_not_look_at_the_fence,
)


@pytest.mark.parametrize("plant", BUGS)
def test_the_walk_finds_what_is_planted(plant: Callable, team, tmp_path, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        Walk(SEED, team, tmp_path, monkeypatch).go(MOST_STEPS)
