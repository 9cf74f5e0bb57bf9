"""``python -m workers.preprocessing spec.json``: see the package for what it leaves in ``output/``."""

from __future__ import annotations

import errno
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from workers.contract import (
    EVENTS_FILE,
    EXIT_FAILED,
    EXIT_STOPPED,
    KIND_AUDIO,
    KIND_IMAGES,
    EventWriter,
    PrepareSpec,
    ProgramFailure,
    read_spec,
)
from workers.preprocessing.images import prepare_images
from workers.preprocessing.limits import DEFAULT_LIMITS, Limits
from workers.preprocessing.recipe import Recipe, read_splits
from workers.preprocessing.recordings import prepare_recordings
from workers.preprocessing.report import staged_output, write_json
from workers.preprocessing.sources import Sources
from workers.preprocessing.splitting import check_fractions
from workers.preprocessing.tables import prepare_table

SUMMARY = ("kind", "task", "target", "items", "bad_total", "splits", "content_hash", "data_bytes")


def prepare(spec: PrepareSpec, events: EventWriter, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """Inspect the uploads, fill ``output/`` and return the report. ProgramFailure leaves ``output/`` untouched."""
    check_fractions(spec.split_fractions)
    work_dir = Path(spec.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    with staged_output(work_dir) as output, tempfile.TemporaryDirectory(prefix="unpacked.", dir=work_dir) as scratch:
        events.progress(0.0, "Looking at the upload")
        recipe = Recipe(spec.recipe, read_splits(spec.first_index))
        with Sources(spec.files, limits) as sources:
            events.log(f"{sources.kind}: {len(sources.members):,} files, {sources.ignored:,} hidden ones ignored")
            if sources.kind == KIND_IMAGES:
                report = prepare_images(sources, spec, recipe, output, Path(scratch), limits, events)
            elif sources.kind == KIND_AUDIO:
                report = prepare_recordings(sources, spec, recipe, output, Path(scratch), limits, events)
            else:
                report = prepare_table(sources, spec, recipe, output, Path(scratch), limits, events)
        write_json(output / "findings.json", report.pop("remedies"))
        write_json(output / "report.json", report)
    return report


def tell(report: dict[str, Any], events: EventWriter) -> None:
    for finding in report["findings"]:
        events.log(finding["message"], "warning")
    if report["bad_total"]:
        events.log(f"{report['bad_total']:,} items cannot be used", "warning")
    events.progress(1.0, f"{report['items']:,} items are ready")
    events.result({name: report[name] for name in SUMMARY})


def stop(number: int, frame: FrameType | None) -> None:
    """SIGTERM: unwind, so that children end and half-written folders go; a second signal changes nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(EXIT_STOPPED)


def main(argv: Sequence[str]) -> int:
    if len(argv) != 1:
        print("usage: python -m workers.preprocessing spec.json", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, stop)
    spec = read_spec(PrepareSpec, argv[0])
    events = EventWriter(Path(spec.work_dir) / EVENTS_FILE)
    try:
        tell(prepare(spec, events), events)
    except ProgramFailure as failure:
        events.failure(failure)
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        events.failure(disk_full())
        return EXIT_FAILED
    return 0


def disk_full() -> ProgramFailure:
    return ProgramFailure(
        "disk_full",
        "The disk of this node is full.",
        hint="Free some space on it and start again.",
        blame="machine",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
