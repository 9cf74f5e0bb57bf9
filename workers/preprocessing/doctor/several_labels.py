"""Labels that are probably wrong, or missing, where an item may have several: each label is asked about by itself, as
`label_errors` asks about classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from workers.contract import LABEL_SEPARATOR
from workers.preprocessing.columns import shorten
from workers.preprocessing.doctor.label_errors import (
    FITTED,
    LEAST_EXPLAINED,
    MIN_ITEMS,
    MIN_OF_A_CLASS,
    drawn,
    find_suspects,
)
from workers.preprocessing.doctor.quick_model import judge_each
from workers.preprocessing.findings import Findings, Remedy
from workers.preprocessing.items import Items

MOST_LABELS = 100  # the commonest are asked about


def warn_of_several_labels(
    labels: Sequence[Sequence[str]], items: Items, features_of: Callable[[np.ndarray], np.ndarray], noun: str,
    findings: Findings, *, looked_at: int, unreadable: Sequence[int] = (),
) -> None:  # fmt: skip
    """`labels` are those of each item, the rest as for `label_errors.warn_of_labels`."""
    asked = np.array(drawn(len(items.ids), looked_at, unreadable), dtype=np.intp)
    if len(asked) < MIN_ITEMS:
        return
    sets = [frozenset(labels[number]) for number in asked.tolist()]
    odd = find_odd(sets, features_of(asked))
    if not odd:
        return
    places = sorted(odd, key=lambda place: -max(odd[place].values()))
    numbers = asked[places].tolist()
    suggested = {
        number: LABEL_SEPARATOR.join(sorted(sets[place] ^ odd[place].keys()))
        for number, place in zip(numbers, places, strict=True)
    }
    often = Counter(name for found in odd.values() for name in found).most_common(3)
    names = ", ".join(f'"{shorten(name, 40)}" ({count:,})' for name, count in often)
    share = len(numbers) / len(asked)
    findings.add(
        "label_errors",
        f"{noun.capitalize()} with a label that is probably wrong, or without one that they should have: "
        f"{len(numbers):,} of {len(asked):,} ({share:.1%}), most often {names}. A quick model of each label is sure of "
        "the contrary.",
        cost=f"If all are wrong, {share:.1%} of what is learned from, or judged by, is wrong as well.",
        total=len(numbers),
        shown=items.some_suggested(numbers, suggested),
        remedy=Remedy(
            leave_out=items.named(numbers),
            relabel={items.ids[number]: wanted for number, wanted in suggested.items()},
        ),
        sampled="" if len(asked) == len(items.ids) else f"{len(asked):,} of {len(items.ids):,} {noun} were looked at.",
    )


def find_odd(sets: Sequence[frozenset[str]], features: np.ndarray) -> dict[int, dict[str, float]]:
    """By the place of an item, the labels that it should lack or have, and how much surer the model is of that than of
    what was given. `features` float32 [N, D]."""
    counts = Counter(name for each in sets for name in each)
    names = [name for name, count in counts.most_common(MOST_LABELS)
             if MIN_OF_A_CLASS <= count <= len(sets) - MIN_OF_A_CLASS]  # fmt: skip
    if not names:
        return {}
    has = np.array([[name in each for name in names] for each in sets])
    likely, explained = judge_each(features, has, fitted=min(FITTED, len(has)))
    odd: dict[int, dict[str, float]] = defaultdict(dict)
    for column in np.flatnonzero(explained >= LEAST_EXPLAINED).tolist():
        both = np.stack([1 - likely[:, column], likely[:, column]], axis=1)
        found = find_suspects(both, has[:, column].astype(np.intp))
        for place, sureness in zip(found.numbers.tolist(), (found.likely - found.given).tolist(), strict=True):
            odd[place][names[column]] = sureness
    return odd
