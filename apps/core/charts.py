"""What charts on pages are drawn from. Pure."""

import json
from collections.abc import Sequence

from django.utils.translation import gettext as _

Values = Sequence[float | None]


def series_chart(
    times: Sequence[str], values: Values, forecast: Values = (), low: Values = (), high: Values = ()
) -> str:  # fmt: skip
    """JSON for js/series.js: values at times [N], and a forecast with its range, None where there is none."""
    words = {"time": _("Time"), "values": _("Values"), "forecast": _("Forecast"), "range": _("80 % range")}
    lines = {"forecast": forecast, "low": low, "high": high}
    given = {name: list(line) for name, line in lines.items() if line}
    return json.dumps({"times": list(times), "values": list(values), **given, "words": words})
