"""Stacked bars by day as numbers for an SVG without a coordinate system of its own: all places are percentages, so that
the picture fills any width and its words keep their size. Pure."""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

SERIES = 6  # with colours of their own; all others together are one more
PLOT = 88.0  # percent of the height; the days are written below
GAP = 0.3  # of a bar's slot
TICKS = 4  # at most, and one at the foot
LABELS = 7
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Part:
    """A piece of a bar; `series` is its colour."""

    series: int
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    x: float
    width: float
    slot_x: float
    slot_width: float
    title: str
    parts: list[Part]


@dataclass(frozen=True)
class Label:
    x: float
    text: str


@dataclass(frozen=True)
class Chart:
    """`ticks` are written from the top down, at equal distances over the plot; `lines` are their heights."""

    bars: list[Bar]
    labels: list[Label]
    ticks: list[str]
    lines: list[float]
    legend: list[tuple[int, str]]


def stacked(
    values: Mapping[tuple[date, Hashable], float],
    days: Sequence[date],
    names: Mapping[Hashable, str],
    *,
    others: str,
    write: Callable[[float], str],
    write_day: Callable[[date], str],
) -> Chart | None:
    """The largest keys with a colour each, the rest together; None where there is nothing to draw."""
    totals: dict[Hashable, float] = defaultdict(float)
    for (_day, key), value in values.items():
        totals[key] += value
    order = [key for key in sorted(totals, key=lambda key: (-totals[key], names[key])) if totals[key] > 0]
    if not order:
        return None
    series = {key: min(place, SERIES) for place, key in enumerate(order)}
    by_day: dict[date, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for (day, key), value in values.items():
        if key in series and value > 0:
            by_day[day][series[key]] += value
    words = {place: names[key] for key, place in series.items() if place < SERIES}
    if len(order) > SERIES:
        words[SERIES] = others
    highest = max(sum(stack.values()) for stack in by_day.values())
    step = round_up(highest / TICKS)
    count = math.ceil(highest / step - 1e-9)
    top = step * count
    slot = 100 / len(days)
    bars = [_bar(place * slot, slot, by_day.get(day, {}), top, _title(day, by_day, words, write, write_day))
            for place, day in enumerate(days)]  # fmt: skip
    every = math.ceil(len(days) / LABELS)
    return Chart(
        bars=bars,
        labels=[Label((place + 0.5) * slot, write_day(day)) for place, day in enumerate(days) if place % every == 0],
        ticks=[write(step * n) for n in range(count, -1, -1)],
        lines=[round(PLOT * n / count, 3) for n in range(count + 1)],
        legend=sorted(words.items()),
    )


def _bar(x: float, slot: float, stack: Mapping[int, float], top: float, title: str) -> Bar:
    parts, foot = [], PLOT
    for series, value in sorted(stack.items()):
        height = PLOT * value / top
        foot -= height
        parts.append(Part(series, round(foot, 3), round(height, 3)))
    width = slot * (1 - GAP)
    return Bar(round(x + slot * GAP / 2, 3), round(width, 3), round(x, 3), round(slot, 3), title, parts)


def _title(day: date, by_day: Mapping, words: Mapping[int, str], write: Callable, write_day: Callable) -> str:
    stack = by_day.get(day, {})
    lines = [f"{write_day(day)}: {write(sum(stack.values()))}"]
    return "\n".join(lines + [f"{words[series]}: {write(value)}" for series, value in sorted(stack.items())])


def round_up(value: float) -> float:
    """The next number that a scale ends on well: 1, 2, 2.5 or 5, with noughts."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in STEPS if value <= step * unit * (1 + 1e-9))
