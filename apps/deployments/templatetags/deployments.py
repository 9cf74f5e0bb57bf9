"""How the figures of deployments are written."""

from collections.abc import Mapping, Sequence

from django import template
from django.utils.translation import gettext as _

from apps.deployments.rollouts import in_words

register = template.Library()


@register.filter
def milliseconds(seconds: float | str | None) -> str:
    """0.00312 -> "3.1 ms"; whole from 100 ms on. What a template has no value for is ""."""
    if seconds in (None, ""):
        return "–"
    value = seconds * 1000
    return _("%(n)s ms") % {"n": f"{value:.0f}" if value >= 100 else f"{value:.1f}"}


@register.filter
def per_second(rate: float) -> str:
    """12.34 -> "12 /s"; under 10 with one decimal, and at least "< 0.1 /s"."""
    if 0 < rate < 0.05:
        return _("< 0.1 /s")
    return _("%(n)s /s") % {"n": f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"}


@register.filter
def shares(told: Sequence[Mapping]) -> str:
    """What a change of the traffic made serve: "90 % v3, 10 % v4"."""
    return in_words(told)
