"""How people see what a check found: titles, pictures and buttons. Pure."""

from dataclasses import dataclass, field
from typing import Any

from django.template.defaultfilters import floatformat
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, ngettext_lazy

from apps.datasets.models import DatasetVersion
from workers.contract import LABEL_SEPARATOR, MULTI_LABEL_IMAGES, SPLITS

TITLES = {
    "label_errors": _("Labels that are probably wrong"),
    "target_leakage": _("A column gives the answer away"),
    "duplicates": _("Copies"),
    "duplicate_across_splits": _("Copies in several parts of the split"),
    "conflicting_labels": _("The same, labelled differently"),
    "near_copies": _("Nearly equal items"),
    "near_copies_across_splits": _("Nearly equal items in several parts of the split"),
    "repeated_texts": _("Repeated texts"),
    "similar_texts": _("Texts that differ in case or marks alone"),
    "texts_across_splits": _("Texts in several parts of the split"),
    "texts_with_two_labels": _("Texts with several labels"),
    "imbalanced_classes": _("Classes of very different size"),
    "small_classes": _("Small classes"),
    "class_missing_in_split": _("A class is missing in a part of the split"),
    "val_carved": _("Validation data taken out of training"),
    "test_carved": _("Test data taken out of training"),
    "sheets_left_out": _("Sheets that were not read"),
    "split_unclear": _("Items that stood in no part"),
    "empty_column": _("Empty columns"),
    "constant_column": _("Columns with one value"),
    "nearly_empty_column": _("A nearly empty column"),
    "identifier_column": _("Columns that name the rows"),
    "almost_numeric": _("Nearly a column of numbers"),
    "outliers": _("Numbers far from all others"),
    "empty_texts": _("Rows without a text"),
    "long_texts": _("Very long texts"),
    "broken_letters": _("Broken letters"),
    "several_scripts": _("Several scripts"),
    "other_script": _("Another script"),
    "silent_audio": _("Silence"),
    "clipped_audio": _("Recordings that are too loud"),
    "short_audio": _("Very short recordings"),
    "long_audio": _("Long recordings"),
    "mixed_rates": _("Different numbers of samples a second"),
    "speakers_across_splits": _("Speakers in several parts of the split"),
    "sources_across_splits": _("Texts in several parts of the split"),
    "interactions_across_splits": _("Pairs in several parts of the split"),
    "repeated_pairs": _("Repeated pairs"),
    "many_translations": _("Several translations"),
    "empty_sources": _("Pairs without a text"),
    "untranslated": _("Not translated"),
    "long_pairs": _("Very long pairs"),
    "unlike_lengths": _("Sides of very different length"),
    "unlike_numbers": _("Other numbers on the two sides"),
    "few_pairs": _("Few pairs"),
    "wrong_language": _("The language of the other side"),
    "short_histories": _("Users with few rows"),
    "rare_items": _("Items with few rows"),
    "busy_users": _("Users with far more rows than others"),
    "strange_times": _("Times that cannot be true"),
    "popular_items": _("A few items have most rows"),
    "sparse_interactions": _("Few pairs are known"),
    "repeated_interactions": _("Repeated interactions"),
    "missing_user_or_item": _("Rows without a user or an item"),
    "ratings_no_numbers": _("Ratings that are no numbers"),
    "ratings_constant": _("All ratings are equal"),
    "ratings_out_of_scale": _("Ratings beyond their scale"),
    "ratings_are_counts": _("Ratings that look like counts"),
    "unreadable_times": _("Times that cannot be read"),
    "several_names": _("Items with several names"),
    "same_but_for_case": _("Names that differ in case or blanks alone"),
    "repeated_times": _("Several rows for one time"),
    "irregular_times": _("Times that are not in equal steps"),
    "missing_times": _("Steps without a row"),
    "short_series": _("Short series"),
    "constant_series": _("Series that never change"),
    "outlying_values": _("Values far from the rest of their series"),
    "split_not_by_time": _("The data were split anew by time"),
    "rare_labels": _("Labels of few images"),
    "no_label_at_all": _("Images without a label"),
    "label_missing_in_split": _("A label is missing in a part of the split"),
    "empty_transcripts": _("Recordings without a transcript"),
    "long_transcripts": _("Transcripts too long for their recordings"),
    "unlike_rates": _("Transcripts that do not fit their recordings"),
    "digits_in_transcripts": _("Digits in transcripts"),
    "marks_in_transcripts": _("Marks that nobody says"),
    "rare_characters": _("Rare characters"),
    "little_speech": _("Little speech"),
    "transcripts_across_splits": _("Sentences in several parts of the split"),
    "empty_questions": _("Rows without a question"),
    "echoed_questions": _("Answers that repeat the question"),
    "few_questions": _("Few questions"),
    "long_answers": _("Very long answers"),
    "rare_answers": _("Answers that few questions lead to"),
    "similar_answers": _("Answers that are almost alike"),
    "repeated_questions": _("Repeated questions"),
    "conflicting_answers": _("Questions with several answers"),
    "questions_across_splits": _("Questions in several parts of the split"),
    "answers_without_training": _("Answers that are never learned"),
}
RELABELS = {
    "rare_labels": _("Take these labels off"),
    "marks_in_transcripts": _("Take the marks out"),
    "similar_answers": _("Give all that are alike the first answer"),
    "several_names": _("Give each item its first name"),
    "same_but_for_case": _("Make one of those that are alike"),
}
SERIOUS = "serious"
ICONS = {SERIOUS: "ti-alert-octagon", "warning": "ti-alert-triangle", "note": "ti-info-circle"}
SPLIT_NAMES = dict(zip(SPLITS, (_("training"), _("validation"), _("test")), strict=True))
ROWS, FILES = ngettext_lazy("%(n)s row", "%(n)s rows", "count"), ngettext_lazy("%(n)s file", "%(n)s files", "count")
ACTION_ICONS = {"leave_out": "ti-trash", "relabel": "ti-tag", "move": "ti-arrows-split", "drop": "ti-columns-off"}


