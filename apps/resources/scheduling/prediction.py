"""How long work will run, learned from work that has ended.

A duration is predicted as a distribution over logarithmic bins. Histograms are kept at several levels of detail, from
all work down to the same person's work of the same name and size, and each level is blended into the one above it by
its hazards, with the weight of `PRIOR_JOBS` made-up jobs (a beta-Stacy process: Walker and Muliere, Annals of
Statistics 25, 1997; as hierarchical smoothing: MacKay and Bauman Peto, 1995). Recent work counts more, since people
repeat what they just did (Tsafrir, Etsion and Feitelson, IEEE TPDS 18, 2007).

On top come siblings: work of the same person and size that was handed in around the same time, such as a sweep over
hyper-parameters, often runs equally long. How often, by the time between the two, is learned as well. A sibling that
still runs says that it takes longer than what it attained.

Only work that has ended is learned from; of work that still runs it is known that it outlasts what it attained.
"""

import math
import re
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from apps.resources.scheduling.types import Estimate

RATIO = 1.12
BINS = 150
# So many jobs' worth of doubt does a level take over from the one above it.
PRIOR_JOBS = 4.0
# Chance to end within a bin while nothing has been learned: the longer it ran, the longer it will.
PRIOR_HAZARD = 0.04
# Half-width, in units of log seconds, to which one past duration speaks for its surroundings.
SMOOTHING = 0.2
# So many equally likely durations stand for a distribution.
SAMPLES = 50
# Histograms and groups of siblings that are kept; the longest unused go first.
MAX_LEVELS = 20_000
MAX_SIBLINGS = 512

# Siblings: how many are looked at on either side, and in which classes of time between them (seconds).
NEIGHBOURS = 3
GAPS = (1.0, 10.0, 60.0, 300.0, 1800.0, 21600.0)
EQUAL, ALIKE = 0.04, 0.4  # spread of the log of their ratio
MAX_ODDS = 50.0

# The levels, from the general to the special, and by how much each older job counts less than the next.
LEVELS: tuple[tuple[tuple[str, ...], float], ...] = (
    ((), 0.999),
    (("devices",), 0.999),
    (("team", "devices"), 0.995),
    (("user",), 0.95),
    (("user", "kind", "size", "limit"), 0.9),
    (("user", "kind", "size", "limit", "devices"), 0.8),
)

_LOG_EDGES = np.arange(BINS + 1) * math.log(RATIO)
_PRIOR = np.full(BINS, PRIOR_HAZARD)


def _kernel(spread: float) -> np.ndarray:
    """Row b: a normal distribution around the middle of bin b, by bins."""
    reach = np.subtract.outer(np.arange(BINS), np.arange(BINS)) * math.log(RATIO) / max(spread, 1e-9)
    rows = np.exp(-0.5 * reach**2)
    return rows / rows.sum(axis=1, keepdims=True)


_SMOOTH, _EQUAL, _ALIKE = (_kernel(spread) for spread in (SMOOTHING, EQUAL, ALIKE))


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of work when it is handed in. Empty text and 0 mean unknown.

    `kind` is a name, task or preset: digits in it do not count. `data_bytes` is the size of its data.
    `limit_seconds` is its person's own estimate, at which it would be stopped.
    """

    submitted_at: float
    devices: int = 0
    team: str = ""
    user: str = ""
    kind: str = ""
    data_bytes: int = 0
    limit_seconds: float = 0.0

    def group(self) -> tuple[str, str, int]:
        """Siblings are among those who have this in common."""
        return self.team, self.user, self.devices

    def values(self) -> dict[str, str]:
        return {
            "devices": str(self.devices),
            "team": self.team,
            "user": self.user,
            "kind": _without_digits(self.kind),
            "size": str(self.data_bytes.bit_length()),
            "limit": f"{self.limit_seconds:.0f}" if self.limit_seconds else "",
        }


@dataclass(slots=True)
class _Level:
    """A histogram of durations, and what was worked out of it. `version` counts what it has learned."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    version: int = 0
    hazard: np.ndarray | None = None
    made_from: tuple[int, ...] = ()


