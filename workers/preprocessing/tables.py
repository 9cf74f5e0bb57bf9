"""Tables: read the rows, type the columns, settle target, task and split, write data.csv and index.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.contract import (
    KIND_TABLE,
    SPLITS,
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    EventWriter,
    PrepareSpec,
)
from workers.preprocessing.cleaning import Cleaner
from workers.preprocessing.column_warnings import warn_of_columns
from workers.preprocessing.doctor.tables import examine_table, items_of
from workers.preprocessing.findings import Findings
from workers.preprocessing.gathering import Gathered, gather, hash_content
from workers.preprocessing.limits import Limits
from workers.preprocessing.recipe import MISSING_WORDS, Recipe
from workers.preprocessing.recognising import recognise
from workers.preprocessing.report import BadItems, Progress, write_json
from workers.preprocessing.sources import Sources
from workers.preprocessing.splitting import count_classes
from workers.preprocessing.table_parts import open_parts
from workers.preprocessing.table_tasks import WITH_CLASSES, Settling, Study
from workers.preprocessing.targets import no_rows

EXAMINED = (TABULAR_CLASSIFICATION, TABULAR_REGRESSION)


def prepare_table(
    sources: Sources,
    spec: PrepareSpec,
    recipe: Recipe,
    output: Path,
    scratch: Path,
    limits: Limits,
    events: EventWriter,
) -> dict[str, Any]:
    """Write data.csv and index.json into `output`; return the report. Raises ProgramFailure."""
    path, bad, findings = output / "data.csv", BadItems(limits.max_bad_listed), Findings()
    parts = open_parts(sources, scratch, limits, findings)
    dropped = recipe.dropped()
    header = [name for name in parts[0].table.header if name not in dropped]
    wanted = None if spec.target in dropped else spec.target
    about = recognise(parts[0], header, wanted, recipe, limits)
    target = about.target(header, wanted)
    progress = Progress(events, sum(part.table.path.stat().st_size for part in parts))
    cleaner = Cleaner(recipe, header, header.index(target))
    gathered = gather(parts, cleaner, path, limits, bad, progress)
    if not gathered.keys:
        raise no_rows(target, bad)
    column = gathered.columns[header.index(target)]
    study = Settling(gathered, path, spec, recipe, limits, findings).settle(about, column, is_guess=wanted is None)
    examine(gathered, study, target, path, findings, events)
    described = [each.describe(limits.preview_chars) for each in gathered.columns]
    write_index(output / "index.json", gathered, study, target, described, recipe)
    return build_report(gathered, study, described, bad, findings) | {
        "target": target,
        "steps": cleaner.describe(len(gathered.keys), bad),
        "ignored": sources.ignored,
        "data_bytes": path.stat().st_size,
    }


def examine(gathered: Gathered, study: Study, target: str, path: Path, findings: Findings, events: EventWriter) -> None:
    """Tell `findings` what is amiss with columns, and, where it is a plain table, with rows."""
    splits = study.splits.splits
    warn_of_columns(path, gathered.columns, {target} | study.needed, gathered.ids, splits, findings)
    events.progress(0.96, "Looking for wrong labels and for columns that give the target away")
    if study.task in EXAMINED:
        items = items_of(gathered.ids, gathered.targets, splits)
        examine_table(path, gathered.columns, gathered.keys, target, study.task, items, findings)


def write_index(
    path: Path, gathered: Gathered, study: Study, target: str, described: Sequence[dict[str, Any]], recipe: Recipe
) -> None:
    index = {"rows": len(gathered.keys), "columns": described, "target": target} | study.to_index()
    write_json(path, index | {"places": gathered.ids.to_index(), "missing_words": recipe.has(MISSING_WORDS)})


def build_report(
    gathered: Gathered, study: Study, described: Sequence[dict[str, Any]], bad: BadItems, findings: Findings
) -> dict[str, Any]:
    header, splits = [column.name for column in gathered.columns], study.splits.splits
    return study.to_report() | {
        "kind": KIND_TABLE,
        "items": len(gathered.keys),
        "bad": bad.listed,
        "bad_total": bad.total,
        "splits": {split: splits.count(split) for split in SPLITS},
        "columns": described,
        "preview": gathered.preview,
        "thumbnails": [],
        "classes": count_classes(gathered.targets, splits) if study.task in WITH_CLASSES else [],
        "content_hash": hash_content(header, gathered.keys, splits),
        "findings": findings.ordered(),
        "remedies": findings.remedies,
    }
