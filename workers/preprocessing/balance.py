"""Sizes of classes: how unequal they are, and which are small. Pure."""

from __future__ import annotations

from collections import Counter

from workers.preprocessing.columns import shorten
from workers.preprocessing.findings import Findings
from workers.preprocessing.items import TRAIN, Items, tell_some
from workers.preprocessing.report import describe
from workers.preprocessing.splitting import natural_order

IMBALANCE = 20
FEW_ITEMS = 20
FEWEST_CLASSES = 2  # so many must be left, or there is nothing to tell apart


def warn_of_balance(items: Items, noun: str, findings: Findings, *, imbalance: int = IMBALANCE) -> None:
    """By what there is to train on. `noun` is what is counted."""
    counts = Counter(label for label, split in zip(items.labels, items.splits, strict=True) if split == TRAIN)
    (largest, most), (smallest, fewest) = counts.most_common(1)[0], counts.most_common()[-1]
    if most > imbalance * fewest:
        findings.add(
            "imbalanced_classes",
            f'The class "{shorten(largest, 40)}" has {most:,} training {noun} and "{shorten(smallest, 40)}" '
            f"{fewest:,}. Look at the F1 as well as at the accuracy, or set class_weights to balanced.",
            cost=f"A model that always says “{shorten(largest, 40)}” is right in {most / counts.total():.1%} of the "
            "cases, and has learned nothing.",
        )
    if few := sorted((name for name, count in counts.items() if count < FEW_ITEMS), key=natural_order):
        names = describe([f"{shorten(name, 40)} ({counts[name]})" for name in few])
        message = f"Classes with fewer than {FEW_ITEMS} training {noun}: {names}."
        if len(counts) - len(few) < FEWEST_CLASSES:
            findings.add("small_classes", message)
        else:
            small = set(few)
            numbers = [number for number, label in enumerate(items.labels) if label in small]
            tell_some(numbers, items, "small_classes", message, findings)