class DurationModel:
    """Tell it what ended with `observe`, ask it for an `estimate`. Deterministic; times and durations are seconds."""

    def __init__(self) -> None:
        self._levels: OrderedDict[tuple, _Level] = OrderedDict()
        self._siblings: OrderedDict[tuple[str, str, int], list[tuple[float, float]]] = OrderedDict()
        self._seen: dict[str, str | None] = {}  # by feature: its only value so far, None once there were several
        # By class of gap: how much of the past says "equally long", "alike" and "unrelated".
        self._relations = np.tile(np.array([1.0, 1.0, 4.0]), (len(GAPS) + 1, 1))

    def observe(self, features: Features, duration_seconds: float) -> None:
        """Learn from work that has ended by itself, after running so long in all."""
        values = features.values()
        duration = max(duration_seconds, 1.0)
        landed = _bin_of(duration)
        self._relate(features, values, landed)
        for name, value in values.items():
            if self._seen.setdefault(name, value) != value:
                self._seen[name] = None
        for names, decay in LEVELS:
            level = self._levels.setdefault(_key(names, values), _Level())
            level.counts *= decay
            level.counts[landed] += 1.0
            level.version += 1
            self._levels.move_to_end(_key(names, values))
        group = self._siblings.setdefault(features.group(), [])
        insort(group, (features.submitted_at, duration))
        if len(group) > MAX_SIBLINGS:
            del group[0]
        self._siblings.move_to_end(features.group())
        for store in (self._levels, self._siblings):
            while len(store) > MAX_LEVELS:
                store.popitem(last=False)

    def estimate(
        self, features: Features, attained_seconds: float = 0.0, unfinished: Sequence[tuple[float, float]] = ()
    ) -> Estimate:
        """How long work with these features will run in all, given that it has run `attained_seconds` already.

        `unfinished` are the siblings that have not ended: (submitted at, attained seconds).
        """
        values = features.values()
        weights = _spread(self._hazard(values))
        self._add_siblings(weights, features, unfinished)
        samples = _sample(weights, attained_seconds)
        if features.limit_seconds > attained_seconds:
            samples = np.minimum(samples, features.limit_seconds)
        return estimate_from(samples.tolist())

    def evidence(self, features: Features) -> tuple:
        """What an estimate rests on most: when this has changed, it is worth making anew."""
        values = features.values()
        own = self._levels.get(_key(LEVELS[-2][0], values)) if self._seen.get("user", "") is None else None
        return (own.version if own else 0), *self._near(features.group(), features.submitted_at)

    def _levels_of(self, values: dict[str, str]) -> list[_Level]:
        """The levels that say anything of their own: a feature that never varied tells nothing."""
        found, used = [], set()
        for names, _ in LEVELS:
            telling = tuple(name for name in names if self._seen.get(name, "") is None)
            level = self._levels.get(_key(names, values))
            if level is not None and telling not in used:
                found.append(level)
            used.add(telling)
        return found

    def _hazard(self, values: dict[str, str]) -> np.ndarray:
        """By bin, the chance to end in it when it is reached."""
        hazard, made_from = _PRIOR, ()
        for level in self._levels_of(values):
            made_from = (*made_from, level.version)
            if level.hazard is None or level.made_from != made_from:
                ended = level.counts @ _SMOOTH
                reached = ended[::-1].cumsum()[::-1]
                level.hazard = (ended + PRIOR_JOBS * hazard) / (reached + PRIOR_JOBS)
                level.made_from = made_from
            hazard = level.hazard
        return hazard

    def _near(self, group: tuple[str, str, int], at: float) -> list[tuple[float, float]]:
        return nearest(self._siblings.get(group, []), at)

    def _add_siblings(self, weights: np.ndarray, features: Features, unfinished: Sequence[tuple[float, float]]) -> None:
        unrelated = weights.copy()
        for submitted_at, duration in self._near(features.group(), features.submitted_at):
            equal, alike = self._odds(submitted_at - features.submitted_at)
            landed = _bin_of(duration)
            weights += equal * _EQUAL[landed] + alike * _ALIKE[landed]
        for submitted_at, attained in unfinished:
            reached = _bin_of(attained)
            beyond = unrelated[reached:].sum()
            if reached and beyond > 1e-9:
                odds = sum(self._odds(submitted_at - features.submitted_at))
                weights[reached:] += odds / beyond * unrelated[reached:]

    def _odds(self, seconds_between: float) -> tuple[float, float]:
        """How much likelier it is to run equally long, and to run about as long, than to be unrelated."""
        equal, alike, unrelated = self._relations[_gap(seconds_between)]
        return min(equal / unrelated, MAX_ODDS), min(alike / unrelated, MAX_ODDS)

    def _relate(self, features: Features, values: dict[str, str], landed: int) -> None:
        """One step of expectation maximisation per pair: which of the three explains the newcomer's duration."""
        near = self._near(features.group(), features.submitted_at)
        if not near:
            return
        unrelated = _spread(self._hazard(values))[landed]
        for submitted_at, other in near:
            row = self._relations[_gap(submitted_at - features.submitted_at)]
            of_other = _bin_of(other)
            likely = row / row.sum() * (_EQUAL[of_other, landed], _ALIKE[of_other, landed], unrelated)
            if (total := likely.sum()) > 0:
                row += likely / total

    def to_dict(self) -> dict:
        """The state as plain JSON values."""
        return {
            "levels": [
                [list(key), {str(b): round(float(c), 4) for b, c in enumerate(level.counts) if c > 1e-4}]
                for key, level in self._levels.items()
            ],
            "siblings": [[list(key), [list(pair) for pair in group]] for key, group in self._siblings.items()],
            "seen": dict(self._seen),
            "relations": self._relations.tolist(),
        }

    @classmethod
    def from_dict(cls, state: dict) -> "DurationModel":
        model = cls()
        for key, counts in state["levels"]:
            level = model._levels[tuple(key)] = _Level(version=1)
            for landed, count in counts.items():
                level.counts[int(landed)] = count
        for key, group in state["siblings"]:
            model._siblings[tuple(key)] = [(at, duration) for at, duration in group]
        model._seen = dict(state["seen"])
        model._relations = np.array(state["relations"])
        return model


