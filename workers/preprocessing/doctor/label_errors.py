"""Labels that are probably wrong: confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70, section 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workers.preprocessing.doctor.quick_model import judge
from workers.preprocessing.findings import Findings, Remedy
from workers.preprocessing.items import Items

FITTED = 5_000  # items that the quick model learns from
MIN_ITEMS, MIN_OF_A_CLASS = 100, 10
MOST_CLASSES = 200
ODDS = 10  # the label suggested must be so many times as likely as the one given
# The share of the labels' entropy that a model must explain to be asked: one that knows hardly more than how common
# each class is has no business to correct anybody.
LEAST_EXPLAINED = 0.15


@dataclass(frozen=True)
class Suspects:
    """Numbers of items, the surest first, the class that is more likely of each, and how likely that one and the given
    one are."""

    numbers: np.ndarray
    suggested: np.ndarray
    likely: np.ndarray
    given: np.ndarray


def find_suspects(probabilities: np.ndarray, labels: np.ndarray) -> Suspects:
    """Items whose label a model contradicts with confidence. `probabilities` [N, C] are of models that have not learned
    from the item.

    The threshold of a class is the mean probability of it over the items that are labelled so: t_j = mean p(j | x) over
    {x: label = j}. An item counts for the likeliest class among those with p(j | x) >= t_j; where that is another than
    its label, it stands off the diagonal of the confident joint and is suspected. Of these, those stay that the model
    finds `ODDS` times as likely to be the other class: where classes overlap by nature, most items off the diagonal are
    no mistakes.
    """
    places = np.arange(len(labels))
    classes = probabilities.shape[1]
    given = probabilities[places, labels]
    counts = np.bincount(labels, minlength=classes)
    thresholds = np.where(counts, np.bincount(labels, given, minlength=classes) / np.maximum(1, counts), 2.0)
    confident = np.where(probabilities >= thresholds - 1e-9, probabilities, -1.0)
    suggested = confident.argmax(axis=1)
    likely = confident[places, suggested]
    found = np.flatnonzero((likely > 0) & (suggested != labels) & (likely >= ODDS * given))
    order = found[np.argsort(given[found] - likely[found], kind="stable")]
    return Suspects(order, suggested[order], likely[order], given[order])


def warn_of_labels(
    items: Items, features_of: Callable[[np.ndarray], np.ndarray], noun: str, findings: Findings, *, looked_at: int,
    unreadable: Sequence[int] = (),
) -> None:  # fmt: skip
    """Ask a quick model about `looked_at` items at most. `features_of` makes float32 [n, D] of the items of these
    numbers; those in `unreadable` are not asked about."""
    asked = drawn(len(items.ids), looked_at, unreadable)
    counts = Counter(items.labels[number] for number in asked)
    names = sorted(name for name, count in counts.items() if count >= MIN_OF_A_CLASS)
    if not 2 <= len(names) <= MOST_CLASSES:
        return
    places = {name: place for place, name in enumerate(names)}
    asked = np.array([number for number in asked if items.labels[number] in places], dtype=np.intp)
    if len(asked) < MIN_ITEMS:
        return
    labels = np.array([places[items.labels[number]] for number in asked])
    judged = judge(features_of(asked), labels, len(names), fitted=min(FITTED, len(asked)))
    if judged.explained < LEAST_EXPLAINED:
        return
    suspects = find_suspects(judged.probabilities, labels)
    if not len(suspects.numbers):
        return
    numbers = asked[suspects.numbers]
    wanted = [names[place] for place in suspects.suggested]
    total, whole = len(numbers), len(items.ids)
    judging = sum(items.splits[number] == "test" for number in numbers)
    findings.add(
        "label_errors",
        f"{noun.capitalize()} whose label is probably wrong: {total:,} of {len(asked):,} ({total / len(asked):.1%}). "
        f"A quick model, which is right about {judged.accuracy:.0%} of those that it has not learned from, is sure of "
        "another label.",
        cost=_cost(total / len(asked), judging, items),
        total=total,
        shown=[
            items.shown(number, suggested=name, likely=round(float(likely), 3), given=round(float(given), 3))
            for number, name, likely, given in zip(
                numbers[:24].tolist(), wanted, suspects.likely, suspects.given, strict=False
            )
        ],
        remedy=Remedy(
            leave_out=[items.ids[number] for number in numbers.tolist()],
            relabel={items.ids[number]: name for number, name in zip(numbers.tolist(), wanted, strict=True)},
        ),
        sampled="" if len(asked) == whole else f"{len(asked):,} of {whole:,} {noun} were looked at.",
    )


def drawn(total: int, looked_at: int, unreadable: Sequence[int] = ()) -> list[int]:
    """The numbers of at most so many items, drawn evenly and in an order that does not tell where they stood."""
    order = np.random.default_rng(0).permutation(total).tolist()
    left_out = set(unreadable)
    return [number for number in order if number not in left_out][:looked_at]


def _cost(share: float, judging: int, items: Items) -> str:
    said = f"If all are wrong, {share:.1%} of what is learned from is wrong as well."
    if not judging:
        return said
    tested = sum(split == "test" for split in items.splits)
    return f"{said} Of the {tested:,} test items it is {judging:,}: there a perfect model would seem to be wrong."
