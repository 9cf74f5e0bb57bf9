"""Before and after a compression, as both models were measured. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.core.templatetags.lepton import in_bytes
from apps.registry.figures import Difference, compare
from workers.contract import IMPROVED

EQUAL_WITHIN = 0.05

# name: (label, unit, whether more is better)
COSTS = {
    "bytes": (gettext_lazy("Size of the files"), "B", False),
    "latency_p50_ms": (gettext_lazy("Latency, median"), "ms", False),
    "latency_p99_ms": (gettext_lazy("Latency, 99th percentile"), "ms", False),
    "model_latency_p50_ms": (gettext_lazy("Latency of the model alone"), "ms", False),
    "throughput": (gettext_lazy("Throughput, in batches"), "/s", True),
}


@dataclass(frozen=True)
class Measurements:
    """`quality` and `costs` are rows of the table; `reasons` are the sentences behind the verdict."""

    quality: list[Difference]
    costs: list[Difference]
    is_improved: bool
    reasons: Sequence[str]
    notes: Sequence[str]


def read(result: Mapping[str, Any]) -> Measurements | None:
    """`result` is what a compression wrote; None for any other job's."""
    if "before" not in result or "after" not in result:
        return None
    before, after = result["before"], result["after"]
    return Measurements(
        quality=compare(*({name: side[name] for name in side if name not in COSTS} for side in (before, after))),
        costs=[_cost(name, before[name], after[name]) for name in COSTS if name in before and name in after],
        is_improved=result.get("verdict") == IMPROVED,
        reasons=result.get("reasons", []),
        notes=result.get("notes", []),
    )


def _cost(name: str, before: float, after: float) -> Difference:
    label, unit, is_more_better = COSTS[name]
    gain = (after / before if is_more_better else before / after) if before and after else 1.0
    better = "" if abs(gain - 1) <= EQUAL_WITHIN else "right" if gain > 1 else "left"
    return Difference(str(label), _write(before, unit), _write(after, unit), _factor(gain, name, better), better)


def _write(value: float, unit: str) -> str:
    if unit == "B":
        return in_bytes(int(value))
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def _factor(gain: float, name: str, better: str) -> str:
    """ "2.6 × smaller", "1.3 × slower", "the same"."""
    if not better:
        return _("the same")
    words = (_("smaller"), _("larger")) if name == "bytes" else (_("faster"), _("slower"))
    return f"{max(gain, 1 / gain):.2g} × {words[gain < 1]}"
