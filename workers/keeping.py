"""Brings what a program makes on the way, checkpoints and candidates, into storage while it runs."""

import logging
import time
from collections.abc import Iterable
from pathlib import Path

from django.utils.translation import gettext as _

from apps.core.errors import StorageFull
from apps.jobs import attempts
from apps.jobs.candidates import record_candidate
from apps.jobs.models import Member
from workers import artifacts
from workers.contract import CHECKPOINT_FAILED, CHECKPOINT_WRITTEN

logger = logging.getLogger("lepton.runner")


class CheckpointKeeper:
    """The first process of all tells of a checkpoint once every process has written its part. So the member that leads
    hears of it, and the others see of the row what they have to add. `unstored` are events by path."""

    def __init__(self, member: Member, folder: Path) -> None:
        self.member, self.folder = member, folder
        self.unstored: dict[str, dict] = {}
        self.is_storage_full = False

    def hear(self, events: Iterable[dict]) -> None:
        """What the program of the member that leads has said."""
        told = [event for event in events if event["type"] == "checkpoint"]
        waiting = {event["path"]: event for event in (*self.unstored.values(), *told)}
        self.unstored = {event["path"]: event for event in artifacts.worth_storing(list(waiting.values()))}

    def store(self) -> None:
        """What cannot be stored now is tried again the next time."""
        for path, event in list(self.unstored.items()):
            if not self._store_part(event):
                return
            self.unstored.pop(path)

    def add_missing_parts(self) -> None:
        """Of a member that does not lead."""
        if self.member.leads:
            return
        facts = {"job_id": self.member.job_id, "attempt": self.member.attempt, "rank": self.member.rank}
        for row in attempts.missing_parts(**facts):
            self._store_part({"path": row.path, "step": row.step, "epoch": row.epoch})

    def _store_part(self, event: dict) -> bool:
        """False where storage takes nothing now: training goes on. One that the program has replaced meanwhile is
        skipped, for the next is on its way."""
        try:
            files = artifacts.store_checkpoint(self.folder, event)
        except FileNotFoundError:
            return True
        except (StorageFull, artifacts.StorageAway) as error:
            self._tell_of_storage(CHECKPOINT_FAILED, str(error))
            return False
        if files:
            attempts.record_checkpoint(
                job_id=self.member.job_id,
                attempt=self.member.attempt,
                rank=self.member.rank,
                event=event,
                files=files,
                is_whole=artifacts.is_whole(files),
            )
            self._tell_of_storage(CHECKPOINT_WRITTEN)
        return True

    def _tell_of_storage(self, code: str, reason: str = "") -> None:
        """A line in the job's log, once for a storage that takes nothing and once when it does again."""
        is_full = code == CHECKPOINT_FAILED
        if is_full == self.is_storage_full:
            return
        if is_full:
            logger.warning("a checkpoint of %s cannot be stored now: %s", self.member, reason)
            message = _("A checkpoint could not be kept: %(reason)s Training goes on and tries again.")
            message, level = message % {"reason": reason}, "warning"
        else:
            message, level = _("Checkpoints can be kept again."), "info"
        line = {"type": "log", "at": time.time(), "level": level, "message": message, "code": code}
        attempts.record_events(job_id=self.member.job_id, attempt=self.member.attempt, events=[line])
        self.is_storage_full = is_full


class CandidateKeeper:
    """Stores each candidate that a compression tells of, and writes it down; oldest first. `unstored` are events by
    number, for the same batch may be heard twice."""

    def __init__(self, member: Member, folder: Path) -> None:
        self.member, self.folder = member, folder
        self.unstored: dict[int, dict] = {}

    def hear(self, events: Iterable[dict]) -> None:
        self.unstored |= {event["number"]: event for event in events if event["type"] == "candidate"}

    def store(self) -> None:
        """While storage is away they wait; where it is full, a candidate leaves its figures alone."""
        for number, event in list(self.unstored.items()):
            try:
                files = artifacts.store_candidate(self.folder, event)
            except StorageFull as error:
                logger.warning("candidate %d of %s cannot be stored: %s", number, self.member, error)
                files, event = {}, event | {"notes": [*event.get("notes", []), str(error)]}
            record_candidate(job_id=self.member.job_id, attempt=self.member.attempt, event=event, files=files)
            self.unstored.pop(number)

    def store_patiently(self) -> None:
        """The same, where storage that is away puts it off. Raises nothing of storage's."""
        try:
            self.store()
        except artifacts.StorageAway as error:
            logger.warning("candidates of %s wait: %s", self.member, error)
