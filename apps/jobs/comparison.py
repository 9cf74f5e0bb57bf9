"""The candidates of a compression side by side: the rows of the table, and the points of the plots. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from apps.jobs.models import Candidate
from apps.registry.costs import factor_text, gain_of, write_cost
from apps.registry.figures import DOWNLOADS, KNOWN, PERCENT, figure, is_number, write
from workers.contract import IMPROVED, NOT_IMPROVED, WITHIN

HEADLINES = ("accuracy", "rmse")
PLOTTED = ("bytes", "latency_p50_ms")
LOOKS = {
    Candidate.Verdict.WITHIN: ("green", "ti-check"),
    Candidate.Verdict.NO_GAIN: ("secondary", "ti-equal"),
    Candidate.Verdict.OVER: ("red", "ti-arrow-down-right"),
    Candidate.Verdict.FAILED: ("yellow", "ti-alert-triangle"),
}
VERDICT_ORDER = tuple(LOOKS)


@dataclass(frozen=True)
class Cell:
    """A cost and how it compares with the original's; `tone` is better, worse or ""."""

    text: str
    factor: str
    tone: str


@dataclass(frozen=True)
class Row:
    """A candidate as the table shows it. `interval` is that of the score, 95 times of 100; `change` is against the
    original."""

    candidate: Candidate
    score: str
    interval: str
    change: str
    change_tone: str
    size: Cell
    memory: Cell
    latency: Cell
    model_latency: Cell
    slowest: Cell
    throughput: Cell
    colour: str
    icon: str
    is_chosen: bool
    downloads: Sequence[tuple[str, str, int]]


@dataclass(frozen=True)
class Comparison:
    """`label` names the score and `split` the data that it was measured on; `rows` has the chosen one first.
    `is_improved` is None until the job has come to a verdict. `within` counts the smaller models within the limit."""

    label: str
    split: str
    rows: Sequence[Row]
    is_improved: bool | None
    reasons: Sequence[str]
    plots: Mapping[str, Any]
    within: int
    made: int


def compare_candidates(
    candidates: Sequence[Candidate], result: Mapping[str, Any], settings: Mapping[str, Any]
) -> Comparison | None:
    """`result` is what the job has ended with, {} until then. None while nothing was measured."""
    if not candidates:
        return None
    original = next((item for item in candidates if item.is_original), None)
    name = _headline(candidates)
    chosen, fronts = result.get("chosen"), {cost: front(candidates, name, cost) for cost in PLOTTED}
    rows = [_row(item, original, name, chosen) for item in candidates]
    smaller = [item for item in candidates if not item.is_original]
    verdict = result.get("verdict")
    return Comparison(
        label=figure(name, 0.0).label,
        split=next((item.figures["split"] for item in candidates if item.figures.get("split")), ""),
        rows=sorted(rows, key=_place),
        is_improved=verdict == IMPROVED if verdict in (IMPROVED, NOT_IMPROVED) else None,
        reasons=result.get("reasons", []),
        plots=_plots(candidates, original, name, chosen, fronts, settings.get("limit_points", 0.0)),
        within=sum(item.verdict == WITHIN for item in smaller),
        made=len(smaller),
    )


def front(candidates: Iterable[Candidate], score: str, cost: str) -> list[int]:
    """The numbers of those that nothing else beats in both, cheapest first: whoever costs less is worse."""
    is_higher_better = KNOWN[score][2]
    points = [
        (item.figures[cost], value if is_higher_better else -value, item.number)
        for item in candidates
        if (value := score_of(item, score)) is not None and is_number(item.figures.get(cost))
    ]
    numbers, best = [], None
    for _cost, value, number in sorted(points, key=lambda point: (point[0], -point[1], point[2])):
        if best is None or value > best:
            best = value
            numbers.append(number)
    return numbers


def score_of(candidate: Candidate, name: str) -> float | None:
    value = (candidate.figures.get("metrics") or {}).get(name)
    return float(value) if is_number(value) else None


def _headline(candidates: Sequence[Candidate]) -> str:
    measured = {name for item in candidates for name in item.figures.get("metrics") or {}}
    return next((name for name in HEADLINES if name in measured), HEADLINES[0])


