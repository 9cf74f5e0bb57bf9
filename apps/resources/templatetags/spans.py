"""Spans of time in templates."""

from datetime import datetime

from django import template
from django.utils import formats, timezone
from django.utils.html import format_html

from apps.resources import spans

register = template.Library()


@register.simple_tag
def takes(low_seconds: float, high_seconds: float) -> str:
    """ "2 to 9 min"."""
    return spans.rough_range(low_seconds, high_seconds)


@register.filter
def roughly(seconds: float) -> str:
    """ "7 min"."""
    return spans.rough(seconds)


@register.simple_tag
def clock_range(low: datetime, high: datetime) -> str:
    """ "between 14:05 and 14:40"; on hover with date and seconds."""
    exact = " – ".join(formats.date_format(timezone.localtime(moment), "DATETIME_FORMAT") for moment in (low, high))
    return format_html('<span title="{}">{}</span>', exact, spans.clock_range(low, high, timezone.now()))


@register.simple_tag
def wait_range(low: datetime, high: datetime) -> str:
    """ "in 5 to 40 min"; on hover between which times."""
    now = timezone.now()
    return format_html(
        '<span title="{}">{}</span>', spans.clock_range(low, high, now), spans.wait_range(low, high, now)
    )
