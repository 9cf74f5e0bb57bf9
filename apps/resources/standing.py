"""How teams stand in a pool: what they use now or this month, beside what they were promised."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Sum
from django.utils import timezone

from apps.accounts.models import Team
from apps.resources.accounting import device_seconds_this_month
from apps.resources.models import Device, Pool, Quota, Share, StoredBytes, Traffic
from apps.resources.nodes import nodes_in_pool
from apps.resources.periods import month_of
from apps.resources.quotas import PERSONAL, Promise, promises_of_teams, resources_of

R = Quota.Resource
UNKNOWN_SHARE = Share()


@dataclass(frozen=True)
class Standing:
    """One resource of one team, in the unit of Quota."""

    resource: str
    promise: Promise
    used: int

    @property
    def left(self) -> int | None:
        """What is left up to the limit; None without one."""
        return None if self.promise.limit is None else max(0, self.promise.limit - self.used)

    @property
    def most(self) -> int:
        """What a full bar stands for: the limit, or else the guarantee; 0 where nothing was promised."""
        return self.promise.limit if self.promise.limit is not None else self.promise.guaranteed

    @property
    def is_full(self) -> bool:
        return self.promise.limit is not None and self.used >= self.promise.limit

    @property
    def name(self) -> str:
        return R(self.resource).label

    @property
    def may_be_guaranteed(self) -> bool:
        return self.resource in Quota.GUARANTEED

    @property
    def may_be_personal(self) -> bool:
        return self.resource in PERSONAL


@dataclass(frozen=True)
class TeamStanding:
    team: Team
    weight: float
    rows: Sequence[Standing]

    def of(self, resource: str) -> Standing:
        return next(row for row in self.rows if row.resource == resource)


def standings(pool: Pool, teams: Iterable[Team]) -> list[TeamStanding]:
    """How each of `teams` stands in `pool`, in a handful of queries."""
    teams = list(teams)
    ids = [team.pk for team in teams]
    promises = promises_of_teams(pool, ids)
    shares = {share.team_id: share for share in Share.objects.filter(pool=pool, team__in=ids)}
    monthly = _monthly_uses(pool, ids)
    return [
        _standing(pool, team, promises[team.pk], shares.get(team.pk, UNKNOWN_SHARE), monthly.get(team.pk, {}))
        for team in teams
    ]


def _standing(
    pool: Pool, team: Team, promises: Mapping[str, Promise], share: Share, monthly: Mapping[str, int]
) -> TeamStanding:
    used = {
        R.DEVICES: share.held_devices,
        R.CPU: share.held_cpu_millicores,
        R.MEMORY: share.held_memory_bytes,
        R.JOBS: share.held_jobs,
        **monthly,
    }
    rows = [Standing(name, promises[name], used.get(name, 0)) for name in resources_of(pool)]
    return TeamStanding(team, share.weight, rows)


def _monthly_uses(pool: Pool, team_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """Team id -> resource -> what was used since the first of this month; storage is what is kept now."""
    uses: dict[int, dict[str, int]] = {pk: {} for pk in team_ids}
    for pk, seconds in device_seconds_this_month(pool, team_ids).items():
        uses[pk][R.DEVICE_TIME] = int(seconds)
    newest = StoredBytes.objects.filter(team__in=team_ids).order_by("team", "-day").distinct("team")
    for pk, kept in newest.values_list("team_id", "last_bytes"):
        uses[pk][R.STORAGE] = kept
    first = month_of(timezone.now(), timezone.get_default_timezone()).start
    sent = Traffic.objects.filter(team__in=team_ids, day__gte=timezone.localtime(first).date()).values_list("team_id")
    for pk, count in sent.annotate(n=Sum("sent_bytes")):
        uses[pk][R.EGRESS] = count
    return uses


def capacity_of(pool: Pool) -> dict[str, int]:
    """What the machines of the pool have in all, online or not, of what can be guaranteed."""
    nodes = nodes_in_pool().filter(pool=pool)
    total = nodes.aggregate(cpu=Sum("cpu_millicores", default=0), memory=Sum("memory_bytes", default=0))
    return {
        R.DEVICES: Device.objects.filter(node__in=nodes).count(),
        R.CPU: total["cpu"],
        R.MEMORY: total["memory"],
    }


@dataclass(frozen=True)
class Excess:
    """All guarantees of a resource together, where they are more than the pool has."""

    resource: str
    promised: int
    there: int


def excesses(pool: Pool) -> list[Excess]:
    """What is guaranteed beyond what there is. It is allowed: machines may be about to join."""
    there = capacity_of(pool)
    promised = dict(
        Quota.objects.filter(pool=pool, resource__in=there).values_list("resource").annotate(n=Sum("guaranteed"))
    )
    return [Excess(name, promised[name], there[name]) for name in there if promised.get(name, 0) > there[name]]
