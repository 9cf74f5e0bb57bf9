"""Credits: handed out each period, bid with, charged for the device time that was really held.

Amounts are computed in whole micro-credits (scheduling/credits.py), so nothing is lost to rounding: a team's balance is
the sum of its CreditEntry rows. There is one CHARGED row per claim; it grows, and its `at` says until when it is paid.
All who lock go in the scheduler's order: pool, claims, shares.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.accounts.models import Team, User
from apps.accounts.services import record_audit
from apps.core.doorbell import ring_once
from apps.core.errors import Conflict, Unprocessable
from apps.resources.models import Allocation, CreditEntry, Pool, Share
from apps.resources.scheduling.credits import affordable, from_micro, hand_out, renew, settle, to_micro

CARRY_PERIODS = 1.0
CHARGE_EVERY = timedelta(seconds=60)
MOST_BID = 1_000_000_000
USUAL_HOURS = 1.0
S = Allocation.Status
K = CreditEntry.Kind


# Handing out


@transaction.atomic
def give_credits(*, pool: Pool, now: datetime) -> int:
    """Start a new period when it is due: every team gets its part by weight, and what it saved beyond a period's income
    expires. A team that came since gets its part of what is left of the period. Returns how many teams were given
    something; asking again in the same period gives nothing.
    """
    row = Pool.objects.select_for_update(no_key=True).get(pk=pool.pk)
    if row.policy != Pool.Policy.AUCTION:
        return 0
    _open_accounts(row)
    shares = list(Share.objects.filter(pool=row).order_by("id").select_for_update(no_key=True))
    parts = hand_out(to_micro(row.credits_per_period), {share.pk: share.weight for share in shares})
    starts_at = _period_start(row, now)
    if starts_at == row.credits_given_at:
        return _welcome(row, shares, parts, now)
    Pool.objects.filter(pk=row.pk).update(credits_given_at=starts_at)
    entries = []
    for share in shares:
        balance, income = to_micro(share.credits), parts[share.pk]
        renewed = renew(balance, income, CARRY_PERIODS)
        entries += _entries(share, {K.EXPIRED: renewed - balance - income, K.GIVEN: income}, at=now)
        share.credits = from_micro(renewed)
    _write(shares, entries)
    return len(shares)


def period_of(pool: Pool) -> timedelta:
    return timedelta(hours=pool.credit_period_hours)


def next_credits_at(pool: Pool) -> datetime | None:
    return pool.credits_given_at and pool.credits_given_at + period_of(pool)


def _period_start(pool: Pool, now: datetime) -> datetime:
    """When the present period began: periods follow each other without gaps, also while the site was off."""
    began = pool.credits_given_at
    if began is None:
        return now
    return began + max(0, (now - began) // period_of(pool)) * period_of(pool)


def _open_accounts(pool: Pool) -> None:
    without = Team.objects.exclude(shares__pool=pool)
    Share.objects.bulk_create([Share(team=team, pool=pool) for team in without], ignore_conflicts=True)


def _welcome(pool: Pool, shares: Sequence[Share], parts: dict[int, int], now: datetime) -> int:
    """Teams that have never been given anything start with their part of what is left of the period."""
    known = set(CreditEntry.objects.filter(share__in=shares, kind=K.GIVEN).values_list("share_id", flat=True))
    new = [share for share in shares if share.pk not in known and parts[share.pk]]
    left = max(0.0, 1 - (now - pool.credits_given_at) / period_of(pool))
    entries = []
    for share in new:
        part = math.ceil(parts[share.pk] * left)
        entries += _entries(share, {K.GIVEN: part}, at=now)
        share.credits = from_micro(to_micro(share.credits) + part)
    _write(new, entries)
    return len(new)


def _entries(share: Share, amounts: dict[str, int], *, at: datetime) -> list[CreditEntry]:
    found = ((kind, micro) for kind, micro in amounts.items() if micro)
    return [CreditEntry(share=share, kind=kind, amount=from_micro(micro), at=at) for kind, micro in found]


def _write(shares: Sequence[Share], entries: Sequence[CreditEntry]) -> None:
    CreditEntry.objects.bulk_create(entries)
    Share.objects.bulk_update(shares, ["credits"])


# Charging


@transaction.atomic
def charge(*, allocation: Allocation, now: datetime | None = None) -> None:
    """Charge a granted claim, locked by the caller, for the time it has held its devices since it was last charged."""
    if allocation.price > 0:
        _charge([allocation], now or timezone.now())


def charge_running(*, pool: Pool, now: datetime, since_last: timedelta = CHARGE_EVERY) -> None:
    """Charge what runs, team by team, at most every `since_last`."""
    paid = CreditEntry.objects.filter(allocation=OuterRef("pk"), kind=K.CHARGED, at__gt=now - since_last)
    due = Allocation.objects.filter(pool=pool, status=S.GRANTED, price__gt=0, granted_at__lte=now - since_last)
    by_team = defaultdict(list)
    for pk, team_id in due.exclude(Exists(paid)).values_list("pk", "team_id"):
        by_team[team_id].append(pk)
    for ids in by_team.values():
        with transaction.atomic():
            granted = Allocation.objects.filter(pk__in=ids, status=S.GRANTED, price__gt=0)
            _charge(list(granted.order_by("id").select_for_update(no_key=True)), now)


def _charge(claims: Sequence[Allocation], now: datetime) -> None:
    """Of one team and pool. Never below zero: what a team cannot pay is let go, and its work no longer outbids any."""
    if not claims:
        return
    share = Share.objects.select_for_update(no_key=True).get(team=claims[0].team_id, pool=claims[0].pool_id)
    paid = {row.allocation_id: row for row in CreditEntry.objects.filter(allocation__in=claims, kind=K.CHARGED)}
    balance, is_short, new = to_micro(share.credits), False, []
    for claim in claims:
        entry, since = paid.get(claim.pk), claim.granted_at
        if entry is None:
            entry = CreditEntry(share=share, allocation=claim, kind=K.CHARGED, amount=0.0, note=claim.work_name)
            new.append(entry)
        else:
            since = max(since, entry.at)
        held = claim.devices_asked * max(0.0, (now - since).total_seconds())
        paid_now = settle(balance, 0, claim.price, held)
        balance, is_short = paid_now.balance, is_short or paid_now.unpaid > 0
        entry.amount, entry.at = from_micro(to_micro(entry.amount) - paid_now.charge), now
    CreditEntry.objects.bulk_create(new)
    CreditEntry.objects.bulk_update(paid.values(), ["amount", "at"])
    Share.objects.filter(pk=share.pk).update(credits=from_micro(balance))
    if is_short:  # apart from this transaction: whoever locks claims does so before the share
        transaction.on_commit(lambda: _drop_bids(share))


def _drop_bids(share: Share) -> None:
    """A team without credits keeps what runs until somebody bids for it."""
    running = Allocation.objects.filter(team=share.team_id, pool=share.pool_id, status=S.GRANTED, is_preemptible=True)
    running.update(bid=0, price=0)


@transaction.atomic
def end_auction(*, pool: Pool, now: datetime) -> None:
    """Charge what runs up to now; from now on it costs nothing. Bids stay, for the next auction."""
    charge_running(pool=pool, now=now, since_last=timedelta(0))
    Allocation.objects.filter(pool=pool, status=S.GRANTED).update(price=0)


# Bidding


@transaction.atomic
def place_bid(*, allocation: Allocation, bid: float, user: User | None) -> Allocation:
    """Offer `bid` credits for each device-hour. Nobody outside the team sees it. Raises Unprocessable (field `bid`),
    and Conflict when the work does not wait any more."""
    bid = round(bid, 6)
    check_bid(team=allocation.team, pool=allocation.pool, bid=bid, devices=allocation.devices_asked,
              hours=_expected_hours(allocation))  # fmt: skip
    if not Allocation.objects.filter(pk=allocation.pk, status=S.PENDING).update(bid=bid):
        raise Conflict(_("This work does not wait any more, so its bid stands."), code="not_waiting")
    record_audit(
        team=allocation.team, actor=user, action="bid.placed", target=f"#{allocation.pk}", details={"bid": bid}
    )
    ring_once("apps.jobs.tasks.schedule")
    allocation.refresh_from_db()
    return allocation


def check_bid(*, team: Team, pool: Pool, bid: float, devices: int, hours: float = USUAL_HOURS) -> None:
    """Raises Unprocessable (field `bid`) for a bid that makes no sense, or that the team could not pay for."""
    if not (math.isfinite(bid) and 0 <= bid <= MOST_BID):
        raise Unprocessable(_("A bid is a number of 0 or more."), code="out_of_range", field="bid")
    balance = Share.objects.filter(team=team, pool=pool).values_list("credits", flat=True).first() or 0.0
    most = affordable(to_micro(balance), bid, devices, hours)
    if most < bid:
        raise Unprocessable(
            ngettext(
                "Your team has %(balance)g credits. For %(n)d device and %(hours).2g h that is at most %(most).2f.",
                "Your team has %(balance)g credits. For %(n)d devices and %(hours).2g h that is at most %(most).2f.",
                devices,
            )
            % {"balance": balance, "n": devices, "hours": hours, "most": math.floor(most * 100) / 100},
            code="too_few_credits",
            field="bid",
            details={"credits": balance, "most": most},
        )


def _expected_hours(allocation: Allocation) -> float:
    """How long it is expected to hold its devices still; an hour where nothing is known."""
    if allocation.median_seconds is None:
        return USUAL_HOURS
    return max(60.0, allocation.median_seconds - allocation.attained_seconds) / 3600


# Looking


def bidding_claims(team: Team, pool: Pool) -> Iterable[Allocation]:
    """The team's own claims on devices that wait or run."""
    claims = Allocation.objects.filter(pool=pool, team=team, devices_asked__gt=0).exclude(status=S.RELEASED)
    return claims.select_related("job").order_by("status", "-bid", "id")


def demand_of(pool: Pool) -> dict[str, int]:
    """How much is asked for in all, without who and how much they bid."""
    rows = Allocation.objects.filter(pool=pool, devices_asked__gt=0).exclude(status=S.RELEASED)
    return rows.aggregate(
        waiting=Count("id", filter=Q(status=S.PENDING)),
        bidding=Count("id", filter=Q(status=S.PENDING, bid__gt=0)),
        teams=Count("team", distinct=True, filter=Q(status=S.PENDING)),
        asked=Sum("devices_asked", filter=Q(status=S.PENDING), default=0),
        held=Sum("devices_asked", filter=Q(status=S.GRANTED), default=0),
        paying=Sum(F("price") * F("devices_asked"), filter=Q(status=S.GRANTED), default=0.0),
    )