def nearest(siblings: list[tuple[float, float]], at: float) -> list[tuple[float, float]]:
    """Those submitted closest before and after `at`; `siblings` is sorted."""
    place = bisect_left(siblings, (at, 0.0))
    return siblings[max(0, place - NEIGHBOURS) : place + NEIGHBOURS]


def estimate_from(durations: list[float]) -> Estimate:
    """An estimate of which these durations, ascending, are the equally likely outcomes."""
    low, median, high = np.interp((0.1, 0.5, 0.9), _centres(len(durations)), durations)
    return Estimate(float(low), float(median), float(high), tuple(durations))


@lru_cache(maxsize=4096)
def _without_digits(kind: str) -> str:
    return re.sub(r"[\d_.-]+", " ", kind.lower()).strip()[:40]


def _centres(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count


def _key(names: tuple[str, ...], values: dict[str, str]) -> tuple[str, ...]:
    return tuple(part for name in names for part in (name, values[name]))


def _bin_of(seconds: float) -> int:
    return min(BINS - 1, max(0, int(math.log(seconds) / math.log(RATIO)))) if seconds > 1.0 else 0


def _gap(seconds: float) -> int:
    return bisect_left(GAPS, abs(seconds))


def _spread(hazard: np.ndarray) -> np.ndarray:
    """The distribution with this hazard; what outlasts all bins ends in the last."""
    survival = np.cumprod(1.0 - hazard)
    weights = hazard.copy()
    weights[1:] *= survival[:-1]
    weights[-1] += survival[-1]
    return weights


def _sample(weights: np.ndarray, attained: float) -> np.ndarray:
    """Equally likely durations, ascending, beyond `attained`."""
    below = np.concatenate(([0.0], weights.cumsum()))
    below /= below[-1]
    at = math.log(max(attained, 1.0))
    past = float(np.interp(at, _LOG_EDGES, below)) if attained > 0 else 0.0
    if past > 1.0 - 1e-6:  # it outran all that was ever seen: as long again, give or take
        return attained * (1.0 + 1.0 / (1.0 - _centres(SAMPLES)) - 1.0 + 0.01)
    drawn = np.interp(past + (1.0 - past) * _centres(SAMPLES), below, _LOG_EDGES)
    return np.maximum(np.exp(drawn), attained + 1.0)
