"""From what is wanted and what runs: what to start, what to stop, and what to call it all. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.core.retelling import retell
from apps.deployments.models import Replica
from apps.resources.models import Allocation
from apps.resources.scheduling import Demand
from apps.resources.snapshots import demand_of

MAX_STRIKES = 3
# After so many failures in a row it is tried again after a pause, which doubles with each further one.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(minutes=30)
KEPT_ENDED = 20

STARTING, READY, UPDATING, FAILED = "starting", "ready", "updating", "failed"
STOPPED, ASLEEP = "stopped", "asleep"
STATUS_WORDS = {
    STARTING: gettext_lazy("Starting"),
    READY: gettext_lazy("Ready"),
    UPDATING: gettext_lazy("Updating"),
    FAILED: gettext_lazy("Failed"),
    STOPPED: gettext_lazy("Stopped"),
    ASLEEP: gettext_lazy("Asleep"),
}


@dataclass(frozen=True)
class Wanted:
    """`replicas` processes of the stable version `version_id`, and of each of `canaries`: (version id, replicas).

    Where it `may_sleep`, 0 replicas come back with the next request. `demands` is what a replica of each version asks
    of the pool.
    """

    version_id: int
    replicas: int
    canaries: tuple[tuple[int, int], ...] = ()
    may_sleep: bool = False
    demands: Mapping[int, Demand] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """How many replicas of a version to start, with how many strikes against them."""

    version_id: int
    replicas: int
    strikes: int = 0


@dataclass(frozen=True)
class Steps:
    """What to start, and the ids of the replicas to stop and to forget."""

    starts: tuple[Start, ...] = ()
    stop: tuple[int, ...] = ()
    forget: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.starts or self.stop or self.forget)


@dataclass(frozen=True)
class State:
    """One word for a deployment as a whole, and why."""

    status: str
    reason: str = ""

    @property
    def label(self) -> str:
        return str(STATUS_WORDS[self.status])

    @property
    def is_settled(self) -> bool:
        """Whether nothing will change by itself."""
        return self.status in (READY, FAILED, STOPPED, ASLEEP)


def plan_steps(
    wanted: Wanted, replicas: Sequence[Replica], leaving: Collection[int] = (), now: datetime | None = None
) -> Steps:
    """What brings `replicas` (all of one deployment, oldest first) nearer to what is wanted. Without `now` no pause
    after failures is over.

    `leaving` are the ids of machines that replicas have to leave for others. A replica of a version that is no longer
    wanted goes only when enough of the stable version are ready elsewhere, and one on such a machine, or that holds
    something else of the pool than it should, only when enough of its own are, so that a change leaves no gap; one that
    is not ready yet goes at once.
    """
    gone = {item.pk for item in replicas if item.node_id in leaving or not _holds_what_it_should(item, wanted)}
    counts = {wanted.version_id: wanted.replicas, **dict(wanted.canaries)}
    starts, stop, covered = [], [], {}
    for version_id, count in counts.items():
        mine = [item for item in replicas if item.version_id == version_id]
        staying = [item for item in mine if item.status in Replica.LIVE and item.pk not in gone]
        covered[version_id] = sum(item.status == Replica.Status.READY for item in staying) >= count
        stop += sorted(staying, key=lambda item: (item.status != Replica.Status.READY, item.pk))[count:]
        if start := _start(version_id, count - len(staying), mine, now):
            starts.append(start)
    for item in replicas:
        is_staying = item.version_id in counts and item.pk not in gone
        is_needed = item.status == Replica.Status.READY and not covered.get(item.version_id, covered[wanted.version_id])
        if item.status in Replica.LIVE and not is_staying and not is_needed:
            stop.append(item)
    ended = [item.pk for item in replicas if item.status in Replica.ENDED]
    return Steps(tuple(starts), tuple(item.pk for item in stop), tuple(ended[:-KEPT_ENDED]))


def _holds_what_it_should(replica: Replica, wanted: Wanted) -> bool:
    """One without a claim asks for it yet."""
    claim = replica.allocation
    if claim is None:
        return True
    should = wanted.demands.get(replica.version_id)
    return claim.status != Allocation.Status.RELEASED and should in (None, demand_of(claim))


def _start(version_id: int, missing: int, mine: Sequence[Replica], now: datetime | None) -> Start | None:
    """`mine` are all replicas of the version. After too many strikes in a row one is tried after each pause, and the
    others follow when it is ready."""
    newest = newest_of(version_id, mine)
    if missing <= 0:
        return None
    if newest is None or newest.status in (Replica.Status.READY, Replica.Status.STOPPING, Replica.Status.STOPPED):
        return Start(version_id, missing)
    has_failed = newest.status == Replica.Status.FAILED
    if newest.strikes < MAX_STRIKES:
        return Start(version_id, missing, newest.strikes if has_failed else 0)
    return Start(version_id, 1, newest.strikes) if has_failed and _is_pause_over(newest, now) else None


def _is_pause_over(failed: Replica, now: datetime | None) -> bool:
    if now is None or failed.ended_at is None:
        return False
    doublings = min(failed.strikes - MAX_STRIKES, 10)
    return now >= failed.ended_at + min(FIRST_PAUSE * 2**doublings, LONGEST_PAUSE)


def newest_of(version_id: int, replicas: Sequence[Replica]) -> Replica | None:
    """The replica of a version that was made last."""
    return max((item for item in replicas if item.version_id == version_id), key=lambda item: item.pk, default=None)


def describe(wanted: Wanted, replicas: Sequence[Replica]) -> State:
    """The state of a deployment."""
    if not wanted.replicas and wanted.may_sleep:
        return State(ASLEEP, _("Nobody has asked for a while. The next request wakes it."))
    if not wanted.replicas:
        return State(STOPPED)
    ready = [replica for replica in replicas if replica.status == Replica.Status.READY]
    if any(replica.version_id == wanted.version_id for replica in ready):
        return State(READY)
    newest = newest_of(wanted.version_id, replicas)
    if newest and newest.status == Replica.Status.FAILED and newest.strikes >= MAX_STRIKES:
        reason = retell(said_of(newest))
        still = _("The version before it still answers.")
        return State(FAILED, f"{reason} {still}" if ready else reason)
    return State(UPDATING if ready else STARTING, _why_starting(newest))


def said_of(replica: Replica) -> str:
    """Why it waits for a machine, or how it ended, in one sentence; "" where there is nothing to say."""
    return _why_waiting(replica) if replica.is_unplaced else replica.reason.partition("\n")[0]


def _why_waiting(replica: Replica) -> str:
    reason = replica.allocation.reason if replica.allocation else {}
    if reason.get("code") == "promised":
        return _("What is free was guaranteed to other teams. It starts by itself as soon as there is room for it.")
    return reason.get("message") or _("It is about to be placed on a machine.")


def _why_starting(newest: Replica | None) -> str:
    if newest and newest.is_unplaced:
        return said_of(newest)
    if newest and newest.strikes:
        return _("It ended %(n)d times and is started again.") % {"n": newest.strikes}
    return ""
