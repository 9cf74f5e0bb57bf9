"""Predict a whole file, batch by batch.

A batch is cut by what the items are and never by when they were asked. So what was answered before an interruption is
not asked again, and the files are those of an undisturbed run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.contract import OUTPUT_FOLDER, EventWriter, PredictSpec, ProgramFailure
from workers.inference.predictor import Predictor, load_predictor
from workers.predicting.asking import ERROR, ask
from workers.predicting.judging import Judge, NoJudge, judge_for
from workers.predicting.parts import Parts, Record
from workers.predicting.ranking import Wish, write_targets
from workers.predicting.sources import Item, Source, open_source
from workers.predicting.writing import CERTAIN, RANGE, Columns, Overview, write_files
from workers.training.pacing import Pace
from workers.training.stopping import Stop, Stopped

ROWS_AT_ONCE, FILES_AT_ONCE, BYTES_AT_ONCE = 256, 64, 64 * 2**20
TELL_SECONDS = 0.5
ANSWERING = 0.6  # the share of the time that is not writing files


def predict(spec: PredictSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Write ``output/`` and return the summary for the result event. Raises Stopped and ProgramFailure."""
    started = time.monotonic()
    predictor = load_predictor(Path(spec.model_dir), spec.threads)
    with open_source(spec, predictor.meta) as source:
        total = source.count()
        if not total:
            raise ProgramFailure("no_rows", f"{spec.name} has nothing to predict.", hint="Send a file with rows.")
        parts = Parts(Path(spec.work_dir), resume=spec.resume)
        if parts.done:
            events.log(f"Goes on after row {parts.done:,}, which were answered before.")
        work = Work(spec, events, stop, predictor, source, parts, total)
        work.answer_all()
    result = work.write()
    seconds = time.monotonic() - started
    result |= {"seconds": round(seconds, 3), "rows_per_second": round(work.asked / max(seconds, 1e-9), 1)}
    (work.output / "result.json").write_text(json.dumps(result, ensure_ascii=False))
    events.progress(1.0, "Done", step=total, steps=total)
    return {name: result[name] for name in ("rows", "errors", "metrics", "seconds")}


@dataclass
class Work:
    """`asked` is how many rows this run has answered itself."""

    spec: PredictSpec
    events: EventWriter
    stop: Stop
    predictor: Predictor
    source: Source
    parts: Parts
    total: int
    asked: int = 0
    told_at: float = 0.0

    @property
    def output(self) -> Path:
        return Path(self.spec.work_dir) / OUTPUT_FOLDER

    @property
    def classes(self) -> list[str]:
        return list(getattr(self.predictor, "classes", None) or [])

    @property
    def top_k(self) -> int | None:
        """All classes where their probabilities are wanted, or needed to judge by."""
        needs_all = self.spec.has_class_columns or self.source.has_truth or self.spec.ranked_by
        return len(self.classes) or None if needs_all else None

    def answer_all(self) -> None:
        began = time.monotonic()
        pace = Pace(began, self.spec.checkpoint_seconds)
        for batch in batches(self.source.items(self.parts.done)):
            records = self._answer(batch)
            self.parts.add(records)
            self.asked += len(batch)
            now = time.monotonic()
            self._tell(now, self.asked / max(now - began, 1e-9))
            if self.stop.requested:
                self._keep()
                raise Stopped
            self.stop.check()
            if pace.is_due(now, now - began):
                self._keep()
                pace.tried(now, time.monotonic())

    def _answer(self, batch: list[Item]) -> list[Record]:
        answered = iter(ask(self.predictor, [item.body for item in batch if item.body is not None], self.top_k))
        return [to_record(item, None if item.body is None else next(answered)) for item in batch]

    def _keep(self) -> None:
        path = self.parts.checkpoint()
        self.events.checkpoint(path, step=self.parts.done, epoch=self.parts.done / self.total)

    def _tell(self, now: float, speed: float) -> None:
        if now - self.told_at < TELL_SECONDS and self.parts.done < self.total:
            return
        self.told_at = now
        done = self.parts.done
        facts = {"step": done, "steps": self.total, "samples_per_second": speed}
        left = (self.total - done) / max(speed, 1e-9)
        self.events.progress(ANSWERING * done / self.total, "Predicting", eta_seconds=left, **facts)

    def write(self) -> dict[str, Any]:
        """Both files, and the body of result.json. Raises ProgramFailure where nothing at all could be answered."""
        first = next((record["answer"] for record in self.parts.records() if record["answer"]), None)
        columns = Columns.of(
            self.source.columns,
            self.classes,
            has_class_columns=self.spec.has_class_columns,
            has_probability=not CERTAIN.isdisjoint(first or ()),
            has_range=set(RANGE) <= set(first or ()),
        )
        overview, judge = Overview(columns), self._judge(first)
        for record in write_files(self.parts.records(), columns, self.output, self._tell_written):
            overview.add(record)
            judge.add(record)
        if overview.errors == overview.rows:
            raise nothing_answered(overview.error_kinds.values())
        result = {"metrics": {}, **overview.as_dict(), **judge.result(), "split": self.spec.split}
        if self.spec.ranked_by:
            wish = Wish(self.spec.ranked_by, self.spec.top)
            result["targets"] = write_targets(self.parts, wish, columns, self.output, self._tell_listed)
        return result

    def _judge(self, first: dict[str, Any] | None) -> Judge:
        return judge_for(self.predictor.meta, first) if self.source.has_truth else NoJudge()

    def _tell_listed(self, number: int) -> None:
        self.stop.check()

    def _tell_written(self, number: int) -> None:
        self.stop.check()
        share = ANSWERING + (1 - ANSWERING) * number / self.total
        self.events.progress(share, "Writing the files", step=self.total, steps=self.total)


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """So many items that the model has enough to do at once, and so few that they fit into memory."""
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        is_file = isinstance(item.body, bytes)
        size += len(item.body) if is_file else 0
        if len(batch) >= (FILES_AT_ONCE if is_file else ROWS_AT_ONCE) or size >= BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def to_record(item: Item, answered: dict[str, Any] | None) -> Record:
    """`answered` is None for an item that could not be read."""
    error = item.error if answered is None else answered.get(ERROR)
    return {"cells": item.cells, "answer": None if error else answered, "truth": item.truth, "error": error}


def nothing_answered(kinds: Iterable[dict[str, Any]]) -> ProgramFailure:
    most = max(kinds, key=lambda kind: kind["count"])
    message = f"None of the rows could be predicted. {most['count']:,} of them: {most['message']}"
    return ProgramFailure("nothing_predicted", message, hint="Mend the file and start again.")
