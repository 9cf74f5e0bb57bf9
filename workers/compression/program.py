"""Make candidates of one model, measure each, and say honestly which is worth having."""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.compression.history import keep, restore
from workers.compression.judging import Candidate, best_of, describe, front_of
from workers.compression.making import Maker
from workers.compression.measuring import Gauge
from workers.compression.recipes import method_of
from workers.compression.samples import load_samples
from workers.compression.search import Recipe, Search
from workers.compression.work import Work
from workers.contract import CANDIDATE_FOLDER, IMPROVED, NOT_IMPROVED, CompressSpec, EventWriter, ProgramFailure
from workers.fence import Fenced
from workers.inference.files import META_FILE, read_meta
from workers.inference.parity import record_answer
from workers.inference.predictor import load_predictor
from workers.training.memory import is_out_of_memory
from workers.training.stopping import Stop, Stopped

MEASURING = 0.8  # of a candidate's time, from where on it is measured


def compress(spec: CompressSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Write ``output/`` and return the summary for the result event. Raises Stopped and ProgramFailure."""
    work = prepare(spec, events, stop)
    tried = restore(work) if spec.resume else []
    candidates, why = explore(work, tried)
    result = conclude(work, candidates) | {"stopped_because": why, "seconds": round(work.seconds, 3)}
    (work.output / "result.json").write_text(json.dumps(result, indent=1))
    events.progress(1.0, "Done")
    return {key: result[key] for key in ("method", "chosen", "front", "metrics", "ratios", "verdict", "seconds")}


def prepare(spec: CompressSpec, events: EventWriter, stop: Stop) -> Work:
    meta = read_meta(Path(spec.model_dir))
    if "compression" in meta:
        message = "This model is compressed already."
        raise ProgramFailure("already_compressed", message, hint="Start from its parent.", blame="settings")
    original = load_predictor(Path(spec.model_dir), spec.threads)
    return Work(spec, events, stop, meta, original, load_samples(spec, meta))


# The search


def explore(work: Work, tried: list[Candidate]) -> tuple[list[Candidate], str]:
    """All candidates, the original first, and why there are no more."""
    maker, gauge = Maker(work), Gauge(work)
    if not tried:
        work.report(0.01, "Measuring the original")
        tried = [Candidate(0, [], gauge.measure_original(), work.settings["limit_points"])]
        work.events.candidate(0, **tried[0].as_event())
    if work.epoch_seconds is None:  # nobody needs to know where the recipes are given
        work.epoch_seconds = 0.0 if work.settings["recipes"] else maker.seconds_per_epoch()
    has_simpler = not work.settings["recipes"] and maker.has_simpler()
    search = Search(work.spec.task, work.settings, maker.is_tunable, work.epoch_seconds, has_simpler)
    while True:
        recipe, why = search.next(tried, work.seconds)
        if recipe is None:
            return tried, why
        candidate = try_recipe(work, maker, gauge, recipe, len(tried))
        tried.append(candidate)
        work.events.candidate(candidate.number, **candidate.as_event())
        keep(work, tried)


def try_recipe(work: Work, maker: Maker, gauge: Gauge, recipe: Recipe, number: int) -> Candidate:
    """Raises ProgramFailure only where no recipe could help, and Stopped."""
    folder = Path(work.spec.work_dir, CANDIDATE_FOLDER, str(number))
    blank = Candidate(number, recipe, {}, work.settings["limit_points"])
    begin, end = _span(work, number)
    middle, message = begin + MEASURING * (end - begin), f"Candidate {number}: {blank.name}"
    work.report(begin, message)
    try:
        notes = maker.make(recipe, folder, work.tick(begin, middle, message))
        figures = gauge.measure(folder, work.tick(middle, end, f"{message}, measuring"))
    except (Stopped, Fenced):
        raise
    except Exception as error:  # one recipe that a model does not bear must not end the search
        shutil.rmtree(folder, ignore_errors=True)
        failure = error if isinstance(error, ProgramFailure) else _unexpected(error)
        if failure.blame == "data":
            raise failure from error
        work.events.log(f"{message} could not be made: {failure.message}", "warning")
        return Candidate(number, recipe, {}, blank.limit, reason=failure.message)
    place = folder.relative_to(work.spec.work_dir).as_posix()
    candidate = Candidate(number, recipe, figures, blank.limit, notes=notes, folder=place)
    finish_meta(folder, candidate, work)
    record_answer(load_predictor(folder, work.spec.threads), folder)
    work.events.log(f"{message}: {candidate.verdict}, {figures['bytes']:,} bytes, {candidate.lost:+.2f} points lost.")
    return candidate


def _unexpected(error: Exception) -> ProgramFailure:
    traceback.print_exception(error)  # into the program's log, for whoever mends it
    if is_out_of_memory(error):
        return ProgramFailure("out_of_memory", "The machine ran out of memory.", blame="machine")
    message = f"It failed unexpectedly ({type(error).__name__}: {str(error)[:200]})."
    return ProgramFailure("candidate_failed", message, blame="machine")


def _span(work: Work, number: int) -> tuple[float, float]:
    """From where to where the progress of candidate `number` goes; of a search, nobody knows how many there will be."""
    settings = work.settings
    count = len(settings["recipes"]) or settings["trials"]
    by_count = [(number - 1) / count, number / count]
    if not settings["recipes"]:
        by_time = min(1.0, work.seconds / settings["seconds"])
        by_count[0] = max(by_count[0], by_time)
        by_count[1] = max(by_count)
    return tuple(0.03 + 0.95 * min(1.0, share) for share in by_count)


def finish_meta(folder: Path, candidate: Candidate, work: Work) -> None:
    """How the candidate came about, and its own metrics, go with its files."""
    meta = read_meta(folder)
    figures = candidate.figures
    meta["metrics"] = {figures["split"]: figures["metrics"]}
    meta["compression"] = {
        "method": method_of(work.settings),
        "name": candidate.name,
        "recipe": [dict(step) for step in candidate.recipe],
        "ratios": ratios_of(figures),
        "verdict": candidate.verdict,
        "notes": list(candidate.notes),
    }
    (folder / META_FILE).write_text(json.dumps(meta, indent=1))


def ratios_of(figures: Mapping[str, Any]) -> dict[str, float]:
    return {"size": figures["size_ratio"], "speed": figures["speed_ratio"]}


# The end


def conclude(work: Work, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """The body of result.json; the best candidate becomes the model, and none where the original is the best."""
    _fail_where_nothing_was_made(candidates)
    best = best_of(candidates, work.settings["favour"])
    original = candidates[0].figures
    shutil.rmtree(work.output / "model", ignore_errors=True)
    if best:
        shutil.copytree(Path(work.spec.work_dir, best.folder), work.output / "model")
    metrics = {figures["split"]: figures["metrics"]} if (figures := best.figures if best else original) else {}
    for split, values in metrics.items():
        for name, value in values.items():
            work.events.metric(f"final_{name}", value, split=split, step=0, epoch=0)
    return {
        "method": method_of(work.settings),
        "recipe": best.name if best else "",
        "chosen": best.number if best else None,
        "front": front_of(candidates),
        "verdict": IMPROVED if best else NOT_IMPROVED,
        "reasons": describe(original, best.figures) if best else [_nothing_better(candidates, work.settings)],
        "notes": list(best.notes) if best else [],
        "before": original,
        "after": best.figures if best else None,
        "ratios": ratios_of(best.figures) if best else {"size": 1.0, "speed": 1.0},
        "metrics": metrics,
        "limit_points": work.settings["limit_points"],
        "favour": work.settings["favour"],
    }


def _nothing_better(candidates: Sequence[Candidate], settings: Mapping[str, Any]) -> str:
    made = [candidate for candidate in candidates if candidate.number and candidate.figures]
    over = [candidate.lost for candidate in made if not candidate.is_within]
    if over and len(over) == len(made):
        return (
            f"Every candidate loses more than {settings['limit_points']:g} points; the closest loses {min(over):.2f}. "
            "The original stays the best."
        )
    return "No candidate within the limit is smaller or faster by an amount that matters. The original stays the best."


def _fail_where_nothing_was_made(candidates: Sequence[Candidate]) -> None:
    others = candidates[1:]
    if others and all(not candidate.figures for candidate in others):
        raise ProgramFailure(
            "nothing_to_compress",
            f"No candidate could be made. {others[-1].reason}",
            hint="Deploy it as it is, or choose other methods.",
            blame="settings",
        )
