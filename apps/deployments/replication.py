"""From what is wanted and what runs: what to start, what to stop, and what to call it all. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.deployments.models import Replica

MAX_STRIKES = 3
KEPT_ENDED = 20

STARTING, READY, UPDATING, FAILED, STOPPED = "starting", "ready", "updating", "failed", "stopped"
STATUS_WORDS = {
    STARTING: gettext_lazy("Starting"),
    READY: gettext_lazy("Ready"),
    UPDATING: gettext_lazy("Updating"),
    FAILED: gettext_lazy("Failed"),
    STOPPED: gettext_lazy("Stopped"),
}


@dataclass(frozen=True)
class Wanted:
    """`replicas` processes of the version `version_id`."""

    version_id: int
    replicas: int


@dataclass(frozen=True)
class Steps:
    """How many replicas to start, with how many strikes against them, and the ids of those to stop and to forget."""

    start: int = 0
    strikes: int = 0
    stop: tuple[int, ...] = ()
    forget: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.start or self.stop or self.forget)


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
        return self.status in (READY, FAILED, STOPPED)


def plan_steps(wanted: Wanted, replicas: Sequence[Replica], leaving: Collection[int] = ()) -> Steps:
    """What brings `replicas` (all of one deployment, oldest first) nearer to what is wanted.

    `leaving` are the ids of machines that replicas have to leave for others. A replica of another version, or on such a
    machine, goes only when enough of the wanted version are ready elsewhere, so that a change leaves no gap; one that
    is not ready yet goes at once.
    """
    live = [replica for replica in replicas if replica.status in Replica.LIVE]
    ours = [item for item in live if item.version_id == wanted.version_id and item.node_id not in leaving]
    others = [replica for replica in live if replica not in ours]
    ready = [replica for replica in ours if replica.status == Replica.Status.READY]
    is_covered = len(ready) >= wanted.replicas
    surplus = sorted(ours, key=lambda replica: (replica.status != Replica.Status.READY, replica.pk))[wanted.replicas :]
    stop = surplus + [item for item in others if is_covered or item.status != Replica.Status.READY]
    newest = newest_of(wanted.version_id, replicas)
    strikes = newest.strikes if newest and newest.status == Replica.Status.FAILED else 0
    missing = max(0, wanted.replicas - len(ours))
    ended = [item.pk for item in replicas if item.status in (Replica.Status.STOPPED, Replica.Status.FAILED)]
    return Steps(
        start=missing if strikes < MAX_STRIKES else 0,
        strikes=strikes,
        stop=tuple(replica.pk for replica in stop),
        forget=tuple(ended[:-KEPT_ENDED]),
    )


def newest_of(version_id: int, replicas: Sequence[Replica]) -> Replica | None:
    """The replica of a version that was made last."""
    return max((item for item in replicas if item.version_id == version_id), key=lambda item: item.pk, default=None)


def describe(wanted: Wanted, replicas: Sequence[Replica]) -> State:
    """The state of a deployment."""
    if not wanted.replicas:
        return State(STOPPED)
    ready = [replica for replica in replicas if replica.status == Replica.Status.READY]
    if any(replica.version_id == wanted.version_id for replica in ready):
        return State(READY)
    newest = newest_of(wanted.version_id, replicas)
    if newest and newest.status == Replica.Status.FAILED and newest.strikes >= MAX_STRIKES:
        reason = newest.reason.partition("\n")[0]
        return State(FAILED, f"{reason} {_('The version before it still answers.')}" if ready else reason)
    return State(UPDATING if ready else STARTING, _why_starting(newest))


def _why_starting(newest: Replica | None) -> str:
    if newest and newest.status == Replica.Status.PENDING and newest.node_id is None:
        return _("No machine of the pool is online. It starts by itself as soon as one is.")
    if newest and newest.strikes:
        return _("It ended %(n)d times and is started again.") % {"n": newest.strikes}
    return ""