def _place(row: Row) -> tuple:
    """The chosen one, the original, then the better the verdict and the smaller the earlier."""
    item = row.candidate
    size = item.figures.get("bytes") or 0
    return not row.is_chosen, not item.is_original, VERDICT_ORDER.index(item.verdict), size, item.number


def _row(item: Candidate, original: Candidate | None, name: str, chosen: int | None) -> Row:
    score, before = score_of(item, name), score_of(original, name) if original else None
    change, tone = ("", "") if item.is_original else change_of(name, before, score)
    known = {} if original is None or item.is_original else original.figures
    colour, icon = LOOKS[Candidate.Verdict(item.verdict)]
    return Row(
        candidate=item,
        score="–" if score is None else write(name, score),
        interval=_interval(name, item.figures.get("interval")),
        change=change,
        change_tone=tone,
        **{
            place: _cell(cost, known.get(cost), item.figures.get(cost))
            for place, cost in (
                ("size", "bytes"),
                ("memory", "memory_bytes"),
                ("latency", "latency_p50_ms"),
                ("model_latency", "model_latency_p50_ms"),
                ("slowest", "latency_p99_ms"),
                ("throughput", "throughput"),
            )
        },
        colour=colour,
        icon=icon,
        is_chosen=item.number == chosen,
        downloads=[
            (each, str(DOWNLOADS[each]), file["bytes"]) for each, file in item.files.items() if each in DOWNLOADS
        ],
    )


def _cell(cost: str, before: Any, after: Any) -> Cell:
    gain = gain_of(cost, before, after)
    factor = factor_text(cost, gain)
    tone = "" if gain is None or factor == _("the same") else "better" if gain > 1 else "worse"
    return Cell(write_cost(cost, after), factor, tone)


def change_of(name: str, before: float | None, after: float | None) -> tuple[str, str]:
    """The change of a score in points, or per cent of an error, and whether that is better or worse."""
    if before is None or after is None:
        return "", ""
    how, is_higher_better = KNOWN[name][1:]
    if how != PERCENT and not before:
        return "", ""
    change = (after - before) * 100 if how == PERCENT else (after / before - 1) * 100
    if abs(change) < 0.05:
        return "±0.0 " + (_("points") if how == PERCENT else "%"), ""
    text = f"{'+' if change > 0 else '−'}{abs(change):.1f} " + (_("points") if how == PERCENT else "%")
    return text, "better" if (change > 0) == is_higher_better else "worse"


def _interval(name: str, bounds: Any) -> str:
    if not isinstance(bounds, list) or len(bounds) != 2 or not all(is_number(bound) for bound in bounds):
        return ""
    low, high = (write(name, bound) for bound in bounds)
    return f"{low.removesuffix(' %')} – {high}" if high.endswith(" %") else f"{low} – {high}"


def _plots(
    candidates: Sequence[Candidate], original: Candidate | None, name: str, chosen: int | None,
    fronts: Mapping[str, list[int]], limit_points: float,
) -> dict[str, Any]:  # fmt: skip
    """What workbench.js draws: each measured candidate, the fronts, and the worst score within the limit."""
    is_percent, is_higher_better = KNOWN[name][1] == PERCENT, KNOWN[name][2]
    scale = 100 if is_percent else 1
    before = score_of(original, name) if original else None
    points = [
        {
            "number": item.number,
            "name": item.name,
            "verdict": "original" if item.is_original else item.verdict,
            "isChosen": item.number == chosen,
            "score": score * scale,
            "interval": [bound * scale for bound in item.figures.get("interval") or []],
            **{cost: item.figures.get(cost) for cost in PLOTTED},
        }
        for item in candidates
        if (score := score_of(item, name)) is not None
    ]
    limit = None
    if before is not None:
        limit = before * 100 - limit_points if is_percent else before * (1 + limit_points / 100)
    return {
        "points": points,
        "fronts": fronts,
        "limit": limit,
        "original": None if before is None else before * scale,
        "isHigherBetter": is_higher_better,
        "isPercent": is_percent,
        "words": {
            "score": figure(name, 0.0).label + (" (%)" if is_percent else ""),
            "bytes": _("Size of the files"),
            "latency_p50_ms": _("Latency, median (ms)"),
            "limit": _("limit"),
            "chosen": _("chosen"),
            **{str(verdict): str(verdict.label) for verdict in Candidate.Verdict},
            "original": _("Original"),
        },
    }
