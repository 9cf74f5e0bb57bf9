"""Whether the site has worked without a gap of late: after an outage nobody's silence proves anything."""

from django.conf import settings
from django.core.cache import cache

KEY = "reaper"
TICK_SECONDS = settings.BEAT_SECONDS


def note_tick(*, now: float) -> bool:
    """The periodic task looks, at `now`, in seconds. Whether it has come without a gap for a whole lease time."""
    since, last = cache.get(KEY) or (now, now)
    if now - last > 3 * TICK_SECONDS:
        since = now
    cache.set(KEY, (since, now), timeout=None)
    return now - since >= settings.LEPTON_LEASE_SECONDS


def is_steady(*, now: float) -> bool:
    """The same without a look of its own. A site on which the task has never run has had no outage."""
    since, last = cache.get(KEY) or (0.0, now)
    return now - last <= 3 * TICK_SECONDS and now - since >= settings.LEPTON_LEASE_SECONDS
