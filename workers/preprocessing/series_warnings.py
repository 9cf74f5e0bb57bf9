"""What people should know of values over time before they train on them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workers.preprocessing.columns import shorten
from workers.preprocessing.findings import SHOWN_ITEMS, Findings
from workers.preprocessing.items import Group, Items, tell_groups, tell_repeated, tell_some
from workers.preprocessing.report import describe
from workers.preprocessing.series import TimedRows

FEW_HORIZONS = 6  # a series shorter than so many usual horizons is short
IRREGULAR = 0.02  # the share of steps of another length that is worth a warning
FAR = 8.0  # spreads between quartiles, from which a value lies far outside
FEWEST_VALUES = 12  # of fewer none is called far from the others
SERIES, FROM, UNTIL, STEPS = "series", "from", "until", "steps"


def warn_of_series(found: TimedRows, items: Items, findings: Findings) -> None:
    """What makes forecasts worse, or says that a column is not what it was taken for."""
    if len(unread := found.unread.tolist()):
        message = (
            f'Rows whose time in "{found.columns.time}" cannot be read, or lies far from all others: {len(unread):,}, '
            f'such as "{shorten(found.times[unread[0]], 40)}".'
        )
        tell_some(unread, items, "unreadable_times", message, findings)
    _warn_of_repeated(found, items, findings)
    _warn_of_steps(found, items, findings)
    _warn_of_gaps(found, items, findings)
    _warn_of_lengths(found, items, findings)
    _warn_of_constant(found, items, findings)
    _warn_of_outliers(found, items, findings)


def _warn_of_repeated(found: TimedRows, items: Items, findings: Findings) -> None:
    groups = [group for rows in found.groups.values() for group in _same_time(rows, found.ticks[rows])]
    later = sorted(row for group in groups for row in group[1:])
    hint = "" if found.columns.series else " Where the table holds several series, choose the column that names them."
    message = (
        f"Rows with a time that their series has already: {len(later):,}. Training takes their mean, unless its "
        f"setting says otherwise.{hint}"
    )
    tell_repeated(later, items, "repeated_times", message, findings, beside=groups)


def _same_time(rows: np.ndarray, ticks: np.ndarray) -> list[list[int]]:
    """The rows of each time that comes twice or more, as they stand in the table."""
    order = np.argsort(ticks, kind="stable")
    edges = np.flatnonzero(np.diff(ticks[order])) + 1
    return [rows[each].tolist() for each in np.split(order, edges) if len(each) > 1]


def _warn_of_steps(found: TimedRows, items: Items, findings: Findings) -> None:
    """Times that lie off the grid: in steps of days, one at noon."""
    off: list[int] = []
    for rows in found.groups.values():
        ticks = np.unique(found.ticks[rows])
        if len(ticks) < 2:
            continue
        exact = found.frequency.ticks(found.frequency.periods(ticks))
        far = ticks[np.abs(exact - ticks) > 0.02 * np.median(np.diff(exact))]
        off += rows[np.isin(found.ticks[rows], far)].tolist()
    total = sum(map(len, found.groups.values()))
    if len(off) > IRREGULAR * total:
        message = (
            f"Times that are not in equal steps ({found.frequency.name}): {len(off):,} of {total:,}. Each is moved to "
            "the nearest step."
        )
        tell_some(sorted(off), items, "irregular_times", message, findings)


def _warn_of_gaps(found: TimedRows, items: Items, findings: Findings) -> None:
    if not found.gaps:
        return
    total = sum(len(values) for _, values, _ in found.filled.values())
    gaps = sorted((gap for name in found.filled for gap in _gaps_of(found, name)), key=lambda gap: -gap[-1])
    shown = [
        Group(
            f"{name}, {start}",
            [*([(found.columns.series, shorten(name, 40))] if found.columns.series else ()),
             (FROM, start), (UNTIL, end), (STEPS, f"{steps:,}")],
            (),
        )
        for name, start, end, steps in gaps[:SHOWN_ITEMS]
    ]  # fmt: skip
    message = (
        f"Steps without a row: {found.gaps:,} of {total:,}, in {len(gaps):,} gaps. Training fills them, as its setting "
        "for missing times says, and judges nothing by them."
    )
    tell_groups(shown, len(gaps), (), items, "missing_times", message, findings)


def _gaps_of(found: TimedRows, name: str) -> list[tuple[str, str, str, int]]:
    """The gaps of a series: its name, the first and the last time without a row, and how many steps these are."""
    first, _, known = found.filled[name]
    missing = np.flatnonzero(~known)
    runs = np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1) if len(missing) else []
    times = [found.frequency.ticks(first + run[[0, -1]]).tolist() for run in runs]
    return [
        (name, *map(found.clock.write, ends), len(run)) for ends, run in zip(times, runs, strict=True)
    ]  # fmt: skip


def _tell_series(
    found: TimedRows, names: Sequence[str], items: Items, code: str, message: str, findings: Findings
) -> None:
    """Whole series; they can be left out where others stay."""
    column = found.columns.series
    if not column:
        findings.add(code, message)
        return
    shown = [
        Group.of(
            column,
            name,
            [(STEPS, f"{len(found.filled[name][1]):,}"), ("rows", f"{len(found.groups[name]):,}")],
            found.groups[name].tolist(),
        )
        for name in names[:SHOWN_ITEMS]
    ]
    can_go = len(names) < len(found.groups)
    rows = sorted(row for name in names for row in found.groups[name].tolist()) if can_go else ()
    tell_groups(shown, len(names), rows, items, code, message, findings)


def _warn_of_lengths(found: TimedRows, items: Items, findings: Findings) -> None:
    least = FEW_HORIZONS * found.frequency.usual_horizon
    short = [name for name, (_, values, _) in found.filled.items() if len(values) < least]
    if short:
        which = f"{len(short):,} of {len(found.groups):,} series" if found.columns.series else "The series"
        message = (
            f"{which} {'are' if found.columns.series else 'is'} shorter than {least:,} steps, {FEW_HORIZONS} times as "
            f"far as is usually forecast{_named(short)}."
        )
        _tell_series(found, short, items, "short_series", message, findings)


def _warn_of_constant(found: TimedRows, items: Items, findings: Findings) -> None:
    constant = [name for name, rows in found.groups.items() if np.ptp(found.values[rows]) == 0]
    if constant:
        message = f"The same value at every time has {len(constant):,} series{_named(constant)}."
        _tell_series(found, constant, items, "constant_series", message, findings)


def _warn_of_outliers(found: TimedRows, items: Items, findings: Findings) -> None:
    far = {name: odd for name, rows in found.groups.items() if (odd := rows[_outliers(found.values[rows])].tolist())}
    rows = sorted(row for odd in far.values() for row in odd)
    names = sorted(far, key=lambda name: -len(far[name]))
    which = f"{len(rows):,}{_named(names)}"
    message = f"Values far outside of what their series usually has: {which}. Look whether they are true."
    tell_some(rows, items, "outlying_values", message, findings)


def _outliers(values: np.ndarray) -> np.ndarray:
    """Which values lie more than `FAR` spreads between the quartiles from the median, bool [N]."""
    if len(values) < FEWEST_VALUES:
        return np.zeros(len(values), dtype=bool)
    low, middle, high = np.percentile(values, [25, 50, 75])
    return np.abs(values - middle) > FAR * (high - low) if high > low else np.zeros(len(values), dtype=bool)


def _named(names: Sequence[str]) -> str:
    return f" ({describe([shorten(name, 40) for name in names])})" if any(names) else ""
