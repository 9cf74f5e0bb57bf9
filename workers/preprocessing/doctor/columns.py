"""Columns of a table that give the target away, hardly have values, name the rows, or have values far from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.contract import TABULAR_REGRESSION
from workers.preprocessing.columns import CATEGORICAL, IDENTIFIER, NUMERIC, TEXT, Column, parse_number
from workers.preprocessing.doctor.quick_model import FOLDS, deal
from workers.preprocessing.findings import Findings, Remedy
from workers.preprocessing.items import Items
from workers.preprocessing.report import describe

NEARLY_EMPTY = 0.05  # share of the rows that have a value
LEAVES, COMMON_VALUES = 32, 200
GIVES_AWAY = 0.98
MIN_ROWS = 50
# Wrong labels keep a column that gives the target away from doing so perfectly.
MOST_WRONG, UNEXPLAINED, ROWS_OF_A_LEAF, FEWEST_KEPT, MOST_CLASSES = 0.06, 0.2, 10, 0.75, 100
MAD_TO_DEVIATION = 1.4826  # of normally distributed values
FAR = 12.0  # robust deviations from the median
RARE = 0.001  # a larger share of the rows is a long tail and no outlier


@dataclass(frozen=True)
class Values:
    """The values of the rows that are looked at, by column; `rows` are their numbers among all."""

    by_column: dict[str, list[str]]
    rows: np.ndarray


def warn_of_weak_columns(columns: Sequence[Column], target: str, findings: Findings) -> None:
    """Columns with nearly no value, and those that name the rows."""
    others = [column for column in columns if column.name != target and column.present]
    for column in others:
        share = column.present / (column.present + column.missing)
        if share < NEARLY_EMPTY:
            findings.add(
                "nearly_empty_column",
                f'The column "{column.name}" has a value in {column.present:,} rows ({share:.1%}).',
                about=column.name,
                remedy=Remedy(drop=[column.name]),
            )
    if named := [column.name for column in others if column.type == IDENTIFIER]:
        findings.add(
            "identifier_column",
            f"Another value in nearly every row has the column {describe(named)}.",
            remedy=Remedy(drop=named),
        )


def warn_of_leakage(
    values: Values, columns: Sequence[Column], target: str, task: str, items: Items, findings: Findings
) -> list[str]:
    """Columns that tell the target nearly perfectly, alone, in rows that were not learned from; their names."""
    answers, telling = values.by_column[target], []
    if len(answers) < MIN_ROWS:
        return telling
    is_regression = task == TABULAR_REGRESSION
    truth = np.array([parse_number(value) or 0.0 for value in answers]) if is_regression else _codes(answers)
    fold = deal(np.zeros(len(truth), dtype=np.intp) if is_regression else truth, 0)
    for column in columns:
        if column.name == target or column.type in (IDENTIFIER, TEXT) or len(column.counts) < 2:
            continue
        places = leaves(values.by_column[column.name], column.type == NUMERIC)
        score = r_squared(places, truth, fold) if is_regression else ranking(places, truth, fold)
        wrong = None if is_regression or score >= GIVES_AWAY else even_contradictions(places, truth, fold)
        if score < GIVES_AWAY and wrong is None:
            continue
        measure = f"{'R²' if is_regression else 'area under the ROC curve'} {score:.3f}"
        but = "" if wrong is None else (
            f" It contradicts {wrong:.1%} of the rows, and these lie evenly over its values, as wrong labels do."
        )  # fmt: skip
        findings.add(
            "target_leakage",
            f'The column "{column.name}" alone tells "{target}" nearly perfectly ({measure}).{but}',
            about=column.name,
            cost="If it is only known after the target is, a model will look excellent here and be of no use later. "
            "If it is known before, you need no model.",
            total=1,
            shown=[items.shown(row, columns=[column.name, target]) for row in values.rows[:5].tolist()],
            remedy=Remedy(drop=[column.name]),
        )
        telling.append(column.name)
    return telling


def _codes(values: Sequence[str]) -> np.ndarray:
    return np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)[1].astype(np.intp)


def leaves(values: Sequence[str], is_numeric: bool) -> np.ndarray:
    """intp [N]: which of the leaves of a tree over one column each value falls in: a quantile of numbers, or one of the
    common values; missing values have a leaf."""
    if not is_numeric:
        codes = _codes(values)
        rarer = np.argsort(np.argsort(-np.bincount(codes), kind="stable"), kind="stable")
        return np.minimum(rarer[codes], COMMON_VALUES)
    numbers = np.array([np.nan if (n := parse_number(value)) is None else n for value in values])
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, LEAVES + 1)[1:-1]))
    places = np.searchsorted(edges, numbers, side="right")
    places[np.isnan(numbers)] = len(edges) + 1
    return places


def _means(places: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The mean of `truth` in the leaf of each row, over the rows of other folds; of an unknown leaf that of all."""
    count = places.max() + 1
    made = np.empty(len(truth))
    for number in range(FOLDS):
        learned, asked = fold != number, fold == number
        sizes = np.bincount(places[learned], minlength=count)
        sums = np.bincount(places[learned], truth[learned], minlength=count)
        mean = truth[learned].mean()
        made[asked] = np.where(sizes, sums / np.maximum(1, sizes), mean)[places[asked]]
    return made


