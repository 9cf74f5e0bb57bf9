"""Money in templates, and the warning that a budget runs out."""

from decimal import Decimal

from django import template
from django.conf import settings

from apps.resources import money as words
from apps.resources.budgets import budget_for_banner

register = template.Library()


@register.filter
def money(amount: Decimal | None) -> str:
    return "–" if amount is None else words.money(amount)


@register.filter
def amount(value: float) -> str:
    """A figure with as many digits as it is worth: 1,204, 12.4, 0.031."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


@register.filter
def hours(value: float) -> str:
    return f"{amount(value)} h"


@register.filter
def seconds_as_hours(seconds: float) -> str:
    return amount(seconds / 3600)


@register.simple_tag
def currency() -> str:
    return settings.LEPTON_CURRENCY


@register.inclusion_tag("resources/budget_banner.html", takes_context=True)
def budget_banner(context) -> dict:
    """Says that the team's budget is nearly or wholly spent; nothing while all is well."""
    team = getattr(context["request"], "team", None)
    return {"budget": budget_for_banner(team) if team else None}
