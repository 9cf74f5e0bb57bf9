"""The bell of the top bar."""

from django import template

from apps.dashboard import news

register = template.Library()


@register.inclusion_tag("dashboard/_bell.html", takes_context=True)
def bell(context) -> dict:
    """How much is new, asked again only while something is under way."""
    return news.bell_of(context["request"].membership)
