"""What a check found in data that can be used: findings with what they may cost and what can be done about them.

A finding stands in ``report.json`` as ``{"key", "code", "severity", "message", "cost", "total", "items", "actions",
"part", "sampled"}``: `key` is the code and, where one code may be found of several things, which of them it is about;
`items` are the first of them as people see them, `total` counts all, `actions` are of `ACTIONS` with how many each
changes, `part` is where all that is moved goes to, and `sampled` says which part of the data was looked at, where it
was not all of it. ``findings.json`` has for each key the whole of what its actions change (`Remedy`), for the recipe of
the next version (workers/preprocessing/recipe.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

LEAVE_OUT, RELABEL, MOVE, DROP = "leave_out", "relabel", "move", "drop"
ACTIONS = (LEAVE_OUT, RELABEL, MOVE, DROP)
SERIOUS, WARNING, NOTE = "serious", "warning", "note"

SHOWN_ITEMS = 24
KEPT_ITEMS, KEPT_CHARACTERS = 100_000, 5_000_000  # what a recipe holds of one finding

SERIOUS_CODES = frozenset({
    "duplicate_across_splits", "texts_across_splits", "near_copies_across_splits", "sources_across_splits",
    "questions_across_splits",
    "interactions_across_splits", "speakers_across_splits", "target_leakage", "label_errors", "class_missing_in_split",
})  # fmt: skip
NOTE_CODES = frozenset({
    "val_carved", "test_carved", "sheets_left_out", "several_scripts", "identifier_column", "outliers", "long_texts",
    "long_audio",
    "many_translations", "popular_items", "sparse_interactions", "rare_answers", "long_answers", "rare_labels",
    "no_label_at_all", "constant_series",
})  # fmt: skip

LEAKS = "The model knows these when it is tested, so its figures will be better than it is with new data."
# What a finding may cost, where the one who reports it does not say it with numbers.
COSTS = {
    "questions_across_splits": LEAKS,
    "empty_questions": "There is nothing to learn from them.",
    "few_questions": "What is meant by other words than those of the data is hardly found.",
    "long_answers": "Much stands in them that was not asked for, and it makes the right one harder to find.",
    "rare_answers": "What was asked in one way is hardly recognised when it is asked in another.",
    "similar_answers": "Either of two is counted as wrong where the other one was written down.",
    "conflicting_answers": "Nobody can say which of them a model will give.",
    "repeated_questions": "They count several times in training.",
    "answers_without_training": "A question about them is judged, and was never learned from.",
    "unreadable_times": "They are not learned from.",
    "repeated_times": "What happened at such a time is known only roughly.",
    "irregular_times": "What lies between two steps is guessed, and a forecast says only what comes at whole steps.",
    "missing_times": "What is filled in is a guess, and a model learns from it as from the rest.",
    "short_series": "They are hardly learned from, and forecast by what the others do.",
    "constant_series": "They teach nothing, and their forecasts are always the same.",
    "outlying_values": "They widen the ranges, and bend the forecasts of the times after them.",
    "split_not_by_time": "A model that was tested on times before those it learned from is worse than its figures.",
    "empty_transcripts": "They are not learned from.",
    "long_transcripts": "What is written there was hardly said, so it would teach nonsense.",
    "unlike_rates": "Where a transcript says more or less than is heard, a model learns to make things up.",
    "digits_in_transcripts": "One sound is written in several ways, and no model can know which is meant.",
    "marks_in_transcripts": "A model learns to write what nobody has said.",
    "rare_characters": "A model that never learns them is wrong wherever they stand.",
    "little_speech": "Of other sentences, voices and rooms the model will write much that is wrong.",
    "transcripts_across_splits": LEAKS,
    "rare_labels": "From so few a label is hardly learned, and its figures are uncertain.",
    "no_label_at_all": "Right where these show none of it; else a model learns to say too little.",
    "label_missing_in_split": "Of this label nothing is measured there, or nothing is learned.",
    "duplicate_across_splits": LEAKS,
    "texts_across_splits": LEAKS,
    "near_copies_across_splits": LEAKS,
    "sources_across_splits": LEAKS,
    "speakers_across_splits": LEAKS,
    "interactions_across_splits": "What is learned is asked again, so the figures would be too good.",
    "repeated_pairs": "They count several times in training, and a model leans towards them.",
    "many_translations": "A right translation can count as wrong.",
    "empty_sources": "There is nothing to learn from them.",
    "untranslated": "A model learns to leave texts as they are.",
    "unlike_lengths": "Where the sides do not belong together a model learns to make things up.",
    "long_pairs": "What is cut off is neither learned from nor translated.",
    "wrong_language": "A model learns to write the wrong language, or to copy.",
    "few_pairs": "A model that knows so few will hardly translate other sentences.",
    "missing_user_or_item": "They are not learned from.",
    "short_histories": "Their figures are uncertain, or there are none.",
    "rare_items": "From so few nobody can say who would like them.",
    "busy_users": "What they took is taken for what people like.",
    "strange_times": "What somebody took last is tested; with wrong times it is something else.",
    "popular_items": "A model that always names these few looks good, and tells nobody anything new.",
    "sparse_interactions": "Little is known about each, so that what is popular is hard to beat.",
    "repeated_interactions": "What is counted is not how many different things somebody took.",
    "ratings_no_numbers": "They are not learned from.",
    "ratings_constant": "Nothing can be learned about what somebody likes more.",
    "ratings_out_of_scale": "What lies so far off bends every rating that is predicted.",
    "ratings_are_counts": "A few large counts outweigh all others.",
    "several_names": "People may see another name than the one they know.",
    "same_but_for_case": "What is known of one is told apart into several, and each is known less.",
    "unlike_numbers": "A model learns to write other numbers than those that it reads.",
    "echoed_questions": "A model says the question again in place of an answer.",
    "imbalanced_classes": "A model that hardly ever names the small ones looks good by its accuracy.",
    "duplicates": "Copies count several times in training, and a model leans towards them.",
    "repeated_texts": "Copies count several times in training, and a model leans towards them.",
    "similar_texts": "They count several times in training, and a model leans towards them.",
    "near_copies": "They count several times in training, and a model leans towards them.",
    "conflicting_labels": "No model can be right about all of them.",
    "texts_with_two_labels": "No model can be right about all of them.",
    "class_missing_in_split": "Of this class nothing is measured there, or nothing is learned.",
    "val_carved": "A little less to train on; without it the best epoch could not be chosen.",
    "test_carved": "A little less to train on; without it nothing would say how good a model is.",
    "sheets_left_out": "What stands there is not learned from; if it is data, upload it as a file of its own.",
    "split_unclear": "They are learned from and judge nothing.",
    "empty_column": "It teaches nothing and is not used.",
    "constant_column": "It teaches nothing and is not used.",
    "nearly_empty_column": "What a model learns from so few values hardly holds for others.",
    "identifier_column": "It names rows and says nothing about them; a model of tables does not read it.",
    "almost_numeric": "A model reads its values as words and does not know which is larger.",
    "outliers": "A few such values can bend what a linear model learns; trees hardly mind.",
    "empty_texts": "There is nothing to learn from them.",
    "long_texts": "What stands behind the beginning is not read.",
    "broken_letters": "A model takes these for words of their own, and does not know them when they are asked well.",
    "several_scripts": "Each script has to be learned from its own part of the texts.",
    "other_script": "What is learned from the others hardly helps with them.",
    "small_classes": "From so few a class is hardly learned, and its figures are uncertain.",
    "silent_audio": "There is nothing to learn from them but silence.",
    "clipped_audio": "Their loud parts are distorted, and sound unlike the same words said softly.",
    "short_audio": "There may be too little to hear.",
    "long_audio": "The rest of them is not learned from.",
    "mixed_rates": "A model may learn from what machine a recording came.",
}


@dataclass(frozen=True)
class Remedy:
    """Everything that the actions of one finding change: items that can be left out, the label or the part of the split
    for each item that can get another, and columns that can be dropped. `groups` are what is shown in place of many
    items, such as a user for all rows of that user: the items of each, by its id. `relabel` gives values of `column`,
    where that is not the target."""

    leave_out: Sequence[str] = ()
    relabel: Mapping[str, str] = field(default_factory=dict)
    move: Mapping[str, str] = field(default_factory=dict)
    drop: Sequence[str] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    column: str = ""

    def kept(self) -> Remedy:
        """What a recipe holds of it: of millions of items the first."""
        return Remedy(
            list(islice(self.leave_out, KEPT_ITEMS)),
            _first(self.relabel),
            _first(self.move),
            list(self.drop),
            {name: list(islice(items, self.kept_of_a_group)) for name, items in self.groups.items()},
            self.column,
        )

    @property
    def kept_of_a_group(self) -> int:
        """How many items of a group a recipe holds, where somebody chooses it alone."""
        return KEPT_ITEMS // max(1, len(self.groups))

    def actions(self) -> dict[str, int]:
        """How many items or columns each action changes."""
        return {action: len(getattr(self, action)) for action in ACTIONS if getattr(self, action)}

    @property
    def part(self) -> str:
        """Where all that is moved goes to; "" where that differs."""
        parts = set(self.move.values())
        return parts.pop() if len(parts) == 1 else ""

    def to_json(self) -> dict[str, Any]:
        """As it stands in findings.json."""
        more = {"groups": dict(self.groups), "column": self.column}
        return {action: getattr(self, action) for action in ACTIONS} | {key: each for key, each in more.items() if each}


def _first(changes: Mapping[str, str]) -> dict[str, str]:
    """As many changes of items as `KEPT_ITEMS` and `KEPT_CHARACTERS` let through."""
    found, room = {}, KEPT_CHARACTERS
    for item, value in islice(changes.items(), KEPT_ITEMS):
        room -= len(value)
        if room < 0:
            break
        found[item] = value
    return found


NOTHING = Remedy()


def key_of(code: str, about: str) -> str:
    """Equal in all versions for findings of one kind about the same thing, whatever else is found."""
    return f"{code}-{hashlib.sha256(about.encode('utf-8', 'replace')).hexdigest()[:8]}" if about else code


@dataclass
class Findings:
    """Collects findings in the order in which they are made."""

    items: list[dict[str, Any]] = field(default_factory=list)
    remedies: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(
        self, code: str, message: str, *, about: str = "", cost: str = "", total: int = 0,
        shown: Sequence[dict[str, Any]] = (), remedy: Remedy = NOTHING, sampled: str = "",
    ) -> None:  # fmt: skip
        """`about` tells findings of one code apart, such as by the column that each names. `shown` are items for
        people, of which the first are kept: ``{"id", "label", "split", "suggested", "text", "row", "number",
        "stays"}``, each with what it has; `number` is the place of an image or recording, which `picture` gets a file
        for, and what `stays` is shown beside the others and never changed. Raises ValueError where there is such a
        finding."""
        key, kept = key_of(code, about), remedy.kept()
        if any(item["key"] == key for item in self.items):
            raise ValueError(f"two findings {key}: say what each is about")
        if kept.actions() != remedy.actions():
            sampled = f"{sampled} One version changes no more than a button says; the next one can change the rest."
        if any(len(items) > remedy.kept_of_a_group for items in remedy.groups.values()):
            sampled = f"{sampled} Of each that is ticked alone these are {remedy.kept_of_a_group:,} at most."
        self.items.append({
            "key": key,
            "code": code,
            "severity": SERIOUS if code in SERIOUS_CODES else NOTE if code in NOTE_CODES else WARNING,
            "message": message,
            "cost": cost or COSTS.get(code, ""),
            "total": total or sum("stays" not in item for item in shown),
            "items": [dict(item) for item in shown[:SHOWN_ITEMS]],
            "actions": kept.actions(),
            "part": kept.part,
            "sampled": sampled.lstrip(),
        })  # fmt: skip
        if kept.actions():
            self.remedies[key] = kept.to_json()

    def shown_items(self) -> Iterator[dict[str, Any]]:
        """The items of all findings that are images or recordings and still need a file to be seen by."""
        return (item for finding in self.items for item in finding["items"] if "number" in item)

    def ordered(self) -> list[dict[str, Any]]:
        """The serious ones first; else in the order they were made."""
        order = (SERIOUS, WARNING, NOTE)
        return sorted(self.items, key=lambda item: order.index(item["severity"]))