@dataclass(frozen=True)
class Button:
    """What a click does, to everything that the finding names."""

    action: str
    icon: str
    label: str


@dataclass(frozen=True)
class Item:
    """One item of a finding: hashes of its picture and of its sound where it has them, else its text or its values."""

    id: str
    label: str
    suggested: str
    split: str
    picture: str
    audio: str
    text: str
    row: list[tuple[str, str]]
    likely: float | None = None
    stays: bool = False

    @property
    def is_seen(self) -> bool:
        """Whether there is more to see than its name."""
        return bool(self.picture or self.audio or self.text or self.row)


@dataclass(frozen=True)
class Finding:
    """One finding as the page shows it."""

    key: str
    code: str
    title: str
    severity: str
    icon: str
    message: str
    cost: str
    total: int
    sampled: str
    is_kept: bool
    items: list[Item] = field(default_factory=list)
    buttons: list[Button] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """The names over the values of its rows."""
        return [name for name, _value in self.items[0].row] if self.items else []

    @property
    def shown(self) -> int:
        """How many of its items are shown; those that stay as they are do not count."""
        return sum(not item.stays for item in self.items)

    @property
    def has_parts(self) -> bool:
        """Whether its items are rows or files; users or series, for all rows of theirs, stand in no part."""
        return any(item.split for item in self.items)

    @property
    def has_suggestions(self) -> bool:
        return any(item.suggested for item in self.items)

    @property
    def has_labels(self) -> bool:
        return any(item.label for item in self.items)

    @property
    def tells_apart(self) -> bool:
        """Whether the page says before each item whether it can be chosen, or stays."""
        return self.can_choose or any(item.stays for item in self.items)

    @property
    def can_choose(self) -> bool:
        """Whether an action can be taken on some items alone."""
        return self.total > 1 and self.shown > 0 and any(button.action != "drop" for button in self.buttons)


def title_of(code: str) -> str:
    """The title of a finding, by its code or key."""
    return str(TITLES.get(code) or TITLES.get(code.rpartition("-")[0]) or code.replace("_", " ").capitalize())


def shown_findings(version: DatasetVersion) -> list[Finding]:
    """The findings of a version, those that were let be last."""
    found = [_shown(version, each) for each in version.report.get("findings") or version.report.get("warnings") or ()]
    return sorted(found, key=lambda finding: finding.is_kept)


def _shown(version: DatasetVersion, found: dict[str, Any]) -> Finding:
    severity, actions = found.get("severity", "warning"), found.get("actions", {})
    key, total = found.get("key", found["code"]), found.get("total", 0)
    return Finding(
        key,
        found["code"],
        title_of(found["code"]),
        severity,
        ICONS[severity],
        found["message"],
        found.get("cost", ""),
        total,
        found.get("sampled", ""),
        key in version.kept,
        [_item(version, item) for item in found.get("items", ())],
        [_button(version.kind, found, action, actions[action]) for action in ACTION_ICONS if action in actions],
    )


def _item(version: DatasetVersion, item: dict[str, Any]) -> Item:
    hashes = [version.outputs.get(item.get(name, ""), {}).get("sha256", "") for name in ("picture", "audio")]
    split = SPLIT_NAMES.get(item.get("split"), "")
    label, suggested = item.get("label", ""), item.get("suggested", "")
    if version.task == MULTI_LABEL_IMAGES:
        label, suggested = (labels.replace(LABEL_SEPARATOR, ", ") for labels in (label, suggested))
        suggested = suggested or (_("no label") if "suggested" in item else "")
    return Item(
        item["id"],
        label,
        suggested,
        split,
        *hashes,
        item.get("text", ""),
        item.get("row", []),
        item.get("likely"),
        item.get("stays", False),
    )


def _button(kind: str, found: dict[str, Any], action: str, count: int) -> Button:
    counted = (ROWS if kind == "table" else FILES) % {"count": count, "n": floatformat(count, "0g")}
    part = SPLIT_NAMES.get(found.get("part"), "")
    labels = {
        "leave_out": _("Leave %(these)s out"),
        "relabel": RELABELS.get(found["code"], _("Use the suggested labels")),
        "move": _("Put %(these)s into %(part)s") if part else _("Move %(these)s to another part"),
        "drop": ngettext("Drop the column", "Drop the columns", count),
    }
    return Button(action, ACTION_ICONS[action], str(labels[action]) % {"these": counted, "part": part})
