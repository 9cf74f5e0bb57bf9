"""Spans of time in words, as rough as they are known. Pure."""

from datetime import datetime

from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

MINUTE, HOUR, DAY = 60, 3600, 86400
WITHIN_SECONDS = 15  # what starts within them starts now


def rough(seconds: float) -> str:
    """40 -> "40 s", 400 -> "7 min", 5000 -> "1.4 h", 300000 -> "3 days"."""
    number, unit = _rounded(seconds)
    return _with_unit(number, unit)


def rough_range(low: float, high: float) -> str:
    """ "2 to 9 min"; one figure where both are the same."""
    (first, first_unit), (last, last_unit) = _rounded(low), _rounded(high)
    if (first, first_unit) == (last, last_unit):
        return _with_unit(first, first_unit)
    shown = f"{first:g}" if first_unit == last_unit else _with_unit(first, first_unit)
    return _("%(low)s to %(high)s") % {"low": shown, "high": _with_unit(last, last_unit)}


def _rounded(seconds: float) -> tuple[float, int]:
    """A number of seconds, minutes, hours or days with two figures."""
    if seconds < 100:
        return (round(seconds) if seconds < 20 else round(seconds, -1)), 1
    if seconds < 100 * MINUTE:
        return round(seconds / MINUTE), MINUTE
    if seconds < 2 * DAY:
        hours = seconds / HOUR
        return (round(hours, 1) if hours < 10 else round(hours)), HOUR
    return round(seconds / DAY), DAY


def _with_unit(number: float, unit: int) -> str:
    match unit:
        case 1:
            return _("%(n)g s") % {"n": number}
        case 60:
            return _("%(n)g min") % {"n": number}
        case 3600:
            return _("%(n)g h") % {"n": number}
        case _:
            return ngettext("%(n)g day", "%(n)g days", int(number)) % {"n": number}


def clock_range(low: datetime, high: datetime, now: datetime) -> str:
    """ "between 14:05 and 14:40", with the day where it is not today."""
    return _("between %(low)s and %(high)s") % {"low": _clock(low, now), "high": _clock(high, now)}


def _clock(moment: datetime, now: datetime) -> str:
    local, today = timezone.localtime(moment), timezone.localtime(now).date()
    days = abs((local.date() - today).days)
    return formats.date_format(
        local, "H:i" if not days else "D H:i" if days < 7 else pgettext("format of a date", "j M H:i")
    )


def wait_range(low: datetime, high: datetime, now: datetime) -> str:
    """ "in 5 to 40 min"; "within 3 min" where it may begin at any moment."""
    soonest, latest = (max(0.0, (moment - now).total_seconds()) for moment in (low, high))
    if latest <= WITHIN_SECONDS:
        return _("within seconds")
    if soonest <= WITHIN_SECONDS:
        return _("within %(time)s") % {"time": rough(latest)}
    return _("in %(time)s") % {"time": rough_range(soonest, latest)}
