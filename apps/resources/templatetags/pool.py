"""How the pages of the pool write amounts, and which of them there are."""

from django import template
from django.utils.translation import gettext as _

from apps.resources.models import Pool, Quota
from apps.resources.units import write_amount

register = template.Library()

R = Quota.Resource
BYTES = (R.MEMORY, R.STORAGE, R.EGRESS)


@register.filter
def amount(value: int | None, resource: str) -> str:
    """A number of a resource with its unit: 4, 2.5 cores, 64 GB, 100 h."""
    if value is None:
        return _("unlimited")
    if resource in BYTES:
        return _gigabytes(value)
    if resource == R.CPU:
        return _("1 core") if value == 1000 else _("%(n)s cores") % {"n": f"{value / 1000:.4g}"}
    if resource == R.DEVICE_TIME:
        return _("%(n)s h") % {"n": _short(value / 3600)}
    return write_amount(resource, value)


def _gigabytes(value: int) -> str:
    for size, unit in ((10**15, "PB"), (10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if value >= size:
            return f"{_short(value / size)} {unit}"
    return f"{value} B"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


@register.filter
def credits(value: float | None) -> str:
    """12345.678 -> "12,346"; below a hundred with two decimals, trailing zeros left out."""
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")


@register.filter
def minus(value: float, other: float) -> float:
    return value - other


@register.filter
def size(value: float) -> float:
    """Without its sign."""
    return abs(value)


@register.simple_tag
def has_auction() -> bool:
    """Whether any pool is auctioned: only then is there a page about it."""
    return Pool.objects.filter(policy=Pool.Policy.AUCTION).exists()
