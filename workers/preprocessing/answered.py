"""Tables of questions and their answers: which two columns they are, and what people should know of them before they
train. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from workers.contract import SPLITS
from workers.preprocessing.columns import CATEGORICAL, IDENTIFIER, TEXT, Column, shorten
from workers.preprocessing.findings import Findings
from workers.preprocessing.near_copies import near_copies
from workers.preprocessing.pairs import PairColumns, Pairs, Repeated
from workers.preprocessing.texts import describe_texts, warn_of_broken_letters

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


def warn_of_answered(pairs: Pairs, splits: Sequence[str], findings: Findings) -> None:
    """What makes a model worse, or its figures other than they seem."""
    _warn_of_form(pairs, findings)
    _warn_of_copies(pairs, splits, findings)
    _warn_of_answers(pairs, splits, findings)
    if (count := list(splits).count(SPLITS[0])) < FEW_QUESTIONS:
        findings.add(
            "few_questions",
            f"There are {count:,} questions to train on. Words will count for more than what is learned; ask each "
            "question in several ways.",
        )


def _warn_of_form(pairs: Pairs, findings: Findings) -> None:
    if empty := sum(not value for value in pairs.source.values):
        findings.add("empty_questions", f"Rows without a question, which are left out of training: {empty:,}.")
    long = [len(value) for value in pairs.target.values if len(value) > LONG_ANSWER]
    if long:
        findings.add(
            "long_answers",
            f"Answers of more than {LONG_ANSWER:,} characters: {len(long):,}; the longest has {max(long):,}. A model "
            "finds a short answer more surely, and people read it: cut them into parts.",
        )
    warn_of_broken_letters([*pairs.source.values, *pairs.target.values], findings)


def _warn_of_copies(pairs: Pairs, splits: Sequence[str], findings: Findings) -> None:
    """Of questions that are alike."""
    repeated = Repeated.of(pairs)
    if equal := repeated.equal:
        findings.add("repeated_questions", f"Rows with the question and the answer of an earlier one: {equal:,}.")
    if torn := repeated.torn:
        shown, most = repeated.most_torn()
        findings.add(
            "conflicting_answers",
            f'Questions that have several answers: {torn:,}, such as "{shorten(pairs.source.values[shown], 60)}" '
            f"with {most}. Each of them counts as right; keep one where they contradict each other.",
        )
    if crossing := repeated.crossing(splits):
        findings.add(
            "questions_across_splits",
            f"Questions that stand in more than one of train, val and test: {crossing:,}. Those that are trained on "
            "judge nothing.",
        )


def _warn_of_answers(pairs: Pairs, splits: Sequence[str], findings: Findings) -> None:
    counts = Counter(pairs.target.keys)
    once = sum(count == 1 for count in counts.values())
    if once and once < len(counts):
        findings.add(
            "rare_answers",
            f"Answers that a single question leads to: {once:,} of {len(counts):,}. Ask for each in some more ways.",
        )
    learned = {key for key, split in zip(pairs.target.keys, splits, strict=True) if split == SPLITS[0]}
    judging = [key for key, split in zip(pairs.target.keys, splits, strict=True) if split != SPLITS[0]]
    if unknown := sum(key not in learned for key in judging):
        findings.add(
            "answers_without_training",
            f"Held-out questions whose answer no training question leads to: {unknown:,} of {len(judging):,}. They are "
            "found by the words of the answer alone.",
        )
    different = dict(zip(reversed(pairs.target.keys), reversed(pairs.target.values), strict=True))
    if copies := near_copies(list(different.values())):
        one, other = copies[0]
        findings.add(
            "similar_answers",
            f'Answers that are almost like another: {len(copies):,}, such as "{shorten(one, 50)}" and '
            f'"{shorten(other, 50)}". Make one of them, or the model must choose.',
        )
