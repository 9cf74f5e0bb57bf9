"""Which recipe to try next, and when to stop. Pure: what it answers depends on what was measured alone, so that a
search that was interrupted goes on as it would have."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.compression.judging import Candidate, best_of, front_of
from workers.compression.recipes import (
    DISTIL,
    DYNAMIC,
    INT8_WEIGHTS,
    LATENCY,
    LOW_RANK,
    PERCENTILE,
    PRUNE_CHANNELS,
    PRUNE_WEIGHTS,
    QUANTISE,
    SAME,
    SHARE,
    SIMPLEST,
    check_recipe,
)

Recipe = list[dict[str, Any]]

AMOUNTS = (0.5, 0.7, 0.82, 0.9)  # of channels, from careful to bold
SIMPLER_WIDTHS = (1.0, 0.5, 0.25)  # of a network of the fastest kind
CLOSEST = 0.06  # two shares of channels that lie closer bring the same
STILL = 5  # candidates in a row that leave the front as it was
LEAST_TUNING, MOST_TUNING = 2, 15  # epochs
TUNING_SHARE = 0.12  # of the time, for one candidate


@dataclass(frozen=True)
class Search:
    """A search for `task` under `settings` (see recipes.resolve). `is_tunable` is whether the model can go on learning,
    `epoch_seconds` how long one epoch of that takes here,
    and `has_simpler` whether a network of a faster kind could take its place."""

    task: str
    settings: Mapping[str, Any]
    is_tunable: bool
    epoch_seconds: float = 0.0
    has_simpler: bool = False

    def next(self, tried: Sequence[Candidate], seconds: float) -> tuple[Recipe | None, str]:
        """The recipe to try after `tried` (the original first) and `seconds` of searching; None, and a sentence why,
        where the search is over."""
        if self.settings["recipes"]:
            left = self.settings["recipes"][len(tried) - 1 :]
            return (left[0], "") if left else (None, "All recipes were tried.")
        if len(tried) > self.settings["trials"]:
            return None, f"As many candidates were tried as were asked for: {self.settings['trials']}."
        if seconds > self.settings["seconds"]:
            return None, f"The time for the search is over: {self.settings['seconds']} seconds."
        if stood_still(tried):
            return None, f"The last {STILL} candidates brought nothing that the ones before had not."
        known = {key_of(candidate.recipe) for candidate in tried}
        for recipe in self._ideas(tried):
            checked = check_recipe(self.task, recipe)
            if key_of(checked) not in known:
                return checked, ""
        return None, "All that could help here was tried."

    @property
    def epochs(self) -> int:
        """Epochs of fine-tuning for one candidate, so that several candidates fit into the time."""
        if not self.epoch_seconds:
            return MOST_TUNING
        fitting = self.settings["seconds"] * TUNING_SHARE / self.epoch_seconds
        return max(LEAST_TUNING, min(MOST_TUNING, math.floor(fitting)))

    def _ideas(self, tried: Sequence[Candidate]) -> Iterator[Recipe]:
        """Recipes in the order in which they are worth trying, given what was found; those that were tried already too.

        First what costs nothing. Then channels are removed, boldly and more boldly, and halving the distance between
        what was still good and what was not any more. What was best is then made smaller or better still.
        """
        plain = [_int8()]
        yield plain
        if lost_too_much(tried, plain):
            yield [_int8(ranges=PERCENTILE)]
            yield [_int8(equalise=True, correct_bias=True)]
        if self.is_tunable:
            yield from self._ideas_with_tuning(tried)
        yield from self._smaller_files(tried)
        if self.settings["favour"] != LATENCY:
            yield [{"method": QUANTISE, "scheme": INT8_WEIGHTS}]
        yield [{"method": QUANTISE, "scheme": DYNAMIC}]

    def _ideas_with_tuning(self, tried: Sequence[Candidate]) -> Iterator[Recipe]:
        good = 0.0
        if not self._has_failed(tried, self._pruned(AMOUNTS[0])):
            good = yield from self._fewer_channels(tried)
        if self.has_simpler:
            yield from self._simpler(tried)
        yield self._distilled(1 - (good or AMOUNTS[0]))
        yield [{"method": LOW_RANK, "energy": 0.9, "epochs": self.epochs}, _int8()]
        if good:
            yield self._thinned(good)

    def _fewer_channels(self, tried: Sequence[Candidate]) -> Generator[Recipe, None, float]:
        """Returns the largest share that was good enough, 0 for none."""
        good, bad = 0.0, 1.0
        for amount in AMOUNTS:
            verdict = self._verdict(tried, self._pruned(amount))
            yield self._pruned(amount)
            if verdict is False:
                bad = amount
                break
            good = amount
        if good and bad - good > CLOSEST and bad < 1.0:
            yield self._pruned(round((good + bad) / 2, 2))
        if not good:
            yield self._pruned(AMOUNTS[0] / 2)
        if bad < 1.0:  # more bits of training may save the first that was too bold
            yield self._pruned(bad, tuned=True)
        return good

    def _simpler(self, tried: Sequence[Candidate]) -> Iterator[Recipe]:
        """Networks of the fastest kind, narrower as long as they are good enough."""
        for width in SIMPLER_WIDTHS:
            recipe = self._distilled(width, kind=SIMPLEST)
            yield recipe
            if self._verdict(tried, recipe) is False:
                return

    def _pruned(self, amount: float, *, tuned: bool = False) -> Recipe:
        after = {"epochs": max(LEAST_TUNING, self.epochs // 2)} if tuned else {}
        return [{"method": PRUNE_CHANNELS, "amount": amount, "epochs": self.epochs}, _int8(**after)]

    def _distilled(self, width: float, kind: str = SAME) -> Recipe:
        step = {"method": DISTIL, "width": round(max(0.05, width), 2), "kind": kind, "epochs": 2 * self.epochs}
        return [step, _int8()]

    def _thinned(self, amount: float) -> Recipe:
        return [
            {"method": PRUNE_CHANNELS, "amount": amount, "epochs": self.epochs},
            {"method": PRUNE_WEIGHTS, "amount": 0.6, "epochs": self.epochs},
            _int8(),
        ]

    def _smaller_files(self, tried: Sequence[Candidate]) -> Iterator[Recipe]:
        """What is best so far, with few values for the weights: faster it is not."""
        best = best_of(tried, self.settings["favour"])
        if self.settings["favour"] == LATENCY or best is None or any(step["method"] == SHARE for step in best.recipe):
            return
        for values in (32, 16):
            yield [*(dict(step) for step in best.recipe), {"method": SHARE, "values": values}]

    def _verdict(self, tried: Sequence[Candidate], recipe: Recipe) -> bool | None:
        """Whether `recipe` was good enough; None where it was not tried yet."""
        found = self._found(tried, recipe)
        return found.is_promising if found else None

    def _has_failed(self, tried: Sequence[Candidate], recipe: Recipe) -> bool:
        """Whether nothing could be made by `recipe`."""
        found = self._found(tried, recipe)
        return found is not None and not found.figures

    def _found(self, tried: Sequence[Candidate], recipe: Recipe) -> Candidate | None:
        wanted = key_of(check_recipe(self.task, recipe))
        return next((candidate for candidate in tried if key_of(candidate.recipe) == wanted), None)


def _int8(**changes: Any) -> dict[str, Any]:
    return {"method": QUANTISE, **changes}


def key_of(recipe: Sequence[Mapping[str, Any]]) -> str:
    return repr([sorted(step.items()) for step in recipe])


def lost_too_much(tried: Sequence[Candidate], recipe: Recipe) -> bool:
    """Whether the candidate of that one step alone was tried, and lost more than half of what may be lost."""
    for candidate in tried:
        if len(candidate.recipe) == 1 and candidate.recipe[0]["method"] == recipe[0]["method"]:
            return not candidate.figures or candidate.figures["lost_validation"] > candidate.limit / 2
    return False


def stood_still(tried: Sequence[Candidate]) -> bool:
    """Whether the last few candidates left the front as it was before them."""
    if len(tried) <= STILL + 1:
        return False
    before = front_of(tried[:-STILL])
    return before == front_of(tried)
