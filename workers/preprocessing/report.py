"""Collects what a check found and leaves it, whole or not at all, in ``output/``."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.contract import OUTPUT_FOLDER, EventWriter


@dataclass
class BadItems:
    """Names what cannot be used; lists the first `listed_at_most` and counts them all, also by code."""

    listed_at_most: int
    listed: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def add(self, path: str, reason: str, code: str, line: int | None = None) -> None:
        self.counts[code] = self.counts.get(code, 0) + 1
        if len(self.listed) < self.listed_at_most:
            self.listed.append({"path": path, "line": line, "reason": reason, "code": code})

    def first(self) -> str:
        """The first of them as part of a sentence."""
        bad = self.listed[0]
        place = f", line {bad['line']}" if bad["line"] else ""
        return f"{bad['path']}{place}: {bad['reason']}"


@dataclass
class Progress:
    """Tells how far the check is, at most twice a second."""

    events: EventWriter
    total: int
    _told_at: float = 0.0

    def tell(self, done: int, message: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= 0.5:
            self._told_at = now
            self.events.progress(0.95 * done / max(1, self.total), message)


@contextmanager
def staged_output(work_dir: Path) -> Iterator[Path]:
    """A folder that becomes ``output/`` when the block ends well, and is removed when it does not."""
    staging, output, old = (work_dir / name for name in ("output.partial", OUTPUT_FOLDER, "output.old"))
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        shutil.rmtree(old, ignore_errors=True)
        if output.exists():
            os.replace(output, old)
        os.replace(staging, output)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False), encoding="utf-8")


def describe(members: Sequence[Any]) -> str:
    """A few names for a sentence."""
    names = [str(member) for member in members[:5]]
    return ", ".join(names) + (f" and {len(members) - 5} more" if len(members) > 5 else "")
