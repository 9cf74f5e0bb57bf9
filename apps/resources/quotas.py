"""What teams may use: the rows of Quota as one answer, and the one way to change them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import Team, User
from apps.accounts.services import record_audit
from apps.core.doorbell import ring_once
from apps.core.errors import Unprocessable
from apps.resources.models import Pool, Quota, Share
from apps.resources.nodes import default_pool

R = Quota.Resource
LEAST_WEIGHT, MOST_WEIGHT = 0.001, 1000
PERSONAL = (R.DEVICES, R.CPU, R.MEMORY, R.JOBS)
SITE_WIDE = (R.STORAGE, R.EGRESS)  # promised once, in the default pool


@dataclass(frozen=True)
class Promise:
    """What a team was promised of one resource, in the unit of Quota; None is unlimited."""

    guaranteed: int = 0
    limit: int | None = None
    user_limit: int | None = None


def promises_of(team: Team | int, pool: Pool | None = None) -> Mapping[str, Promise]:
    """Resource -> what `team` was promised of it; every resource is there."""
    pk = team if isinstance(team, int) else team.pk
    return promises_of_teams(pool or default_pool(), [pk])[pk]


def promises_of_teams(pool: Pool, team_ids: Iterable[int]) -> Mapping[int, Mapping[str, Promise]]:
    """Team id -> resource -> what it was promised; every team and every resource is there."""
    ids = list(team_ids)
    found: dict[int, dict[str, Promise]] = defaultdict(dict)
    for row in Quota.objects.filter(pool=pool, team__in=ids):
        found[row.team_id][row.resource] = Promise(row.guaranteed, row.limit, row.user_limit)
    return {pk: {resource: found[pk].get(resource, Promise()) for resource in R.values} for pk in ids}


def resources_of(pool: Pool) -> tuple[str, ...]:
    """What is promised in this pool. Storage and network are the site's: they stand with the default pool."""
    return tuple(name for name in R.values if name not in SITE_WIDE or pool == default_pool())


def limit_of(team: Team | int, resource: str, pool: Pool | None = None) -> int | None:
    """The team's limit of one resource; None where there is none."""
    return promises_of(team, pool)[resource].limit


def share_of(team: Team | int, pool: Pool) -> Share:
    """The team's row in the pool, made when it is first asked for."""
    pk = team if isinstance(team, int) else team.pk
    return Share.objects.get_or_create(team_id=pk, pool=pool)[0]


@transaction.atomic
def set_quota(
    *,
    team: Team,
    pool: Pool,
    resource: str,
    user: User | None,
    guaranteed: int = 0,
    limit: int | None = None,
    user_limit: int | None = None,
) -> Quota:
    """Promise `team` a resource of `pool`. Nothing that runs is stopped by a lower limit; nothing new starts above it.

    Raises Unprocessable (with `field`) where a guarantee is above the limit, or cannot be given.
    """
    _check(pool, resource, guaranteed, limit, user_limit)
    values = {"guaranteed": guaranteed, "limit": limit, "user_limit": user_limit}
    quota, _created = Quota.objects.update_or_create(team=team, pool=pool, resource=resource, defaults=values)
    share_of(team, pool)
    details = {"pool": pool.name, "resource": resource, **values}
    record_audit(team=team, actor=user, action="quota.changed", target=team, details=details)
    ring_once("apps.jobs.tasks.schedule")
    return quota


def _check(pool: Pool, resource: str, guaranteed: int, limit: int | None, user_limit: int | None) -> None:
    if resource not in resources_of(pool):
        known = ", ".join(resources_of(pool))
        message = _('This pool promises no "%(resource)s". Choose one of: %(known)s.')
        raise Unprocessable(message % {"resource": resource, "known": known}, code="unknown_resource", field="resource")
    for field, value in {"guaranteed": guaranteed, "limit": limit, "user_limit": user_limit}.items():
        if value is not None and not 0 <= value < 2**62:
            raise Unprocessable(_("Give a number of 0 or more."), code="out_of_range", field=field)
    if guaranteed and resource not in Quota.GUARANTEED:
        raise Unprocessable(
            _("Only devices, CPU and memory can be guaranteed."), code="not_guaranteeable", field="guaranteed"
        )
    if user_limit is not None and resource not in PERSONAL:
        raise Unprocessable(
            _("Only devices, CPU, memory and jobs can be limited for each person."),
            code="not_personal",
            field="user_limit",
        )
    if limit is not None and guaranteed > limit:
        raise Unprocessable(
            _("What is guaranteed cannot be more than the limit. Raise the limit, or guarantee less."),
            code="guaranteed_above_limit",
            field="guaranteed",
        )


@transaction.atomic
def set_weight(*, team: Team, pool: Pool, weight: float, user: User | None) -> Share:
    """How large the team's part is of what nobody was guaranteed, beside the others'. Raises Unprocessable."""
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        words = {"least": LEAST_WEIGHT, "most": MOST_WEIGHT}
        message = _("A weight lies between %(least)g and %(most)g.") % words
        raise Unprocessable(message, code="out_of_range", field="weight")
    share = share_of(team, pool)
    Share.objects.filter(pk=share.pk).update(weight=weight)
    share.refresh_from_db()
    details = {"pool": pool.name, "weight": weight}
    record_audit(team=team, actor=user, action="quota.weight_changed", target=team, details=details)
    ring_once("apps.jobs.tasks.schedule")
    return share
