"""The figures of the model that is kept and of the baselines, on the same users and items."""

from __future__ import annotations

from typing import Any

import numpy as np

from workers.training.recommendation.candidates import Arrays, Candidate
from workers.training.recommendation.data import Interactions
from workers.training.recommendation.judging import MOST_JUDGES, Jury, judge_ratings
from workers.training.recommendation.search import BIASES, POPULARITY, Chosen, Judged, Study


def measure_all(study: Study, chosen: Chosen) -> dict[str, Any]:
    """{"metrics": {split: figures}, "baseline": the same of popularity and of the biases}.

    Test figures are of the model that is kept, which knows all but the test items; those on the validation items were
    taken before it had learned from these.
    """
    popularity, biases = (chosen.baselines.get(name) for name in (POPULARITY, BIASES))
    metrics, baseline = ({"val": {**one.figures, **(other.figures if other else {})}} for one, other in (
        (chosen.ranking, chosen.rating), (popularity[0], biases[0] if biases else None)))  # fmt: skip
    if len(study.data.splits["test"]):
        seed = study.settings["seed"]
        jury = Jury.of(study.data, study.data.rows_of("train", "val"), study.data.splits["test"], MOST_JUDGES, seed)
        metrics["test"] = _measure(study.data, jury, chosen.ranking, chosen.final_ranking, chosen.rating,
                                   chosen.final_rating)  # fmt: skip
        baseline["test"] = _measure(study.data, jury, *popularity, *(biases or (None, None)))
    return {
        "metrics": {split: figures for split, figures in metrics.items() if figures},
        "baseline": {split: figures for split, figures in baseline.items() if figures},
    }


def _measure(
    data: Interactions, jury: Jury, ranking: Judged, ranker: Arrays, rating: Judged | None, rater: Arrays | None
) -> dict[str, float]:
    known = data.rows_of("train", "val")
    found: dict[str, float] = {}
    if len(jury.users):
        found |= jury.judge(ranking.candidate.score(ranker, data, known))
    if rating is not None:
        found |= judge_ratings(rating.candidate.score(rater, data, known), data, data.splits["test"])
    return found


def scores_of(candidate: Candidate, arrays: Arrays, data: Interactions, known: np.ndarray, users: np.ndarray) -> Any:
    """float32 [users, items], as training scores them."""
    return candidate.score(arrays, data, known)(users).cpu().numpy()
