"""How figures of a stranger's data are written."""

from django import template
from django.utils import formats

from apps.datasets.kinds import Shown

register = template.Library()


@register.filter
def figure(value: float | None) -> str:
    """Four significant digits, grouped, without an exponent where it is not needed: 54.2131 -> "54.21"."""
    if value is None:
        return "–"
    if value and not 1e-3 <= abs(value) < 1e12:
        return f"{value:.3g}"
    digits = 0 if abs(value) >= 1000 else 4
    text = f"{value:.{digits}g}" if digits else f"{value:.0f}"
    return formats.number_format(text, use_l10n=True, force_grouping=True)


@register.filter
def counted(shown: Shown | None, count: int) -> str:
    """So many items of a kind of data: "1,234 images"."""
    return shown.counted(count) if shown else ""
