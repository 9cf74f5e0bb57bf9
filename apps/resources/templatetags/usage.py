"""Money in templates, and the warning that a budget runs out."""

from decimal import Decimal

from django import template

from apps.resources import money as words
from apps.resources.budgets import budget_for_banner

register = template.Library()


@register.filter
def money(amount: Decimal | None) -> str:
    return "–" if amount is None else words.money(amount)


@register.inclusion_tag("resources/budget_banner.html", takes_context=True)
def budget_banner(context) -> dict:
    """Says that the team's budget is nearly or wholly spent; nothing while all is well."""
    team = getattr(context["request"], "team", None)
    return {"budget": budget_for_banner(team) if team else None}
