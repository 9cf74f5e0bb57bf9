"""Which candidates become the model: all are judged on held-out rows, the best of a family is trained on every fold,
and two families are blended: on many rows where that is better by a margin, on few unless it is worse."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np

from workers.inference.outcomes import tempered
from workers.tables.encoder import Encoded
from workers.training.calibration import temperature_that_helps
from workers.training.tables.candidates import make_candidates
from workers.training.tables.data import Fold
from workers.training.tables.study import Candidate, Study
from workers.trees import Arrays

# Up to so many rows every candidate is judged on all folds; above, one fold is judge enough.
SCREEN_ALL_FOLDS_ROWS = 8000
MLP_ALL_FOLDS_ROWS = 5000
REPEATED_ROWS = 2000
MIN_GAIN = 0.003
BLEND_SHARES = np.arange(0.1, 0.95, 0.1)
# A rough share of the time, for the progress bar only.
WEIGHT = {"trees": 5.0, "linear": 1.0, "mlp": 40.0}


@dataclass
class Judged:
    """A candidate, its members by fold, and what they say about rows they were not trained on."""

    candidate: Candidate
    members: list[Arrays] = field(default_factory=list)
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    first_holdout: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    sums: np.ndarray = field(default_factory=lambda: np.empty(0))
    counts: np.ndarray = field(default_factory=lambda: np.empty(0))
    loss: float = float("inf")
    joined: tuple[str, ...] = ()

    def add(self, study: Study, arrays: Arrays, fold: Fold) -> None:
        predicted = self.candidate.predict(study, arrays, study.table.encoded[fold.holdout])
        if not self.members:
            self.first_holdout = fold.holdout
            self.sums = np.zeros((len(study.table.rows), *predicted.shape[1:]))
            self.counts = np.zeros((len(study.table.rows),) + (1,) * (predicted.ndim - 1))
        self.members.append(arrays)
        self.sums[fold.holdout] += predicted
        self.counts[fold.holdout] += 1
        self.rows = np.union1d(self.rows, fold.holdout)
        self.loss = study.loss(self.predicted(self.rows), self.rows)

    @property
    def label(self) -> str:
        return "+".join([self.candidate.name, *self.joined])

    def joined_with(self, study: Study, other: Judged) -> Judged:
        """Both as one: the mean of the members of both, which are of one family."""
        rows = np.union1d(self.rows, other.rows)
        both = replace(
            self,
            members=self.members + other.members,
            joined=(*self.joined, other.label),
            rows=rows,
            sums=self.sums + other.sums,
            counts=self.counts + other.counts,
        )
        return replace(both, loss=study.loss(both.predicted(rows), rows))

    def predicted(self, rows: np.ndarray) -> np.ndarray:
        """The mean of the predictions for `rows` by members that did not see them."""
        return self.sums[rows] / self.counts[rows]


@dataclass(frozen=True)
class Chosen:
    """The outcome: one part, or two whose predictions are mixed by `shares`. `mixed` is for held-out `rows`, and
    `predicted` the same at the `temperature` that was fitted to it; a regression has none."""

    parts: list[Judged]
    shares: list[float]
    rows: np.ndarray
    mixed: np.ndarray
    leaderboard: list[dict[str, float | str]]
    temperature: float = 1.0

    @property
    def predicted(self) -> np.ndarray:
        return tempered(self.mixed, self.temperature)

    @property
    def families(self) -> list[str]:
        return [part.candidate.family for part in self.parts]

    @property
    def first_holdout(self) -> np.ndarray:
        """The rows that none of the parts' first members has seen."""
        shared = reduce(np.intersect1d, [part.first_holdout for part in self.parts])
        return shared if len(shared) else self.parts[0].first_holdout

    def predict_first_member(self, study: Study, rows: Encoded) -> np.ndarray:
        """The prediction of each part's first member alone, mixed."""
        predictions = [part.candidate.predict(study, part.members[0], rows) for part in self.parts]
        return sum(share * predicted for share, predicted in zip(self.shares, predictions, strict=True))


class Progress:
    """Spreads (0, 1) over the models to train; what is added later only narrows what is left."""

    def __init__(self) -> None:
        self.done = 0.0

    def over(self, families: list[str], end: float) -> Iterable[tuple[float, float]]:
        total = sum(WEIGHT[family] for family in families) or 1.0
        start, length = self.done, end - self.done
        for family in families:
            begin, self.done = self.done, self.done + length * WEIGHT[family] / total
            yield begin, self.done
        self.done = start + length


def run_search(study: Study) -> Chosen:
    """Train the candidates. Raises Stopped after a checkpoint; finished models are not trained again on resume."""
    progress, judged = Progress(), [Judged(candidate) for candidate in make_candidates(study)]
    _train(study, progress, 0.5, [(item, _screening_folds(study, item.candidate)) for item in judged])
    judged.sort(key=lambda item: item.loss)
    leaderboard = [
        {"name": item.candidate.name, "family": item.candidate.family, "val_loss": item.loss} for item in judged
    ]
    finalists = _finalists(study, judged)
    _train(study, progress, 0.9, [(item, _folds(study, item.candidate)) for item in finalists])
    return _calibrated(study, _choose(study, [_with_runner_up(study, item, judged) for item in finalists], leaderboard))


def member_key(candidate: Candidate, number: int) -> str:
    return f"{candidate.name}.{number}"


