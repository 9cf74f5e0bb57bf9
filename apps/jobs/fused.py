"""What came of a fusion: every version and the fused model side by side. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from apps.registry.figures import figure, share_text, write
from workers.contract import IMPROVED

HEADLINES = ("accuracy", "rmse")


@dataclass(frozen=True)
class Row:
    """One model. `version_id` is 0 for the fused one; `share` says how much of it went in; `interval` is that of the
    test figure, 95 times of 100."""

    version_id: int
    name: str
    share: str
    validation: str
    test: str
    interval: str
    size_bytes: int
    latency_ms: float
    is_best: bool


@dataclass(frozen=True)
class FusionResult:
    """`rows` end with the fused model; `label` names the figure of the columns; `reasons` are the sentences behind the
    verdict."""

    label: str
    rows: Sequence[Row]
    is_improved: bool
    has_test: bool
    reasons: Sequence[str]
    notes: Sequence[str]


def read(result: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> FusionResult:
    """`result` is what a fusion wrote about `parts`, which it stands for in the same order."""
    name = next(name for name in HEADLINES if name in result["fused"]["validation"])
    models = [
        _row(name, model, part["id"], part["name"], share_text(model["weight"]), number == result["best"])
        for number, (model, part) in enumerate(zip(result["models"], parts, strict=True))
    ]
    fused = _row(name, result["fused"], 0, _("Fused"), "", result["verdict"] == IMPROVED)
    return FusionResult(
        label=figure(name, 0.0).label,
        rows=[*models, fused],
        is_improved=result["verdict"] == IMPROVED,
        has_test=bool(result["fused"]["test"]),
        reasons=result["reasons"],
        notes=result["notes"],
    )


def _row(name: str, model: Mapping[str, Any], version_id: int, title: str, share: str, is_best: bool) -> Row:
    test, interval = model["test"].get(name), model["test_interval"]
    return Row(
        version_id=version_id,
        name=title,
        share=share,
        validation=write(name, model["validation"][name]),
        test="–" if test is None else write(name, test),
        interval="" if interval is None else " – ".join(write(name, bound) for bound in interval),
        size_bytes=model["bytes"],
        latency_ms=model["latency_p50_ms"],
        is_best=is_best,
    )
