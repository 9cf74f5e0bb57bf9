"""Template filters and tags that every page uses."""

import json
from datetime import datetime

from django import template
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.forms import BaseForm, BoundField
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.core.retelling import retell

register = template.Library()

STATUS_LOOKS = {
    "queued": ("secondary", "ti-clock"),
    "pending": ("secondary", "ti-clock"),
    "checking": ("blue", "ti-loader"),
    "starting": ("blue", "ti-loader"),
    "running": ("blue", "ti-player-play"),
    "ready": ("green", "ti-check"),
    "succeeded": ("green", "ti-check"),
    "online": ("green", "ti-check"),
    "needs_review": ("yellow", "ti-alert-triangle"),
    "failed": ("red", "ti-x"),
    "rejected": ("red", "ti-x"),
    "offline": ("red", "ti-plug-x"),
    "cordoned": ("yellow", "ti-barrier-block"),
    "draining": ("yellow", "ti-droplet-half-2"),
    "drained": ("secondary", "ti-droplet-off"),
    "removed": ("secondary", "ti-trash"),
    "cancelled": ("secondary", "ti-player-stop"),
    "stopped": ("secondary", "ti-player-stop"),
    "asleep": ("secondary", "ti-moon"),
    "stopping": ("secondary", "ti-player-stop"),
    "paused": ("secondary", "ti-player-pause"),
    "pausing": ("secondary", "ti-player-pause"),
    "preempted": ("yellow", "ti-arrow-back-up"),
}


@register.simple_tag
def status_badge(status: str, label: str = "") -> str:
    """Colour, icon and word: the same for a status wherever it is shown."""
    colour, icon = STATUS_LOOKS.get(status, ("secondary", "ti-help"))
    return format_html(
        '<span class="badge bg-{0}-lt text-{0}" data-status="{3}"><i class="ti {1}" aria-hidden="true"></i> {2}</span>',
        colour,
        icon,
        label or status.replace("_", " ").capitalize(),
        status,
    )


@register.filter
def in_bytes(value: int | None) -> str:
    """3_200_000 -> "3.2 MB" (decimal units)."""
    if value is None:
        return "–"
    size = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


@register.filter
def in_time(seconds: float | None) -> str:
    """75 -> "1 min 15 s"; under ten seconds with one decimal."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return _("%(n).1f s") % {"n": seconds}
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return _("%(h)d h %(m)d min") % {"h": hours, "m": minutes}
    if minutes:
        return _("%(m)d min %(s)d s") % {"m": minutes, "s": rest}
    return ngettext("%(s)d s", "%(s)d s", rest) % {"s": rest}


@register.filter
def percent(fraction: float | str | None, digits: int = 1) -> str:
    """0.9763 -> "97.6 %"."""
    return "–" if fraction in (None, "") else f"{fraction * 100:.{digits}f} %"


@register.filter
def retold(sentence: str | None) -> str:
    """A sentence that the database keeps, in the reader's language where the catalogue has what it was made from."""
    return retell(sentence) if sentence else ""


@register.filter
def as_json(value) -> str:
    """For data-* attributes; Django's autoescape makes it safe there."""
    return json.dumps(value, default=str)


@register.filter
def get(mapping: dict, key: str):
    return mapping.get(key) if mapping else None


@register.simple_tag(takes_context=True)
def query(context, **changes) -> str:
    """The present query string with some keys changed; None removes a key."""
    params = context["request"].GET.copy()
    for key, value in changes.items():
        if value is None:
            params.pop(key, None)
        else:
            params[key] = value
    return f"?{params.urlencode()}" if params else "?"


WIDGET_CLASSES = {"checkbox": "form-check-input", "select": "form-select", "range": "form-range"}


@register.inclusion_tag("core/field.html")
def field(bound: BoundField, **attrs: str) -> dict:
    """A form field: label above, help below, error beside it. `autofocus=True` and the like go to its input."""
    kind = getattr(bound.field.widget, "input_type", "textarea")
    attrs["class"] = f"{WIDGET_CLASSES.get(kind, 'form-control')}{' is-invalid' if bound.errors else ''}"
    if bound.errors:
        attrs["aria-describedby"] = f"{bound.auto_id}_error"
        attrs["aria-invalid"] = "true"
    elif bound.help_text:
        attrs["aria-describedby"] = f"{bound.auto_id}_help"
    return {"field": bound, "widget": bound.as_widget(attrs=attrs), "is_check": kind == "checkbox"}


@register.inclusion_tag("core/form_errors.html")
def form_errors(form: BaseForm) -> dict:
    """What is wrong with the form as a whole."""
    return {"form": form}


@register.simple_tag
def time_ago(moment: datetime | None) -> str:
    """Relative, with the exact time on hover: "3 minutes ago"."""
    if moment is None:
        return "–"
    exact = formats.date_format(timezone.localtime(moment), "DATETIME_FORMAT")
    seconds = (timezone.now() - moment).total_seconds()
    text = _("just now") if 0 <= seconds < 10 else naturaltime(moment)
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact, text)