def _folds(study: Study, candidate: Candidate) -> list[Fold]:
    settings, rows = study.hyperparameters, len(study.table.development)
    if candidate.family == "mlp":
        # An mlp is an ensemble in itself, and on many rows one costs more than all trees together.
        count, repeats = (1 if rows > MLP_ALL_FOLDS_ROWS else settings["folds"]), 1
    else:
        # On few rows it is luck which of them are set aside, and another deal costs little.
        count, repeats = settings["folds"], 2 if rows < REPEATED_ROWS and settings["folds"] > 1 else 1
    return study.table.folds(min(count, rows // 5), settings["seed"], repeats)


def _screening_folds(study: Study, candidate: Candidate) -> list[Fold]:
    is_small = len(study.table.development) <= SCREEN_ALL_FOLDS_ROWS
    return _folds(study, candidate)[: study.hyperparameters["folds"] if is_small else 1]


def _train(study: Study, progress: Progress, end: float, work: list[tuple[Judged, list[Fold]]]) -> None:
    todo = [(item, fold) for item, folds in work for fold in folds[len(item.members) :]]
    spans = progress.over([item.candidate.family for item, _ in todo], end)
    for (item, fold), span in zip(todo, spans, strict=True):
        item.add(study, _member(study, item.candidate, fold, len(item.members), span), fold)


def _member(study: Study, candidate: Candidate, fold: Fold, number: int, span: tuple[float, float]) -> Arrays:
    key = member_key(candidate, number)
    if key not in study.keeper.members:
        study.stop.check()
        fitted = candidate.fit(study, fold, key, span)
        study.keeper.finish(key, fitted.arrays, fitted.history)
    return study.keeper.members[key]


def _finalists(study: Study, judged: list[Judged]) -> list[Judged]:
    """Of `judged`, from best to worst: the best, and the best of each other family that would add to it in a blend."""
    best: dict[str, Judged] = {}
    for item in judged:
        best.setdefault(item.candidate.family, item)
    first, *others = best.values()
    return [first] + [other for other in others if _adds_to(study, first, other)]


def _with_runner_up(study: Study, winner: Judged, judged: list[Judged]) -> Judged:
    """The trees that did best together with the second best, where those are trained on every fold and it helps:
    trees of two shapes err less alike than trees of one."""
    others = [item for item in judged if item.candidate.family == "trees" and item is not winner]
    if winner.candidate.family != "trees" or not others or len(others[0].members) < study.hyperparameters["folds"]:
        return winner
    joined = winner.joined_with(study, others[0])
    return joined if joined.loss < winner.loss else winner


def _adds_to(study: Study, first: Judged, other: Judged) -> bool:
    rows = np.intersect1d(first.rows, other.rows)
    _, mixture = _mix(study, first.predicted(rows), other.predicted(rows), rows)
    return _is_worth_it(study, first.predicted(rows), mixture, rows)


def _is_worth_it(study: Study, alone: np.ndarray, mixture: np.ndarray, rows: np.ndarray) -> bool:
    """Whether a mixture pays for its second model. On few rows, where it is luck who seems the best, it is the safer
    choice: there it must only not be worse by more than chance."""
    before, after = study.losses(alone, rows), study.losses(mixture, rows)
    if len(rows) >= REPEATED_ROWS:
        return after.mean() < before.mean() * (1 - MIN_GAIN)
    return _is_within_chance(after, before)


def _is_within_chance(losses: np.ndarray, lowest: np.ndarray) -> bool:
    """Whether the mean of the one is no more than a standard error of the difference above that of the other."""
    excess = losses - lowest
    return bool(excess.mean() <= excess.std() / np.sqrt(len(excess)))


def _choose(study: Study, finalists: list[Judged], leaderboard: list[dict[str, float | str]]) -> Chosen:
    """The best of a family, or a mixture of trees and one other, compared on rows that none of them has seen."""
    rows = reduce(np.intersect1d, [item.rows for item in finalists])
    predicted = [item.predicted(rows) for item in finalists]
    best = int(np.argmin([study.loss(each, rows) for each in predicted]))
    alone = finalists[best]
    single = Chosen([alone], [1.0], alone.rows, alone.predicted(alone.rows), leaderboard)
    trees = next((number for number, item in enumerate(finalists) if item.candidate.family == "trees"), None)
    if trees is None or len(finalists) == 1:
        return single
    others = [number for number in range(len(finalists)) if number != trees]
    mixed = {number: _mix(study, predicted[trees], predicted[number], rows) for number in others}
    number, (share, mixture) = min(mixed.items(), key=lambda item: study.loss(item[1][1], rows))
    if not _is_worth_it(study, predicted[best], mixture, rows):
        return single
    return Chosen([finalists[trees], finalists[number]], [share, round(1 - share, 2)], rows, mixture, leaderboard)


def _calibrated(study: Study, chosen: Chosen) -> Chosen:
    """With the temperature that fits what was said of held-out rows."""
    if not study.classes:
        return chosen
    temperature = temperature_that_helps(chosen.mixed, study.table.targets[chosen.rows])
    study.events.log(f"Logits divided by {temperature:.3g} to fit certainty to accuracy.")
    return replace(chosen, temperature=temperature)


def _mix(study: Study, first: np.ndarray, second: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray]:
    """The share of `first`, and the mixture: of the shares that do as well as the best, but for chance, the one nearest
    to a half. The shares that do best on few rows do worse on others than equal ones (Smith and Wallis 2009, "A simple
    explanation of the forecast combination puzzle"); the margin is one standard error (Breiman et al. 1984)."""
    mixtures = {round(float(share), 2): share * first + (1 - share) * second for share in BLEND_SHARES}
    losses = {share: study.losses(mixture, rows) for share, mixture in mixtures.items()}
    lowest = min(losses.values(), key=np.mean)
    good = [share for share, found in losses.items() if _is_within_chance(found, lowest)]
    share = min(good, key=lambda share: (round(abs(share - 0.5), 2), losses[share].mean()))
    return share, mixtures[share]
