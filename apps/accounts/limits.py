"""How often a key may ask."""

from django.utils.translation import gettext as _

from apps.core.errors import Unprocessable

MAX_PER_MINUTE = 1_000_000


def check_per_minute(limit: int | None) -> None:
    """Raises Unprocessable for a limit out of range; None is none."""
    if limit is not None and not 1 <= limit <= MAX_PER_MINUTE:
        raise Unprocessable(
            _("Allow between 1 and %(n)s predictions a minute, or leave it empty for no limit.")
            % {"n": f"{MAX_PER_MINUTE:,}"},
            code="out_of_range",
            field="requests_per_minute",
        )
