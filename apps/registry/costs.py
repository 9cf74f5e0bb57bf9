"""What a model costs to keep and to run, and one model against another. Pure."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.core.templatetags.lepton import in_bytes
from apps.registry.figures import Difference, compare, is_number

EQUAL_WITHIN = 0.05
BYTES = "B"
# name: (label, unit, whether more is better)
COSTS = {
    "bytes": (gettext_lazy("Size of the files"), BYTES, False),
    "memory_bytes": (gettext_lazy("Memory while it answers"), BYTES, False),
    "latency_p50_ms": (gettext_lazy("Latency, median"), "ms", False),
    "latency_p99_ms": (gettext_lazy("Latency, 99th percentile"), "ms", False),
    "model_latency_p50_ms": (gettext_lazy("Latency of the model alone"), "ms", False),
    "throughput": (gettext_lazy("Throughput, in batches"), "/s", True),
}
SMALLER = ("bytes", "memory_bytes")


def write_cost(name: str, value: Any) -> str:
    """ "123.4 kB", "0.93 ms", "1,250 /s"; "–" where it was not measured."""
    if not is_number(value):
        return "–"
    unit = COSTS[name][1]
    if unit == BYTES:
        return in_bytes(int(value))
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def gain_of(name: str, before: Any, after: Any) -> float | None:
    """How many times better it is after than before; None where that cannot be told."""
    if not (is_number(before) and is_number(after) and before > 0 and after > 0):
        return None
    return after / before if COSTS[name][2] else before / after


def factor_text(name: str, gain: float | None) -> str:
    """ "2.6 × smaller", "1.3 × slower", "the same"; "" where it cannot be told."""
    if gain is None:
        return ""
    if abs(gain - 1) <= EQUAL_WITHIN:
        return _("the same")
    words = (_("smaller"), _("larger")) if name in SMALLER else (_("faster"), _("slower"))
    return f"{max(gain, 1 / gain):.2g} × {words[gain < 1]}"


def compare_costs(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """A row for each cost that both were measured for."""
    return [_row(name, before[name], after[name]) for name in COSTS if name in before and name in after]


def compare_measured(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Quality and costs of two models as a compression measured them (workers/compression)."""
    return [*compare(before.get("metrics", {}), after.get("metrics", {})), *compare_costs(before, after)]


def _row(name: str, before: Any, after: Any) -> Difference:
    gain = gain_of(name, before, after)
    better = "" if gain is None or abs(gain - 1) <= EQUAL_WITHIN else "right" if gain > 1 else "left"
    return Difference(
        str(COSTS[name][0]), write_cost(name, before), write_cost(name, after), factor_text(name, gain), better
    )
