"""A runner's hold on its part of an attempt: the lease in the database, and the fence of the programs beside it.

A thread renews, so that a large file on its way to storage loses no lease. The lease counts from before the renewal was
sent; past two thirds of it the fence stops the programs, and the runner gives up.
"""

import logging
import os
import platform
import threading
import time
import uuid
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from apps.jobs.members import renew_lease, take_member
from apps.jobs.models import Member
from workers import fence

logger = logging.getLogger("lepton.runner")

AWAY = (OperationalError, InterfaceError)  # the database does not answer, as against: it refuses what was written
RENEWALS = 12  # in one lease time
STUCK_SECONDS = 3600.0  # a runner that has not looked for so long is not kept alive


class LeaseLost(Exception):
    """Another execution of the job has begun, or may have."""


class Lease:
    """`take` it, `keep` it in the background; `check` is called by whoever works under it."""

    def __init__(self, member: Member, folder: Path) -> None:
        self.member = member
        self.fence = fence.FenceWriter(folder / "fence")
        self.deadline = 0.0
        self.is_lost = False
        self.looked_at = time.monotonic()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._renew_again_and_again, name="lease", daemon=True)

    @property
    def path(self) -> Path:
        return self.fence.path

    def take(self) -> None:
        """Raises LeaseLost when another runner has the member, or nobody may have it."""
        sent = fence.now()
        runner = f"{platform.node()[:40]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        if not take_member(member=self.member, runner=runner):
            raise LeaseLost
        self._move(sent)

    def keep(self) -> None:
        self.thread.start()

    def check(self) -> None:
        """Raises LeaseLost."""
        self.looked_at = time.monotonic()
        if self.is_lost or fence.now() > self.deadline:
            raise LeaseLost

    def tolerate(self, error: Exception) -> None:
        """The database is away: go on until the fence. Raises LeaseLost."""
        logger.warning("the database does not answer: %s", error)
        connection.close()
        self.check()

    def stop(self) -> None:
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join(timeout=10)

    def _move(self, sent: float) -> None:
        self.deadline = sent + settings.LEPTON_LEASE_SECONDS * 2 / 3
        self.fence.move(self.deadline)

    def _renew_again_and_again(self) -> None:
        while not self.stopping.wait(settings.LEPTON_LEASE_SECONDS / RENEWALS):
            if time.monotonic() - self.looked_at > STUCK_SECONDS:
                break
            try:
                if not self.renew():
                    break
            except DatabaseError as error:
                logger.warning("the lease could not be renewed: %s", error)
                connection.close()
        connection.close()

    def renew(self) -> bool:
        """False when the lease is lost."""
        sent, member = fence.now(), self.member
        if not renew_lease(job_id=member.job_id, attempt=member.attempt, rank=member.rank):
            self.is_lost = True
            self.fence.move(0.0)
            return False
        self._move(sent)
        return True
