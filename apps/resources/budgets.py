"""What a team may spend in a month, and whether it may begin something new."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Team, User
from apps.accounts.services import record_audit
from apps.core.caching import remembered
from apps.core.errors import QuotaExceeded
from apps.resources.accounting import cost_this_month, device_seconds_this_month
from apps.resources.models import Budget, Pool, Quota
from apps.resources.money import money
from apps.resources.periods import month_of
from apps.resources.prices import checked_amount, current_prices
from apps.resources.quotas import limit_of
from apps.resources.storage_use import check_storage
from apps.resources.usage import ZERO

WARN_AT = Decimal("0.8")
MOST = Decimal(1_000_000_000)
BANNER_SECONDS = 30
WARNED, SPENT = "budget.nearly_spent", "budget.spent"


@dataclass(frozen=True)
class BudgetState:
    """How much of this month's budget is gone."""

    spent: Decimal
    amount: Decimal

    @property
    def fraction(self) -> float:
        return float(self.spent / self.amount) if self.amount else 1.0

    @property
    def is_spent(self) -> bool:
        return self.spent >= self.amount

    @property
    def is_nearly_spent(self) -> bool:
        return self.spent >= self.amount * WARN_AT


@transaction.atomic
def set_budget(*, team: Team, amount: Decimal | None, user: User | None) -> None:
    """Let the team spend `amount` a month; None takes the budget away, 0 stops all new work. Raises Unprocessable."""
    before = Budget.objects.filter(team=team).values_list("amount_per_month", flat=True).first()
    if amount is not None:
        amount = checked_amount(amount, digits=2, most=MOST)
    if amount == before:
        return
    if amount is None:
        Budget.objects.filter(team=team).delete()
    else:
        Budget.objects.update_or_create(team=team, defaults={"amount_per_month": amount})
    details = {"before": before and str(before), "after": None if amount is None else str(amount)}
    record_audit(team=team, actor=user, action="budget.changed", target=team, details=details)
    transaction.on_commit(lambda: cache.delete(_banner_key(team.pk)), robust=True)


def budget_of(team: Team) -> BudgetState | None:
    """None where the team has no budget, and may spend without end."""
    amount = Budget.objects.filter(team=team).values_list("amount_per_month", flat=True).first()
    return None if amount is None else BudgetState(cost_this_month([team.pk])[team.pk], amount)


def all_budgets() -> dict[Team, BudgetState]:
    """The state of every budget that is set."""
    budgets = list(Budget.objects.select_related("team").order_by("team__name"))
    spent = cost_this_month([budget.team_id for budget in budgets]) if budgets else {}
    return {budget.team: BudgetState(spent[budget.team_id], budget.amount_per_month) for budget in budgets}


def budget_for_banner(team: Team) -> BudgetState | None:
    """The state of a budget that is nearly or wholly spent, at most half a minute old; None while all is well."""
    kept = remembered(_banner_key(team.pk), lambda: _as_words(budget_of(team)), seconds=BANNER_SECONDS)
    state = BudgetState(*map(Decimal, kept)) if kept else None
    return state if state and state.is_nearly_spent else None


def _as_words(state: BudgetState | None) -> list[str]:
    return [str(state.spent), str(state.amount)] if state else []


def _banner_key(team_id: int) -> str:
    return f"budget:{team_id}"


def note_budgets(*, now: datetime) -> int:
    """Once a month for each team, an audit record that 80 % of its budget is spent, and one that all is; returns how
    many were written."""
    since = month_of(now, timezone.get_default_timezone()).start
    count = 0
    for team, state in all_budgets().items():
        count += state.is_nearly_spent and _note(team, WARNED, state, since)
        count += state.is_spent and _note(team, SPENT, state, since)
    return count


@transaction.atomic
def _note(team: Team, action: str, state: BudgetState, since: datetime) -> bool:
    budget = Budget.objects.select_for_update().filter(team=team).first()  # two who note at once write one record
    if budget is None or team.audit_events.filter(action=action, at__gte=since).exists():
        return False
    details = {"spent": str(state.spent), "amount": str(state.amount)}
    record_audit(team=team, actor=None, action=action, target=team, details=details)
    return True


# Before something begins


def check_may_start(team: Team, pool: Pool) -> None:
    """Whether the team may begin new work in the pool. Raises QuotaExceeded, with the numbers, as budget_spent or
    hours_spent; as quota_exceeded where it keeps more in storage than it may. What runs already goes on."""
    _check_budget(team)
    _check_hours(team, pool)
    check_storage(team, asked_bytes=0)


def _check_budget(team: Team) -> None:
    state = budget_of(team)
    if state is not None and state.is_spent:
        raise QuotaExceeded(
            _(
                "Your team has spent %(spent)s of its budget of %(amount)s for this month, so nothing new starts. "
                "What runs goes on. Ask an administrator to raise the budget, or wait for next month."
            )
            % {"spent": money(state.spent), "amount": money(state.amount)},
            code="budget_spent",
            details={"spent": float(state.spent), "limit": float(state.amount)},
        )


def _check_hours(team: Team, pool: Pool) -> None:
    limit = limit_of(team, Quota.Resource.DEVICE_TIME, pool)
    if limit is None:
        return
    used = device_seconds_this_month(pool, [team.pk])[team.pk]
    if used >= limit:
        raise QuotaExceeded(
            _(
                "Your team has used %(used).1f of the %(limit).1f device-hours it has for this month, so nothing new "
                "starts. What runs goes on. Ask an administrator for more, or wait for next month."
            )
            % {"used": used / 3600, "limit": limit / 3600},
            code="hours_spent",
            details={"used_seconds": round(used), "limit_seconds": limit},
        )


def estimated_cost(devices: int, kind: str, seconds: float, device_name: str = "") -> Decimal:
    """What so many devices of a kind cost for so long, at today's prices; 0 for work without a device."""
    if not devices or not kind:
        return ZERO
    return devices * current_prices().devices([(kind, device_name)], max(0.0, seconds))
