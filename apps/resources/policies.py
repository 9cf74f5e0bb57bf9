"""How a pool is shared: the policies in plain words, what one would do to the queue now, and the change itself."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.db import transaction
from django.utils.functional import Promise as LazyText
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import User
from apps.accounts.services import record_audit
from apps.core.doorbell import ring_once
from apps.core.errors import Unprocessable
from apps.resources.market import end_auction, give_credits
from apps.resources.models import Allocation, Pool
from apps.resources.scheduling import Plan, PolicySettings, plan
from apps.resources.snapshots import database_time, settings_of, take_snapshot

P = Pool.Policy
SHOWN = 5
RANGES = {
    "min_runtime_seconds": (0, 7 * 86400),
    "starvation_seconds": (3600, 365 * 86400),
    "credits_per_period": (1, 1_000_000_000),
    "credit_period_hours": (1, 8760),
}


@dataclass(frozen=True)
class Words:
    icon: str
    sentence: LazyText
    good_for: LazyText


WORDS = {
    P.FIFO: Words(
        "list-numbers",
        gettext_lazy("Who asks first starts first; small work fills gaps as long as it delays nobody."),
        gettext_lazy("One team, or people who talk to each other."),
    ),
    P.PRIORITY: Words(
        "flag",
        gettext_lazy("High before normal before low; in a class, long waits and little past use count."),
        gettext_lazy("A lab with deadlines."),
    ),
    P.FAIR_SHARE: Words(
        "scale",
        gettext_lazy("The team that holds the smallest part of what it needs most goes next."),
        gettext_lazy("Several teams that own the pool together."),
    ),
    P.AUCTION: Words(
        "gavel",
        gettext_lazy("Teams bid credits for a device-hour; winners pay what their place costs the others."),
        gettext_lazy("Teams whose work is urgent at different times."),
    ),
    P.SHORTEST_PREDICTED: Words(
        "hourglass",
        gettext_lazy("What will probably end soonest starts first; what has waited too long goes to the front."),
        gettext_lazy("Classes and many short experiments."),
    ),
}


@dataclass(frozen=True)
class Outlook:
    """What a policy would do to the queue as it is now."""

    waiting: int
    starting: int
    leaving: int
    free_running: int
    next_up: Sequence[Allocation]


def outlook_of(pool: Pool, settings: PolicySettings) -> Outlook:
    """Plans the pool's present state under `settings`; nothing is written."""
    snapshot = replace(take_snapshot(pool), settings=settings)
    decided = plan(snapshot)
    return Outlook(
        waiting=len(snapshot.requests),
        starting=len(decided.grants),
        leaving=len(decided.evictions),
        free_running=len(snapshot.running) if settings.policy == P.AUCTION and pool.policy != P.AUCTION else 0,
        next_up=_next_up(decided),
    )


def _next_up(decided: Plan) -> list[Allocation]:
    granted = [grant.request_id for grant in decided.grants]
    waiting = [item.request_id for item in sorted(decided.waiting, key=lambda item: item.place)]
    ids = [*granted, *waiting][:SHOWN]
    rows = Allocation.objects.select_related("team", "job", "replica__deployment").in_bulk(ids)
    return [rows[pk] for pk in ids if pk in rows]


def changed_settings(pool: Pool, changes: dict) -> PolicySettings:
    """The settings that `pool` would have after `set_policy` with these values."""
    fields = {field.name for field in dataclasses.fields(PolicySettings)}
    known = {name: value for name, value in changes.items() if name in fields}
    return replace(settings_of(pool), **known)


@transaction.atomic
def set_policy(
    *,
    pool: Pool,
    user: User | None,
    policy: str,
    is_preemptive: bool,
    min_runtime_seconds: int,
    starvation_seconds: int,
    credits_per_period: int,
    credit_period_hours: int,
) -> Pool:
    """Share `pool` in this way from the next plan on. Nothing that runs is stopped by the change itself.

    Leaving an auction charges what runs up to now; entering one hands out the first credits. Raises Unprocessable.
    """
    wanted = {
        "policy": policy,
        "is_preemptive": is_preemptive,
        "min_runtime_seconds": min_runtime_seconds,
        "starvation_seconds": starvation_seconds,
        "credits_per_period": credits_per_period,
        "credit_period_hours": credit_period_hours,
    }
    _check(wanted)
    row = Pool.objects.select_for_update(no_key=True).get(pk=pool.pk)
    before = {name: getattr(row, name) for name in wanted}
    changes = {name: value for name, value in wanted.items() if value != before[name]}
    if not changes:
        return row
    Pool.objects.filter(pk=row.pk).update(**changes)
    if "policy" in changes:
        now = database_time()
        if before["policy"] == P.AUCTION:
            end_auction(pool=row, now=now)
        give_credits(pool=row, now=now)
    details = {name: [before[name], value] for name, value in changes.items()}
    record_audit(team=None, actor=user, action="pool.policy_changed", target=row.name, details=details)
    ring_once("apps.jobs.tasks.schedule")
    row.refresh_from_db()
    return row


def _check(wanted: dict) -> None:
    if wanted["policy"] not in P.values:
        message = _("Choose one of: %(known)s.") % {"known": ", ".join(P.values)}
        raise Unprocessable(message, code="unknown_policy", field="policy")
    for name, (least, most) in RANGES.items():
        if not least <= wanted[name] <= most:
            message = _("Give a number from %(least)d to %(most)d.") % {"least": least, "most": most}
            raise Unprocessable(message, code="out_of_range", field=name)
