"""The bell of the top bar."""

from django import template

from apps.dashboard import news

register = template.Library()


@register.inclusion_tag("dashboard/_bell.html", takes_context=True)
def bell(context) -> dict:
    """How much is new, asked again only while something is under way."""
    return bell_of(context["request"].membership)


def bell_of(membership) -> dict:
    return {"new": news.count_new(membership), "most": news.MOST_COUNTED, "is_live": news.may_come(membership)}
