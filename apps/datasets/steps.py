"""How people see what was done to make a version, and what a model does by itself. Pure."""

from dataclasses import dataclass
from typing import Any

from django.template.defaultfilters import floatformat
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from apps.datasets.findings import title_of
from apps.datasets.models import DatasetVersion
from workers.contract import (
    ANSWER_RETRIEVAL,
    AUDIO_CLASSIFICATION,
    FORECASTING,
    IMAGE_CLASSIFICATION,
    KIND_TABLE,
    MULTI_LABEL_IMAGES,
    RECOMMENDATION,
    SPEECH_RECOGNITION,
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
)

MESSAGES = {
    "leave_out": _("Left out what was chosen"),
    "relabel": _("Gave other labels to what was chosen"),
    "rewrite": _("Wrote other values in a column"),
    "move": _("Moved to another part of the split"),
    "drop": _("Dropped columns"),
}
IMAGES = (
    _("Turned upright, transparent parts made white, 16 bits made 8."),
    _("Squashed to one size, in colour or in grey."),
    _("Mean and spread of each colour, as in the training images, are taken out."),
)
TABLES = (
    _("Numbers are centred on the median of the training rows and divided by their standard deviation."),
    _("Missing values are taken as the median, or as a value of their own."),
    _("Categories become codes; a value that training has not seen is “unknown”."),
    _("Dates become day, month, year and weekday. Identifiers and free text are not read."),
)
TEXTS = (
    _("Forms of letters and blanks are made alike (NFKC), and case does not count."),
    _("Words and runs of letters become numbers; there is no list of words to keep."),
)
COUNTED = {
    "rows": ngettext_lazy("%(n)s row", "%(n)s rows", "count"),
    "files": ngettext_lazy("%(n)s file", "%(n)s files", "count"),
    "values": ngettext_lazy("%(n)s value", "%(n)s values", "count"),
    "columns": ngettext_lazy("%(n)s column", "%(n)s columns", "count"),
}
# What a model does with everything that it is given, in training and when it serves: its files say with which numbers.
LATER = {
    IMAGE_CLASSIFICATION: IMAGES,
    AUDIO_CLASSIFICATION: (
        _("Channels are averaged and resampled to one rate."),
        _("The loudest part of the wanted length is kept; shorter recordings get silence around them."),
        _("Turned into a log-mel spectrogram, whatever the loudness."),
    ),
    TABULAR_CLASSIFICATION: TABLES,
    TABULAR_REGRESSION: TABLES,
    TEXT_CLASSIFICATION: TEXTS,
    TRANSLATION: (_("Split into pieces of words that were learned from the training pairs."),),
    MULTI_LABEL_IMAGES: IMAGES,
    SPEECH_RECOGNITION: (
        _("Channels are averaged and resampled to one rate."),
        _("Turned into a log-mel spectrogram, whatever the loudness."),
        _("Transcripts are written alike: case and punctuation do not count, unless the settings say otherwise."),
    ),
    ANSWER_RETRIEVAL: (
        _("Forms of letters and blanks are made alike (NFKC), and case does not count."),
        _("Questions and answers are compared by their words and by what is learned from the training questions."),
    ),
    FORECASTING: (
        _("Times are moved to equal steps; several values of one time become one."),
        _("Steps without a row are filled from what came before them, never from what came later."),
    ),
    RECOMMENDATION: (_("Users and items become numbers; those that training has not seen get what is popular."),),
}


@dataclass(frozen=True)
class Step:
    """One step as the page shows it. `without` are the steps that the version lacks in which this one is switched."""

    id: str
    message: str
    because: str
    touched: str
    example: dict[str, str] | None
    is_optional: bool
    is_on: bool
    without: list[str]


def shown_steps(version: DatasetVersion) -> list[Step]:
    """What was done, in order."""
    without = set(version.recipe.get("without", ()))
    return [_shown(version, each, without) for each in version.report.get("steps", ())]


def _shown(version: DatasetVersion, step: dict[str, Any], without: set[str]) -> Step:
    finding = step.get("finding", "")
    noun = "columns" if step["step"] == "drop" else step["noun"] or ("rows" if version.kind == KIND_TABLE else "files")
    return Step(
        step["id"],
        str(MESSAGES.get(step["step"], step["message"])),
        title_of(finding) if finding else "",
        str(COUNTED[noun] % {"count": step["touched"], "n": floatformat(step["touched"], "0g")}),
        step["example"],
        step["is_optional"],
        step["is_on"],
        sorted(without ^ {step["id"]}),
    )


def later_steps(kind: str, task: str) -> tuple[Any, ...]:
    """What a model that is trained for `task` does by itself."""
    return LATER.get(task, ())