def r_squared(places: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> float:
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - _means(places, truth, fold)) ** 2).sum()) / spread if spread else 0.0


def ranking(places: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> float:
    """The area under the ROC curve of one class against the others, of the class where it is smallest."""
    classes = np.flatnonzero(np.bincount(truth) >= FOLDS)
    areas = [_area(_means(places, (truth == each).astype(float), fold), truth == each) for each in classes]
    return min(areas) if len(areas) > 1 else 0.0


def even_contradictions(places: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> float | None:
    """The share of the rows whose target is another than the commonest of their leaf in the other folds, where wrong
    labels alone can be the reason: they are few beside what the column explains, and as frequent in every leaf. None
    where they are not.

    That is so where sum (e - n r)² / (n r (1 - r)) over the L leaves of n rows, of which e are contradicted, stays
    under its mean of L - 1 by three of its standard deviations sqrt(2 (L - 1)) (Pearson's test of homogeneity), with r
    for all rows. A column that honestly tells much is contradicted where the classes meet; of numbers these may be as
    many leaves as there are classes after the first, and do not count.
    """
    classes = np.flatnonzero(np.bincount(truth))
    if len(classes) > MOST_CLASSES:
        return None
    means = np.stack([_means(places, (truth == each).astype(float), fold) for each in classes])
    is_wrong = classes[means.argmax(axis=0)] != truth
    share, rarer = float(is_wrong.mean()), 1 - np.bincount(truth).max() / len(truth)
    if not 0 < share <= UNEXPLAINED * rarer:
        return None
    sizes, errors = np.bincount(places), np.bincount(places, is_wrong)
    rates = np.where(sizes >= ROWS_OF_A_LEAF, errors / np.maximum(1, sizes), np.nan)
    meeting = len(classes) - 1 if len(sizes) > LEAVES // 2 else 0
    kept = np.argsort(rates)[: int((~np.isnan(rates)).sum()) - meeting]
    freedom, rows = len(kept) - 1, sizes[kept].sum()
    if freedom < 1 or rows < FEWEST_KEPT * len(truth):
        return None
    usual = errors[kept].sum() / rows
    if not 0 < usual <= MOST_WRONG:
        return None
    expected = sizes[kept] * usual
    spread = float((((errors[kept] - expected) ** 2) / (expected * (1 - usual))).sum())
    return share if spread <= freedom + 3 * (2 * freedom) ** 0.5 else None


def _area(scores: np.ndarray, is_it: np.ndarray) -> float:
    """By the ranks of the scores, equal ones in their middle (Mann and Whitney 1947)."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positive = int(is_it.sum())
    negative = len(is_it) - positive
    if not positive or not negative:
        return 0.0
    return float((ranks[is_it].sum() - positive * (positive + 1) / 2) / (positive * negative))


def warn_of_outliers(values: Values, columns: Sequence[Column], items: Items, findings: Findings) -> None:
    """Numbers far from all others: |x - median| > `FAR` * 1.4826 * median |x - median|, where so few are so far that
    it is no long tail."""
    shown, found, said = [], [], []
    for column in columns:
        if column.type != NUMERIC or len(values.rows) < MIN_ROWS:
            continue
        numbers = np.array([np.nan if (n := parse_number(v)) is None else n for v in values.by_column[column.name]])
        known = numbers[~np.isnan(numbers)]
        middle = float(np.median(known)) if len(known) else 0.0
        deviation = MAD_TO_DEVIATION * float(np.median(np.abs(known - middle))) if len(known) else 0.0
        if not deviation:
            continue
        far = np.flatnonzero(np.abs(numbers - middle) > FAR * deviation)
        if not 0 < len(far) <= max(1, RARE * len(known)):
            continue
        said.append(f'"{column.name}" ({len(far):,}, such as {numbers[far[0]]:g}; the median is {middle:g})')
        for place in far.tolist():
            row = int(values.rows[place])
            found.append(row)
            shown.append(items.shown(row, columns=[column.name]))
    if found:
        findings.add(
            "outliers",
            f"Numbers that are far from all others of their column: {describe(said)}.",
            total=len(set(found)),
            shown=shown,
            remedy=Remedy(leave_out=[items.ids[row] for row in sorted(set(found))]),
        )


def is_read(column: Column) -> bool:
    """Whether a model of tables reads it."""
    return column.type not in (IDENTIFIER, TEXT) and (column.type != CATEGORICAL or len(column.counts) > 1)
