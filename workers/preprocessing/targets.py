"""Which column of a table is to be predicted, and whether it can be. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from workers.contract import TABULAR_REGRESSION, ProgramFailure
from workers.preprocessing.columns import DATE, IDENTIFIER, TEXT, Column, shorten
from workers.preprocessing.limits import Limits
from workers.preprocessing.report import BadItems, describe

USUAL_NAMES = ("target", "label", "class", "y", "outcome")
NAMES_OF_TEXTS = (
    "text",
    "sentence",
    "message",
    "content",
    "body",
    "review",
    "comment",
    "question",
    "utterance",
    "query",
)
UNSUITABLE = {TEXT: "free text", IDENTIFIER: "an identifier that differs in every row", DATE: "dates"}


def choose_target(header: Sequence[str], wanted: str | None) -> str:
    """The wanted column, else one with a usual name, else the last that is not called as texts are. Raises
    ProgramFailure ``unknown_target``."""
    if wanted is not None:
        if wanted not in header:
            raise ProgramFailure(
                "unknown_target",
                f'The table has no column "{shorten(wanted, 60)}".',
                hint=f"Choose one of its columns: {describe(header)}.",
                blame="settings",
                field="target",
            )
        return wanted
    by_name = {name.lower(): name for name in reversed(header)}
    last = next((name for name in reversed(header) if name.lower() not in NAMES_OF_TEXTS), header[-1])
    return next((by_name[name] for name in USUAL_NAMES if name in by_name), last)


def no_rows(target: str, bad: BadItems) -> ProgramFailure:
    """Why not one row can be used."""
    if not bad.total:
        return ProgramFailure("no_rows", "The table has a header and no rows.", hint="Upload a table with data.")
    if bad.counts.get("missing_target", 0) == bad.total:
        return ProgramFailure(
            "target_all_missing",
            f'The target column "{target}" has no value in any of the {bad.total:,} rows.',
            hint="Choose another column as the target, or fill in this one.",
            field="target",
        )
    return ProgramFailure(
        "no_sound_rows",
        f"Not one row of the table can be used. {bad.first()}.",
        hint="Every row needs as many values as the header, and a value in the target column.",
    )


def check_target(column: Column, task: str, *, is_guess: bool, limits: Limits) -> None:
    """Raises ProgramFailure target_unsuitable, one_class, class_too_small or too_few_rows, naming the column."""
    if column.type in UNSUITABLE:
        raise unusable("target_unsuitable", column, f"it holds {UNSUITABLE[column.type]}", is_guess)
    if len(column.counts) == 1:
        only = shorten(next(iter(column.counts)), 60)
        raise unusable("one_class", column, f'all its values are "{only}"', is_guess)
    if task == TABULAR_REGRESSION:
        check_row_number(column, limits)
        return
    small = sorted((count, value) for value, count in column.counts.items() if count < limits.min_class_size)
    if small:
        few = describe([f"{shorten(value, 40)} ({count})" for count, value in small])
        detail = f"every class needs at least {limits.min_class_size} rows, and too few have {few}"
        raise unusable("class_too_small", column, detail, is_guess)


def check_row_number(column: Column, limits: Limits) -> None:
    if column.present < limits.min_class_size:
        raise ProgramFailure(
            "too_few_rows",
            f"The table has {column.present} rows that can be used; {limits.min_class_size} are needed.",
            hint="Upload a table with more rows.",
        )


def unusable(code: str, column: Column, detail: str, is_guess: bool) -> ProgramFailure:
    taken = "was taken as the target, but " if is_guess else "cannot be the target: "
    words = f' {column.non_numbers:,} of its values are not numbers, such as "{shorten(column.first_word, 40)}".'
    is_nearly_numeric = 0 < column.non_numbers <= 0.1 * column.present
    return ProgramFailure(
        code,
        f'The column "{column.name}" {taken}{detail}.{words if is_nearly_numeric else ""}',
        hint="Choose another column as the target, or mend the values of this one.",
        field="target",
    )
