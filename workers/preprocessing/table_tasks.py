"""What the rows of a table are for: their task and their split, settled once all have been read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.contract import (
    ANSWER_RETRIEVAL,
    FORECASTING,
    RECOMMENDATION,
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
    PrepareSpec,
)
from workers.preprocessing.answered import describe_answered, warn_of_answered
from workers.preprocessing.columns import NUMERIC, Column, guess_task
from workers.preprocessing.findings import Findings
from workers.preprocessing.gathering import Gathered
from workers.preprocessing.interaction_warnings import warn_of_interactions
from workers.preprocessing.interactions import Interactions, describe_interactions, read_interactions, split_by_user
from workers.preprocessing.items import Items
from workers.preprocessing.limits import Limits
from workers.preprocessing.pair_warnings import warn_of_pairs
from workers.preprocessing.pairs import Pairs, describe_pairs, read_pairs
from workers.preprocessing.recipe import Recipe
from workers.preprocessing.recognising import About
from workers.preprocessing.series import TimedRows, describe_series, read_timed_rows, split_by_times
from workers.preprocessing.series_warnings import warn_of_series
from workers.preprocessing.splitting import Assignment, assign_splits, warn_of_split
from workers.preprocessing.targets import check_row_number, check_target
from workers.preprocessing.texts import Texts, describe_texts, find_text_column, read_texts, warn_of_texts

WITH_CLASSES = (TABULAR_CLASSIFICATION, TEXT_CLASSIFICATION)
Shown = Callable[[int], dict[str, Any]]  # what findings show of the row of a number


@dataclass(frozen=True)
class Study:
    """`task` and `splits`, and what was read of the rows beside their columns: one of the others at most."""

    task: str
    splits: Assignment
    about: About
    texts: Texts | None = None
    pairs: Pairs | None = None
    taken: Interactions | None = None
    series: TimedRows | None = None

    @property
    def split_source(self) -> str:
        return "time" if self.series and not self.splits.is_users else self.splits.source

    @property
    def needed(self) -> set[str | None]:
        """The columns beside the target that the task cannot do without."""
        return self.about.needed(is_series=self.series is not None)

    def to_index(self) -> dict[str, Any]:
        """As it stands in index.json."""
        return {
            "task": self.task,
            "split": self.splits.splits,
            "split_source": self.split_source,
            "text_column": self.texts.column if self.texts else None,
        } | self.about.to_index(is_series=self.series is not None)

    def to_report(self) -> dict[str, Any]:
        describe_both = describe_answered if self.task == ANSWER_RETRIEVAL else describe_pairs
        return {
            "task": self.task,
            "split_source": self.split_source,
            "text": describe_texts(self.texts) if self.texts else None,
            "pair": describe_both(self.pairs) if self.pairs else None,
            "interactions": describe_interactions(self.taken) if self.taken else None,
            "series": describe_series(self.series) if self.series else None,
        }


class Settling:
    """Settles what gathered rows, which stand in `path`, are for, and tells `findings` what the split and the task make
    of them."""

    def __init__(
        self, gathered: Gathered, path: Path, spec: PrepareSpec, recipe: Recipe, limits: Limits, findings: Findings
    ) -> None:
        self.gathered, self.path, self.spec = gathered, path, spec
        self.recipe, self.limits, self.findings = recipe, limits, findings

    def settle(self, about: About, target: Column, *, is_guess: bool) -> Study:
        """`is_guess` where nobody named the target. Raises ProgramFailure where it cannot be predicted."""
        if about.roles:
            taken = read_interactions(self.path, about.roles)
            return Study(RECOMMENDATION, self._split_taken(taken), about, taken=taken)
        if about.pair:
            task = ANSWER_RETRIEVAL if about.is_answered else TRANSLATION
            pairs = read_pairs(self.path, about.pair)
            check_row_number(target, self.limits)
            return Study(task, self._split_pairs(pairs, task), about, pairs=pairs)
        is_series = about.timed and target.type == NUMERIC
        if is_series and (series := read_timed_rows(self.path, about.timed)):
            return Study(FORECASTING, self._split_timed(series), about, series=series)
        return self._settle_rows(about, target, is_guess)

    def _settle_rows(self, about: About, target: Column, is_guess: bool) -> Study:
        task = task_of(target, self.recipe)
        check_target(target, task, is_guess=is_guess, limits=self.limits)
        column = find_text_column(self.gathered.columns, target.name) if task == TABULAR_CLASSIFICATION else None
        if not column:
            splits, _items = self._split_rows(task, self.gathered.keys, numbered)
            return Study(task, splits, about)
        texts = read_texts(self.path, column)
        splits, items = self._split_rows(TEXT_CLASSIFICATION, texts.keys, texts.shown)
        warn_of_texts(texts, items, self.findings)
        return Study(TEXT_CLASSIFICATION, splits, about, texts=texts)

    def _split_pairs(self, pairs: Pairs, task: str) -> Assignment:
        splits, items = self._split_rows(task, pairs.keys, pairs.shown)
        (warn_of_answered if task == ANSWER_RETRIEVAL else warn_of_pairs)(pairs, items, self.findings)
        return splits

    def _split_rows(self, task: str, keys: Sequence[str], shown: Shown) -> tuple[Assignment, Items]:
        """Stratified by the target where it is a class; rows of equal `keys` stay together."""
        labels = self.gathered.targets if task in WITH_CLASSES else [""] * len(keys)
        splits = assign_splits(labels, keys, self.gathered.given, self.spec.split_fractions, self.spec.seed)
        return self._told(splits.as_before(self.recipe.split_source), labels, shown, has_classes=task in WITH_CLASSES)

    def _split_taken(self, taken: Interactions) -> Assignment:
        """The last items of each user are for the test."""
        splits = split_by_user(taken, self.gathered.given, self.spec.split_fractions, self.spec.seed)
        splits, items = self._told(splits.as_before(self.recipe.split_source), None, taken.shown, has_classes=False)
        warn_of_interactions(taken, items, self.findings)
        return splits

    def _told(
        self, splits: Assignment, labels: Sequence[str] | None, shown: Shown, *, has_classes: bool
    ) -> tuple[Assignment, Items]:
        items = self._items(splits, labels, shown)
        warn_of_split(items, self.gathered.given, splits, self.findings, "rows", has_classes=has_classes)
        return splits, items

    def _split_timed(self, series: TimedRows) -> Assignment:
        """The last part of time is for the test, whatever the seed."""
        splits = split_by_times(series, self.gathered.given, self.spec.split_fractions, self.findings)
        splits = splits.as_before(self.recipe.split_source)
        for split in splits.carved:
            count = splits.splits.count(split)
            self.findings.add(
                f"{split}_carved", f"There was no {split} part; the last rows of train were taken for it: {count:,}."
            )
        warn_of_series(series, self._items(splits, None, series.shown), self.findings)
        return splits

    def _items(self, splits: Assignment, labels: Sequence[str] | None, shown: Shown) -> Items:
        ids = self.gathered.ids
        return Items(ids, [""] * len(ids) if labels is None else labels, splits.splits, shown)


def task_of(target: Column, recipe: Recipe) -> str:
    """A version that was made from another is for the same task, however few of its values are left."""
    if recipe.task == TABULAR_CLASSIFICATION or (recipe.task == TABULAR_REGRESSION and target.type == NUMERIC):
        return recipe.task
    return guess_task(target)


def numbered(number: int) -> dict[str, Any]:
    """What findings show of a row without texts of its own is filled in at the end, by its number (`fill_rows`)."""
    return {"number": number}
