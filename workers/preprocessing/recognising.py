"""What a table is about, by the names of its columns and its first rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from workers.contract import ANSWER_RETRIEVAL, FORECASTING, RECOMMENDATION, TRANSLATION
from workers.interactions import Roles
from workers.preprocessing.answered import find_answered
from workers.preprocessing.cleaning import clean_value
from workers.preprocessing.columns import Column
from workers.preprocessing.interactions import suggest_roles
from workers.preprocessing.limits import Limits
from workers.preprocessing.pairs import PairColumns, find_pair
from workers.preprocessing.recipe import Recipe
from workers.preprocessing.report import BadItems
from workers.preprocessing.series import suggest_columns
from workers.preprocessing.table_parts import Part
from workers.preprocessing.targets import choose_target
from workers.series.columns import SeriesColumns

PEEKED_ROWS = 5_000


@dataclass(frozen=True)
class About:
    """What the columns of a table say that it is about: who took what (`roles`), questions and answers or texts and
    translations (`pair`, and `is_answered` tells these apart), values over time (`timed`), or none of these."""

    roles: Roles | None = None
    pair: PairColumns | None = None
    is_answered: bool = False
    timed: SeriesColumns | None = None

    def target(self, header: Sequence[str], wanted: str | None) -> str:
        """Raises ProgramFailure."""
        if self.roles:
            return self.roles.rating or self.roles.item
        found = self.pair or self.timed
        return found.target if found else choose_target(header, wanted)

    def needed(self, *, is_series: bool) -> set[str | None]:
        """The columns beside the target that what it is about needs; `is_series` where its values are numbers."""
        if self.roles:
            return set(self.roles.to_dict().values())
        if self.pair:
            return set(vars(self.pair).values())
        return {self.timed.time} if self.timed and is_series else set()

    def to_index(self, *, is_series: bool) -> dict[str, Any]:
        """As it stands in index.json."""
        return {
            "pair": vars(self.pair) if self.pair else None,
            "interactions": self.roles.to_dict() if self.roles else None,
            "series": self.timed.to_dict() if self.timed and is_series else None,
        }


def recognise(part: Part, header: Sequence[str], wanted: str | None, recipe: Recipe, limits: Limits) -> About:
    """By the names of the columns and the first rows."""
    if recipe.may_be(RECOMMENDATION) and (roles := suggest_roles(header, wanted, part.columns(header, limits))):
        return About(roles=roles)
    answered, pair = peek_for_pair(part, header, wanted, recipe, limits)
    if answered or pair:
        return About(pair=answered or pair, is_answered=answered is not None)
    if recipe.may_be(FORECASTING):
        return About(timed=suggest_columns(header, wanted, part.columns(header, limits)))
    return About()


def peek_for_pair(
    part: Part, header: Sequence[str], wanted: str | None, recipe: Recipe, limits: Limits
) -> tuple[PairColumns | None, PairColumns | None]:
    """The columns of questions and answers, and those of texts and translations, by the first rows, where the table is
    about one of these: rows without a target are bad, so it must be known before they are read."""
    rows = [[clean_value(value) for value in row] for _line, row in islice(part.rows(limits, BadItems(0)), PEEKED_ROWS)]
    columns = [Column(name, PEEKED_ROWS) for name in part.table.header]
    for column, values in zip(columns, zip(*rows, strict=True), strict=bool(rows)):
        column.add(values)
    kept = [column for column in columns if column.name in header]
    answered = find_answered(kept, wanted) if recipe.may_be(ANSWER_RETRIEVAL) else None
    return answered, find_pair(kept, wanted) if recipe.may_be(TRANSLATION) else None
