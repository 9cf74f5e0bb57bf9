"""What a team keeps in storage: each file that something of the team refers to, once, and what is on its way in.

Data stands on floors above and beside this one, so it is read by its tables' names; a test holds this query and the
sweep of unused files (apps/jobs/sweeping.py) to one list.
"""

from collections.abc import Mapping
from datetime import datetime

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Team
from apps.core.caching import remembered
from apps.core.errors import QuotaExceeded
from apps.core.templatetags.lepton import in_bytes
from apps.resources.models import Quota, Share, StoredBytes
from apps.resources.nodes import default_pool
from apps.resources.periods import split_by_day
from apps.resources.prices import Prices, current_prices
from apps.resources.quotas import limit_of, share_of

LATELY_SECONDS = 15
KEPT = """
SELECT team_id, sha256, size_bytes FROM datasets_upload WHERE status = 'complete'
UNION SELECT team_id, id::text, size_bytes FROM datasets_upload WHERE status = 'receiving'
UNION SELECT d.team_id, f.sha256, f.size_bytes FROM datasets_versionfile f
    JOIN datasets_datasetversion v ON v.id = f.version_id JOIN datasets_dataset d ON d.id = v.dataset_id
UNION SELECT d.team_id, o.value->>'sha256', (o.value->>'bytes')::bigint FROM datasets_datasetversion v
    JOIN datasets_dataset d ON d.id = v.dataset_id CROSS JOIN jsonb_each(v.outputs) o
UNION SELECT m.team_id, a.sha256, a.size_bytes FROM registry_artifact a
    JOIN registry_modelversion v ON v.id = a.version_id JOIN registry_registeredmodel m ON m.id = v.model_id
UNION SELECT j.team_id, o.value->>'sha256', (o.value->>'bytes')::bigint FROM jobs_job j
    CROSS JOIN jsonb_each(j.outputs) o
UNION SELECT j.team_id, o.value->>'sha256', (o.value->>'bytes')::bigint FROM jobs_job j
    CROSS JOIN jsonb_each(j.inputs) o
UNION SELECT j.team_id, o.value->>'sha256', (o.value->>'bytes')::bigint FROM jobs_checkpoint c
    JOIN jobs_job j ON j.id = c.job_id CROSS JOIN jsonb_each(c.files) o
UNION SELECT j.team_id, o.value->>'sha256', (o.value->>'bytes')::bigint FROM jobs_candidate c
    JOIN jobs_job j ON j.id = c.job_id CROSS JOIN jsonb_each(c.files) o
"""
LOGGED = """
SELECT d.team_id, 'requests of ' || d.id, sum(r.kept_bytes)::bigint FROM deployments_loggedrequest r
    JOIN deployments_deployment d ON d.id = r.deployment_id GROUP BY d.team_id, d.id
"""
ONE = f"SELECT coalesce(sum(size_bytes), 0)::bigint FROM ({KEPT} UNION ALL {LOGGED}) kept WHERE team_id = %s"
ALL = f"SELECT team_id, sum(size_bytes)::bigint FROM ({KEPT} UNION ALL {LOGGED}) kept GROUP BY team_id"


def storage_bytes(team: Team | int) -> int:
    """What the team's data, models, job inputs and outputs, checkpoints, candidates and logged requests take, and its
    uploads under way as announced."""
    with connection.cursor() as cursor:
        cursor.execute(ONE, [team if isinstance(team, int) else team.pk])
        return cursor.fetchone()[0]


def storage_bytes_lately(team: Team) -> int:
    """The same, at most a quarter of a minute old, for pages that ask again and again."""
    return remembered(f"storage:{team.pk}", lambda: storage_bytes(team), seconds=LATELY_SECONDS)


def storage_bytes_by_team() -> Mapping[int, int]:
    """The same for every team that keeps anything."""
    with connection.cursor() as cursor:
        cursor.execute(ALL)
        return dict(cursor.fetchall())


def storage_limit(team: Team) -> int | None:
    """The team's storage quota in bytes; None where there is none."""
    return limit_of(team, Quota.Resource.STORAGE)


@transaction.atomic
def check_storage(team: Team, asked_bytes: int) -> None:
    """Whether the team may store so much more. Raises QuotaExceeded with the numbers.

    Inside the transaction that then stores it, what is asked for at the same time is judged one after the other.
    """
    limit = storage_limit(team)
    if limit is None:
        return
    Share.objects.select_for_update(no_key=True).get(pk=share_of(team, default_pool()).pk)
    used = storage_bytes(team)
    if used + asked_bytes > limit:
        said = {"asked": in_bytes(asked_bytes), "used": in_bytes(used), "limit": in_bytes(limit)}
        raise QuotaExceeded(_refusal(asked_bytes) % said, details=storage_numbers(asked_bytes, used, limit))


def _refusal(asked_bytes: int) -> str:
    if not asked_bytes:
        return _(
            "Your team keeps %(used)s, and its limit is %(limit)s. "
            "Delete data or models that you no longer need, or ask an administrator for more."
        )
    return _(
        "This needs %(asked)s. Your team uses %(used)s of its %(limit)s of storage. "
        "Delete data that you no longer need, or ask an administrator for more."
    )


def storage_numbers(asked: int, used: int, limit: int) -> dict[str, int]:
    return {"asked_bytes": asked, "used_bytes": used, "limit_bytes": limit}


def measure_storage(*, now: datetime) -> int:
    """Write down for every team how long it has kept how much since the last measurement; returns how many teams.

    Measuring again at the same moment changes nothing. Between two measurements the earlier one counts.
    """
    kept = storage_bytes_by_team()
    prices = current_prices()
    known = set(StoredBytes.objects.exclude(last_bytes=0).values_list("team_id", flat=True))
    for team_id in sorted({*kept, *known}):
        _measure_team(team_id, kept.get(team_id, 0), now, prices)
    return len({*kept, *known})


@transaction.atomic
def _measure_team(team_id: int, size_bytes: int, now: datetime, prices: Prices) -> None:
    team = Team.objects.select_for_update(no_key=True).filter(pk=team_id).first()  # one measurement at a time
    if team is None:
        return
    zone = timezone.get_default_timezone()
    last = StoredBytes.objects.filter(team=team).order_by("-day").first()
    had = last.last_bytes if last else 0
    if (last is not None and now <= last.measured_at) or not (had or size_bytes):
        return
    for day, seconds in split_by_day(last.measured_at, now, zone) if had else ():
        row, _created = StoredBytes.objects.get_or_create(team=team, day=day, defaults={"measured_at": now})
        row.byte_seconds += had * seconds
        row.cost = prices.storage(row.byte_seconds)  # of the whole day: quarter hours would round to nothing
        row.last_bytes, row.measured_at = had, now
        row.save()
    today = now.astimezone(zone).date()
    fresh = {"last_bytes": size_bytes, "measured_at": now}
    StoredBytes.objects.update_or_create(team=team, day=today, defaults=fresh)
