"""Tables of questions and their answers: which two columns they are, and what people should know of them before they
train. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from workers.contract import SPLITS
from workers.preprocessing.columns import CATEGORICAL, IDENTIFIER, TEXT, Column, shorten
from workers.preprocessing.doctor.near_copies import near_texts
from workers.preprocessing.findings import Findings, Remedy
from workers.preprocessing.items import Items, tell_repeated, tell_some
from workers.preprocessing.pair_warnings import Repeated, tell_several, tell_sources_across_splits
from workers.preprocessing.pairs import PairColumns, Pairs
from workers.preprocessing.texts import LOOKED_AT, describe_texts, warn_of_broken_letters, warn_of_near_texts

USUAL_COLUMNS = (
    ("question", "answer"), ("questions", "answers"), ("question", "answers"), ("q", "a"), ("query", "answer"),
    ("question", "response"), ("question", "reply"), ("prompt", "response"), ("instruction", "response"),
    ("query", "response"), ("query", "passage"), ("question", "passage"), ("问题", "答案"), ("问题", "回答"),
    ("問題", "答案"), ("frage", "antwort"), ("pregunta", "respuesta"), ("вопрос", "ответ"), ("質問", "回答"),
)  # fmt: skip
ANSWER_CHARACTERS = 12  # shorter ones, few of which are different, are classes such as "billing"
MOSTLY_DIFFERENT = 0.3
LONG_ANSWER = 2_000
FEW_QUESTIONS = 100
ALIKE_ANSWERS = 0.7  # Jaccard similarity of runs of characters: one word in a dozen differs


def find_answered(columns: Sequence[Column], wanted: str | None) -> PairColumns | None:
    """The columns of questions and answers, by their names. `wanted` is the column to predict, where somebody has said
    it. None in a table that is about something else."""
    named = {column.name.strip().lower(): column for column in columns}
    for question, answer in USUAL_COLUMNS:
        if question in named and answer in named and _are_answers(named[answer]) and _is_written(named[question]):
            found = PairColumns(named[question].name, named[answer].name)
            return found if wanted in (None, found.target) else None
    return None


def _is_written(column: Column) -> bool:
    return column.type in (TEXT, IDENTIFIER, CATEGORICAL) and not column.numbers


def _are_answers(column: Column) -> bool:
    """Whether these are sentences, however often each is given, and not the names of a few classes."""
    is_told = column.mean_characters >= ANSWER_CHARACTERS or column.unique_share > MOSTLY_DIFFERENT
    return _is_written(column) and is_told


def describe_answered(pairs: Pairs) -> dict[str, Any]:
    """For people: both sides, and how many different answers there are."""
    return {
        "source": describe_texts(pairs.source),
        "target": describe_texts(pairs.target),
        "answers": len(set(pairs.target.keys)),
    }


def warn_of_answered(pairs: Pairs, items: Items, findings: Findings) -> None:
    """What makes a model worse, or its figures other than they seem."""
    _warn_of_form(pairs, items, findings)
    _warn_of_copies(pairs, items, findings)
    warn_of_near_texts(pairs.source, items, "questions", findings)
    _warn_of_answers(pairs, items, findings)
    _warn_of_similar_answers(pairs, items, findings)
    if (count := list(items.splits).count(SPLITS[0])) < FEW_QUESTIONS:
        findings.add(
            "few_questions",
            f"There are {count:,} questions to train on. Words will count for more than what is learned; ask each "
            "question in several ways.",
        )


def _warn_of_form(pairs: Pairs, items: Items, findings: Findings) -> None:
    empty = [number for number, value in enumerate(pairs.source.values) if not value]
    message = f"Rows without a question, which are left out of training: {len(empty):,}."
    tell_some(empty, items, "empty_questions", message, findings)
    echoed = [number for number, key in enumerate(pairs.keys) if key and key == pairs.target.keys[number]]
    if echoed:
        shown = shorten(pairs.source.values[echoed[0]], 60)
        message = f'Answers that say what the question says, and nothing more: {len(echoed):,}, such as "{shown}".'
        tell_some(echoed, items, "echoed_questions", message, findings)
    long = [number for number, value in enumerate(pairs.target.values) if len(value) > LONG_ANSWER]
    longest = max(map(len, pairs.target.values), default=0)
    message = (
        f"Answers of more than {LONG_ANSWER:,} characters: {len(long):,}; the longest has {longest:,}. A model finds a "
        "short answer more surely, and people read it: cut them into parts."
    )
    tell_some(long, items, "long_answers", message, findings)
    warn_of_broken_letters([pairs.source.values, pairs.target.values], items, findings)


def _warn_of_copies(pairs: Pairs, items: Items, findings: Findings) -> None:
    """Of questions that are alike."""
    repeated = Repeated.of(pairs)
    equal, torn = repeated.equal, repeated.torn
    message = f"Rows with the question and the answer of an earlier one: {len(equal):,}."
    tell_repeated(equal, items, "repeated_questions", message, findings)
    if torn:
        most = max(torn, key=len)
        shown = shorten(pairs.source.values[most[0]], 60)
        message = (
            f'Questions that have several answers: {len(torn):,}, such as "{shown}" with {len(most)}. '
            "Each of them counts as right; keep one where they contradict each other."
        )
        tell_several(repeated, items, "conflicting_answers", message, findings)
    tell_sources_across_splits(repeated, items, "questions_across_splits", "Questions", findings)


def _warn_of_answers(pairs: Pairs, items: Items, findings: Findings) -> None:
    keys = pairs.target.keys
    counts = Counter(keys)
    once = [number for number, key in enumerate(keys) if counts[key] == 1]
    if len(once) < len(counts):
        few = f"{len(once):,} of {len(counts):,}"
        message = f"Answers that a single question leads to: {few}. Ask for each in some more ways."
        tell_some(once, items, "rare_answers", message, findings)
    learned = {key for key, split in zip(keys, items.splits, strict=True) if split == SPLITS[0]}
    judging = [number for number, split in enumerate(items.splits) if split != SPLITS[0]]
    unknown = [number for number in judging if keys[number] not in learned]
    if unknown:
        findings.add(
            "answers_without_training",
            f"Held-out questions whose answer no training question leads to: {len(unknown):,} of {len(judging):,}. "
            "They are found by the words of the answer alone.",
            total=len(unknown),
            shown=items.some(unknown),
            remedy=Remedy(leave_out=items.named(unknown), move={items.ids[number]: SPLITS[0] for number in unknown}),
        )


def _warn_of_similar_answers(pairs: Pairs, items: Items, findings: Findings) -> None:
    """Of different answers that are nearly equal, in a sample of many: each can become the first of those like it."""
    rows: dict[str, list[int]] = defaultdict(list)
    for number, key in enumerate(pairs.target.keys):
        rows[key].append(number)
    different = list(rows.values())
    step = 1 + (len(different) - 1) // LOOKED_AT
    asked = different[::step]
    values = pairs.target.values
    near = near_texts([values[numbers[0]] for numbers in asked], ALIKE_ANSWERS)
    groups = [[asked[place] for place in group] for group in near]
    if not groups:
        return
    later = [(number, group[0][0]) for group in groups for numbers in group[1:] for number in numbers]
    shown = [[group[0][0], *(number for numbers in group[1:] for number in numbers)] for group in groups]
    count = sum(len(group) - 1 for group in groups)
    one, other = (shorten(values[numbers[0]], 50) for numbers in groups[0][:2])
    findings.add(
        "similar_answers",
        f'Answers that are almost like another: {count:,}, such as "{one}" and "{other}". Make one of them, or the '
        "model must choose.",
        total=len(later),
        shown=items.some_groups(shown),
        remedy=Remedy(relabel={items.ids[number]: values[first] for number, first in later}),
        sampled="" if step == 1 else f"{len(asked):,} of {len(different):,} different answers were compared.",
    )
