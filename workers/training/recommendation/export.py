"""The files of a model, and the proof that what serves them answers as training does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from workers.arrays import write_arrays
from workers.contract import ProgramFailure
from workers.inference.predictor import load_predictor
from workers.inference.recommendation_predictor import CATALOGUE_FILE, WEIGHTS_FILE, RecommendationPredictor
from workers.training.recommendation.candidates import Candidate, FactorsCandidate, ItemWeightsCandidate
from workers.training.recommendation.data import Interactions
from workers.training.recommendation.evaluation import scores_of
from workers.training.recommendation.search import Chosen, Study
from workers.training.recommendation.two_tower import TwoTowerCandidate
from workers.training.results import library_versions

PARITY_USERS = 64
TOLERANCE = 1e-3  # of the spread of the scores
EXAMPLE_USERS, EXAMPLE_ITEMS = 6, 60
SAMPLE_LENGTH = 10


def write_model(study: Study, chosen: Chosen, folder: Path) -> dict[str, Any]:
    """Write all files but meta.json, and a first meta.json to load them by; returns what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    data = study.data
    everything = data.rated(data.rows_of(*data.splits))
    arrays = {f"ranking.{name}": array for name, array in chosen.final_ranking.items()}
    arrays |= {f"ratings.{name}": array for name, array in (chosen.final_rating or {}).items()}
    popular = chosen.baselines["popularity"][1]["counts"]
    arrays |= {"popularity": popular, "history.starts": everything.starts, "history.items": everything.columns,
               "history.values": everything.values}  # fmt: skip
    write_arrays(arrays, folder / WEIGHTS_FILE)
    catalogue = {"items": data.item_ids, "names": data.names if any(data.names) else [], "users": data.user_ids}
    (folder / CATALOGUE_FILE).write_text(json.dumps(catalogue, ensure_ascii=False), encoding="utf-8")
    examples = _examples(data, popular)
    sample = {"user": examples["examples"][0], "k": SAMPLE_LENGTH}
    (folder / "sample.json").write_text(json.dumps(sample, ensure_ascii=False, indent=1), encoding="utf-8")
    meta = _meta(study, chosen, examples)
    write_meta(folder, meta)
    return meta


def _meta(study: Study, chosen: Chosen, examples: dict[str, Any]) -> dict[str, Any]:
    data = study.data
    users, items = data.shape
    return {
        "format": 1,
        "task": study.spec.task,
        "architecture": chosen.ranking.candidate.name,
        "ranking": _settings(chosen.ranking.candidate),
        "ratings": _settings(chosen.rating.candidate) if chosen.rating else None,
        "feedback": data.feedback,
        "liked_from": data.liked_from,
        "target": data.roles.rating or data.roles.item,
        "input": {
            "kind": "user",
            "users": users,
            "items": items,
            "columns_by_role": data.roles.to_dict(),
            "columns": [{"name": data.roles.user, "type": "identifier", "required": True}],
            **examples,
        },
        "runtime": "numpy",
        "sample": "sample.json",
        "hyperparameters": study.spec.hyperparameters,
        "versions": library_versions(),
    }


def _settings(candidate: Candidate) -> dict[str, Any]:
    """What the scorer in workers/recommending.py takes beside its arrays."""
    if isinstance(candidate, FactorsCandidate):
        return {"kind": "factors", "unobserved": candidate.unobserved, "regularization": candidate.regularization}
    if isinstance(candidate, ItemWeightsCandidate):
        return {"kind": "item_weights"}
    if isinstance(candidate, TwoTowerCandidate):
        return {"kind": "two_tower"}
    if candidate.is_rating:
        return {"kind": "ratings", "regularization": candidate.regularization}
    return {"kind": "popularity"}


def _examples(data: Interactions, popular: np.ndarray) -> dict[str, Any]:
    """Users of different activity to try the model with, and the items that most know."""
    lengths = np.bincount(data.users, minlength=data.shape[0])
    order = np.argsort(-lengths, kind="stable")
    places = np.linspace(0, len(order) - 1, min(EXAMPLE_USERS, len(order)) + 1).astype(int)[:-1]
    items = np.argsort(-popular, kind="stable")[:EXAMPLE_ITEMS]
    return {
        "examples": [data.user_ids[number] for number in order[places]],
        "popular": [{"item": data.item_ids[item], "name": data.names[item]} for item in items],
    }


def write_meta(folder: Path, meta: dict[str, Any]) -> None:
    (folder / "meta.json").write_text(json.dumps(meta, ensure_ascii=False, indent=1, allow_nan=False), encoding="utf-8")


def load_checked(study: Study, chosen: Chosen, folder: Path) -> RecommendationPredictor:
    """The model as it is served. Raises ProgramFailure export_differs where it scores otherwise than in training."""
    predictor = load_predictor(folder, study.spec.threads)
    data, everything = study.data, study.data.rows_of(*study.data.splits)
    history = data.rated(everything)
    users = np.random.default_rng(0).permutation(data.shape[0])[:PARITY_USERS]
    asked = [(chosen.ranking.candidate, chosen.final_ranking, predictor.rank)]
    if chosen.rating:
        asked.append((chosen.rating.candidate, chosen.final_rating, predictor.expect))
    for candidate, arrays, serve in asked:
        expected = scores_of(candidate, arrays, data, everything, users)
        served = np.stack([serve(*history.row(user)) for user in users])
        gap, spread = float(np.abs(served - expected).max()), float(np.ptp(expected))
        if not gap <= TOLERANCE * max(spread, 1e-6):
            message = f"The exported {candidate.name} differs from the trained one by {gap:.2g}."
            raise ProgramFailure("export_differs", message, hint="Train again.", blame="machine")
    return predictor
