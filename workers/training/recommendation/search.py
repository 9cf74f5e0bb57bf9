"""Which candidate becomes the model: each is trained and judged on the validation items, and the best is trained again
with these items too, for as many epochs as were best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workers.contract import EventWriter, TrainSpec
from workers.training.recommendation.candidates import (
    LARGEST_CATALOGUE,
    Arrays,
    Candidate,
    FactorsCandidate,
    ItemWeightsCandidate,
    PopularityCandidate,
    RatingsCandidate,
    model_of,
)
from workers.training.recommendation.data import Interactions
from workers.training.recommendation.judging import MOST_JUDGES_IN_TRAINING, Jury, judge_ratings
from workers.training.recommendation.ranking import NDCG
from workers.training.recommendation.two_tower import WEIGHT_DECAY, TwoTowerCandidate
from workers.training.tables.checkpointing import Keeper

BEST, NOW = "best.", "now."
BIAS_EPOCHS = 5
SMALL_CATALOGUE = 2_000
EASE_STRENGTHS = {True: (50.0, 200.0, 800.0), False: (300.0,)}  # for a small catalogue, and for others
FACTOR_SETTINGS = ((0.3, 0.01), (0.1, 0.01), (1.0, 0.003))  # weight of what was not taken, regularisation
FEWER_SETTINGS_FROM = 2_000_000  # interactions, above which only the first is tried
RATING_STRENGTHS = (0.12, 0.05)
POPULARITY, BIASES = "popularity", "biases"


@dataclass
class Study:
    """One training: `jury` judges rankings by what users liked of the validation items."""

    spec: TrainSpec
    data: Interactions
    events: EventWriter
    keeper: Keeper
    jury: Jury = field(init=False)

    def __post_init__(self) -> None:
        splits, seed = self.data.splits, self.settings["seed"]
        self.jury = Jury.of(self.data, splits["train"], splits["val"], MOST_JUDGES_IN_TRAINING, seed)

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.spec.hyperparameters

    def judge(self, candidate: Candidate, arrays: Arrays) -> tuple[float, dict[str, float]]:
        """A score, higher is better, and the figures on the validation items."""
        score = candidate.score(arrays, self.data, self.data.splits["train"])
        if not candidate.is_rating:
            figures = self.jury.judge(score)
            return figures[NDCG], figures
        figures = judge_ratings(score, self.data, self.data.splits["val"])
        return -figures["rmse"], figures


@dataclass(frozen=True)
class Judged:
    """A candidate after its best epoch (from 1), and what it reached on the validation items."""

    candidate: Candidate
    arrays: Arrays
    epoch: int
    score: float
    figures: dict[str, float]
    history: list[dict[str, float]]


@dataclass(frozen=True)
class Chosen:
    """What ranks and, for ratings, what expects them; both trained on training and validation items, beside what they
    were on the training items alone. Baselines likewise."""

    ranking: Judged
    rating: Judged | None
    final_ranking: Arrays
    final_rating: Arrays | None
    baselines: dict[str, tuple[Judged, Arrays]]
    leaderboard: list[dict[str, Any]]


def run_search(study: Study) -> Chosen:
    """Raises Stopped after a checkpoint; what is finished is not trained again on resume."""
    rankers, raters = ranking_candidates(study), rating_candidates(study)
    every = [*rankers, *raters]
    study.keeper.curve_key = next((each.name for each in every if each.most_epochs > 1), every[0].name)
    weights = np.array([each.most_epochs for each in every], dtype=float)
    ends = 0.05 + 0.6 * np.cumsum(weights) / weights.sum()
    starts = [0.05, *ends[:-1]]
    judged = [_judged(study, each, (begin, end)) for each, begin, end in zip(every, starts, ends, strict=True)]
    ranking = max((each for each in judged if not each.candidate.is_rating), key=lambda each: each.score)
    rated = [each for each in judged if each.candidate.is_rating]
    rating = max(rated, key=lambda each: each.score, default=None)
    _say_what_was_chosen(study, ranking, rating)
    baselines = {each.candidate.name: each for each in judged if each.candidate.name in (POPULARITY, BIASES)}
    final = {id(each): _final(study, each) for each in [ranking, *([rating] if rating else []), *baselines.values()]}
    return Chosen(
        ranking=ranking,
        rating=rating,
        final_ranking=final[id(ranking)],
        final_rating=final[id(rating)] if rating else None,
        baselines={name: (each, final[id(each)]) for name, each in baselines.items()},
        leaderboard=_leaderboard(judged),
    )


def ranking_candidates(study: Study) -> list[Candidate]:
    """Popularity, which all are compared with, and what the settings ask for."""
    settings, items = study.settings, study.data.shape[1]
    model, strength = settings["model"], settings["regularization"]
    found: list[Candidate] = [PopularityCandidate()]
    if model in ("auto", "item_weights") and items <= LARGEST_CATALOGUE:
        strengths = (strength * 20_000,) if strength else EASE_STRENGTHS[items <= SMALL_CATALOGUE]
        found += [ItemWeightsCandidate(f"item_weights_{each:g}", each) for each in strengths]
    if model in ("auto", "factors") or (model == "item_weights" and items > LARGEST_CATALOGUE):
        if model == "item_weights":
            study.events.log(
                f"item_weights compares {LARGEST_CATALOGUE:,} items at most; factors take its place for {items:,}.",
                "warning",
            )
        tried = FACTOR_SETTINGS[:1] if len(study.data.users) > FEWER_SETTINGS_FROM else FACTOR_SETTINGS
        pairs = dict.fromkeys((unobserved, strength or usual) for unobserved, usual in tried)
        found += [
            FactorsCandidate(
                f"factors_{unobserved:g}_{pull:g}", settings["factors"], unobserved, pull, settings["epochs"],
                settings["seed"], study.spec.device,
            )
            for unobserved, pull in pairs
        ]  # fmt: skip
    if model == "two_tower":
        found.append(_two_tower(study))
    return found


def _two_tower(study: Study) -> TwoTowerCandidate:
    """Raises ProgramFailure histories_too_short."""
    settings, data = study.settings, study.data
    decay = settings["regularization"] or WEIGHT_DECAY
    candidate = TwoTowerCandidate(
        "two_tower", settings["factors"], decay, settings["epochs"], settings["seed"], study.spec.device
    )
    candidate.check(data, data.splits["train"])
    return candidate


def rating_candidates(study: Study) -> list[Candidate]:
    """For ratings: their mean with the biases of users and items, and factors on top of these."""
    if not study.data.is_rated:
        return []
    settings = study.settings
    strengths = (settings["regularization"],) if settings["regularization"] else RATING_STRENGTHS
    found: list[Candidate] = [RatingsCandidate(BIASES, 0, 0.0, BIAS_EPOCHS, settings["seed"], study.spec.device)]
    return found + [
        RatingsCandidate(
            f"rating_factors_{each:g}", settings["factors"], each, settings["epochs"], settings["seed"],
            study.spec.device,
        )
        for each in strengths
    ]  # fmt: skip


def _judged(study: Study, candidate: Candidate, span: tuple[float, float]) -> Judged:
    key = candidate.name
    if key not in study.keeper.members:
        _train(study, candidate, span)
    arrays, history = study.keeper.members[key], study.keeper.histories[key]
    best = max(history, key=lambda row: row["score"])
    figures = {name: value for name, value in best.items() if name not in ("epoch", "score")}
    return Judged(candidate, arrays, int(best["epoch"]), best["score"], figures, history)


def _train(study: Study, candidate: Candidate, span: tuple[float, float]) -> None:
    """Until its last epoch, or until it has not become better for long; the best epoch is kept."""
    key, keeper = candidate.name, study.keeper
    kept, history, start = _restore(keeper, key)
    curves, patience = keeper.curves(key), study.settings["early_stopping_patience"]
    epochs = candidate.epochs(study.data, study.data.splits["train"], start)
    while len(history) < candidate.most_epochs and not _is_stale(history, patience):
        study.keeper.stop.check()
        now = next(epochs)
        score, figures = study.judge(candidate, now)
        history.append({"epoch": len(history) + 1, "score": score, **figures})
        if score >= max(row["score"] for row in history):
            kept = model_of(now)
        for name, value in figures.items():
            curves.metric(name, value, split="val", step=len(history), epoch=len(history))
        share = span[0] + (span[1] - span[0]) * len(history) / candidate.most_epochs
        study.events.progress(share, f"Training {key}, epoch {len(history)} of {candidate.most_epochs}")
        keeper.save_if_due(key, lambda kept=kept, now=now: (_stored(kept, now), {"history": history}))
    keeper.finish(key, kept, history)


def _restore(keeper: Keeper, key: str) -> tuple[Arrays, list[dict[str, float]], Arrays | None]:
    stored = keeper.partial(key)
    if not stored:
        return {}, [], None
    arrays, state = stored
    kept, now = ({name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}
                 for part in (BEST, NOW))  # fmt: skip
    return kept, list(state["history"]), now


def _stored(kept: Arrays, now: Arrays) -> Arrays:
    return {BEST + name: array for name, array in kept.items()} | {NOW + name: array for name, array in now.items()}


def _is_stale(history: list[dict[str, float]], patience: int) -> bool:
    if not patience or not history:
        return False
    best = max(history, key=lambda row: row["score"])
    return len(history) - best["epoch"] >= patience


def _final(study: Study, judged: Judged) -> Arrays:
    """Trained once more, on training and validation items."""
    key = f"final {judged.candidate.name}"
    if key not in study.keeper.members:
        study.keeper.stop.check()
        study.events.progress(0.7, f"Training {judged.candidate.name} on all but the test items")
        epochs = judged.candidate.epochs(study.data, study.data.rows_of("train", "val"), None)
        for _epoch in range(judged.epoch):
            study.keeper.stop.check()
            arrays = next(epochs)
        study.keeper.finish(key, model_of(arrays), [])
    return study.keeper.members[key]


def _say_what_was_chosen(study: Study, ranking: Judged, rating: Judged | None) -> None:
    study.events.log(f"{ranking.candidate.name} ranks best: {NDCG} {ranking.score:.4f} on the validation items.")
    if ranking.candidate.name == POPULARITY:
        message = "Nothing ranks better than popularity here: the data say too little about single users."
        study.events.log(message, "warning")
    if rating:
        study.events.log(f"{rating.candidate.name} expects ratings best: rmse {-rating.score:.4f}.")


def _leaderboard(judged: list[Judged]) -> list[dict[str, Any]]:
    """Rankers from best to worst, then what expects ratings."""
    ordered = sorted(judged, key=lambda each: (each.candidate.is_rating, -each.score))
    return [
        {"name": each.candidate.name, "family": "ratings" if each.candidate.is_rating else "ranking",
         "metric": "rmse" if each.candidate.is_rating else NDCG, "value": abs(each.score), "epochs": each.epoch}
        for each in ordered
    ]  # fmt: skip


def identity(spec: TrainSpec, data: Interactions) -> dict[str, Any]:
    """What must be the same for a checkpoint to be this training's."""
    return {
        "hyperparameters": spec.hyperparameters,
        "columns": data.roles.to_dict(),
        "entries": len(data.users),
        "data_bytes": Path(spec.data_path).stat().st_size,
    }
