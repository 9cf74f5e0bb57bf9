"""The table of a run: one row for each fault."""

from collections.abc import Iterable

from tests.faults.judging import Verdict

COLUMNS = {
    "fault": 32, "injected at": 12, "detected after s": 17, "attempts": 9, "steps repeated": 15, "metrics equal": 14,
    "processes left": 15, "devices left": 13, "took s": 7, "verdict": 8,
}  # fmt: skip


def header() -> str:
    return _line(COLUMNS)


def line(verdict: Verdict) -> str:
    """The row, and below it what did not hold."""
    if verdict.skipped:
        return f"{verdict.fault:<{COLUMNS['fault']}}left out: {verdict.skipped}"
    noticed = "-" if verdict.noticed_seconds is None else f"{verdict.noticed_seconds:.1f}"
    cells = (
        verdict.fault, f"step {verdict.injected_at_step}", noticed, verdict.attempts, verdict.repeated_steps,
        "yes" if verdict.is_equal else "no", verdict.processes_left, verdict.devices_left, f"{verdict.seconds:.0f}",
        "BROKEN" if verdict.broken else "holds",
    )  # fmt: skip
    return "\n".join([_line(cells), *(f"    {sentence}" for sentence in verdict.broken)])


def render(verdicts: Iterable[Verdict]) -> str:
    verdicts = list(verdicts)
    held = sum(not verdict.broken and not verdict.skipped for verdict in verdicts)
    skipped = sum(bool(verdict.skipped) for verdict in verdicts)
    end = f"{held} hold, {len(verdicts) - held - skipped} broken, {skipped} left out"
    return "\n".join([header(), *map(line, verdicts), end]) + "\n"


def _line(cells: Iterable) -> str:
    return "".join(f"{cell!s:<{width}}" for cell, width in zip(cells, COLUMNS.values(), strict=True)).rstrip()
