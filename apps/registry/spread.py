"""How much a figure owes to chance: the same training with other seeds, side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from apps.registry.figures import Figure, figure, headline
from apps.registry.models import ModelVersion

SAME = ("content_hash", "target", "preset")  # of the lineage; settings count without the seed


@dataclass(frozen=True)
class Run:
    """One seed's result; `place` is where it lies between the lowest and the highest, from 0 to 1."""

    version: ModelVersion
    seed: int
    figure: Figure
    place: float

    @property
    def mark(self) -> str:
        """Where a mark 2 wide begins on a scale of 100."""
        return f"{self.place * 98:.1f}"


@dataclass(frozen=True)
class Spread:
    """The headline figure over several seeds. `deviation` is the standard deviation of the sample, over n - 1; None of
    one run alone."""

    mean: Figure
    deviation: Figure | None
    low: Figure
    high: Figure
    runs: Sequence[Run]

    @property
    def is_fixed(self) -> bool:
        """Whether several seeds gave one figure."""
        return len(self.runs) > 1 and self.low.value == self.high.value


def spread_of(version: ModelVersion) -> Spread | None:
    """Over the versions of its model that were trained as it was, but for the seed; None where it was not trained from
    the beginning with a seed, or has no figure."""
    shown = headline(version.metrics)
    if shown is None or not is_repeatable(version):
        return None
    alike = [other for other in version.model.versions.order_by("number") if is_alike(version, other)]
    measured = [(other, found) for other in alike if (found := headline(other.metrics)) and found.name == shown.name]
    values = [found.value for _other, found in measured]
    low, high = min(values), max(values)
    runs = [
        Run(other, other.lineage["seed"], found, (found.value - low) / (high - low) if high > low else 0.5)
        for other, found in measured
    ]
    deviation = figure(shown.name, stdev(values)) if len(values) > 1 else None
    return Spread(figure(shown.name, fmean(values)), deviation, figure(shown.name, low), figure(shown.name, high), runs)


def is_repeatable(version: ModelVersion) -> bool:
    """Whether it came out of a training from the beginning, so that another seed gives another such model."""
    lineage = version.lineage
    return lineage.get("seed") is not None and not lineage.get("method") and "continues" not in lineage


def is_alike(version: ModelVersion, other: ModelVersion) -> bool:
    """Whether only the seed sets them apart."""
    ours, theirs = version.lineage, other.lineage
    return is_repeatable(other) and _settings(ours) == _settings(theirs) and _of(ours, SAME) == _of(theirs, SAME)


def free_seeds(first: int, taken: Iterable[int], count: int, most: int) -> list[int]:
    """`count` seeds after `first` that are not `taken`; above `most` they begin again from 0."""
    used, found, seed = {first, *taken}, [], first
    while len(found) < count:
        seed = seed + 1 if seed < most else 0
        if seed not in used:
            found.append(seed)
    return found


def _settings(lineage: dict) -> dict:
    return {name: value for name, value in (lineage.get("hyperparameters") or {}).items() if name != "seed"}


def _of(lineage: dict, names: Iterable[str]) -> list:
    return [lineage.get(name) for name in names]
