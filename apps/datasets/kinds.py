"""How people see the kinds of data: an icon, a name, and what is counted. Pure."""

from dataclasses import dataclass
from typing import Any

from django.template.defaultfilters import floatformat
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from workers.contract import (
    ANSWER_RETRIEVAL,
    FORECASTING,
    KIND_AUDIO,
    KIND_IMAGES,
    KIND_TABLE,
    MULTI_LABEL_IMAGES,
    RECOMMENDATION,
    SPEECH_RECOGNITION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
)


@dataclass(frozen=True)
class Shown:
    """One kind of data. `icon` is a class of Tabler Icons, `items` names what is counted."""

    icon: str
    title: Any
    items: Any
    amount: Any

    def counted(self, count: int) -> str:
        """ "1,234 images"."""
        return self.amount % {"n": count, "shown": floatformat(count, "0g")}


ROWS = ngettext_lazy("%(shown)s row", "%(shown)s rows", "n")
IMAGES = ngettext_lazy("%(shown)s image", "%(shown)s images", "n")
OF_KIND = {
    KIND_IMAGES: Shown("ti-photo", _("Images"), _("Images"), IMAGES),
    KIND_AUDIO: Shown(
        "ti-microphone",
        _("Recordings"),
        _("Recordings"),
        ngettext_lazy("%(shown)s recording", "%(shown)s recordings", "n"),
    ),
    KIND_TABLE: Shown("ti-table", _("Table"), _("Rows"), ROWS),
}
# Tables that are about something of their own.
OF_TASK = {
    TEXT_CLASSIFICATION: Shown(
        "ti-message-2", _("Texts"), _("Texts"), ngettext_lazy("%(shown)s text", "%(shown)s texts", "n")
    ),
    TRANSLATION: Shown(
        "ti-language", _("Translations"), _("Pairs"), ngettext_lazy("%(shown)s pair", "%(shown)s pairs", "n")
    ),
    SPEECH_RECOGNITION: Shown(
        "ti-microphone-2",
        _("Speech"),
        _("Recordings"),
        ngettext_lazy("%(shown)s recording", "%(shown)s recordings", "n"),
    ),
    ANSWER_RETRIEVAL: Shown(
        "ti-messages",
        _("Questions and answers"),
        _("Questions"),
        ngettext_lazy("%(shown)s question", "%(shown)s questions", "n"),
    ),
    RECOMMENDATION: Shown("ti-thumb-up", _("Interactions"), _("Rows"), ROWS),
    MULTI_LABEL_IMAGES: Shown("ti-tags", _("Images"), _("Images"), IMAGES),
    FORECASTING: Shown("ti-chart-line", _("Series"), _("Rows"), ROWS),
}


def shown_as(kind: str, task: str) -> Shown | None:
    """How data of `kind` are seen that are used for `task`; None while neither is known."""
    return OF_TASK.get(task) or OF_KIND.get(kind)
