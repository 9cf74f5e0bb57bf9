"""What the page of a version shows of its report. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from apps.core.charts import series_chart
from workers.contract import ANSWER_RETRIEVAL, SPLITS

SPLIT_LABELS = {"train": _("Training"), "val": _("Validation"), "test": _("Test")}
SCRIPT_NAMES = {
    "Latin": _("Latin"),
    "Han": _("Han"),
    "Kana": _("Kana"),
    "Hangul": _("Hangul"),
    "Cyrillic": _("Cyrillic"),
    "Greek": _("Greek"),
    "Arabic": _("Arabic"),
    "Hebrew": _("Hebrew"),
    "Devanagari": _("Devanagari"),
    "Thai": _("Thai"),
}
MAX_CLASSES = 40
MAX_COLUMNS = 60
FIRST_BAD = 50
MAX_SCRIPTS = 3
TINY_BYTES = 600


@dataclass(frozen=True)
class Segment:
    """A piece of a bar: where it begins and how wide it is, both in percent of the widest bar."""

    split: str
    label: str
    count: int
    start: float
    width: float


@dataclass(frozen=True)
class Thumbnail:
    """`is_tiny`: so few bytes hold few pixels, which look better sharp than smoothed."""

    sha256: str
    is_tiny: bool


@dataclass(frozen=True)
class Sound:
    """An excerpt of a recording, and its spectrogram: hashes of files of the version."""

    sha256: str
    picture: str


@dataclass(frozen=True)
class Spoken:
    """A recording of so many seconds, and what is said in it."""

    transcript: str
    sound: Sound
    seconds: float


@dataclass(frozen=True)
class ClassRow:
    name: str
    count: int
    segments: list[Segment]
    thumbnails: list[Thumbnail]
    sounds: list[Sound]

    @property
    def summary(self) -> str:
        """The bar in words."""
        return ", ".join(f"{segment.label} {segment.count:,}" for segment in self.segments)


def segments_of(counts: dict[str, int], widest: int) -> list[Segment]:
    """One segment for each split that has items, side by side."""
    found, start = [], 0.0
    for split in SPLITS:
        if count := counts.get(split) or 0:
            width = 100 * count / max(1, widest)
            found.append(Segment(split, SPLIT_LABELS[split], count, round(start, 3), round(width, 3)))
            start += width
    return found


def class_rows(report: dict[str, Any], outputs: dict[str, Any]) -> list[ClassRow]:
    """Every class with its bar and its thumbnails or recordings."""
    thumbnails: dict[str, list[Thumbnail]] = {}
    sounds: dict[str, list[Sound]] = {}
    for each in report.get("thumbnails") or ():
        found, sound = outputs.get(each["file"]), outputs.get(each.get("audio"))
        if found and sound:
            sounds.setdefault(each["label"], []).append(Sound(sound["sha256"], found["sha256"]))
        elif found:
            thumbnails.setdefault(each["label"], []).append(Thumbnail(found["sha256"], found["bytes"] < TINY_BYTES))
    classes = report.get("classes") or []
    widest = max((each["count"] for each in classes), default=0)
    return [
        ClassRow(
            each["name"],
            each["count"],
            segments_of(each, widest),
            thumbnails.get(each["name"], []),
            sounds.get(each["name"], []),
        )
        for each in classes
    ]


def spoken(report: dict[str, Any], outputs: dict[str, Any]) -> list[Spoken]:
    """Some recordings with what is said in them; none of data that are used for something else."""
    if report.get("classes") or not report.get("speech"):
        return []
    shown = [(each, outputs.get(each["file"]), outputs.get(each.get("audio"))) for each in report["thumbnails"]]
    return [
        Spoken(each["transcript"], Sound(sound["sha256"], picture["sha256"]), each["seconds"])
        for each, picture, sound in shown
        if picture and sound
    ]


def split_segments(report: dict[str, Any]) -> list[Segment]:
    """The sizes of training, validation and test data, as shares of the whole."""
    splits = report.get("splits") or {}
    return segments_of(splits, sum(splits.values()))


def first_rows(report: dict[str, Any]) -> list[list[Any]]:
    return [row[:MAX_COLUMNS] for row in report.get("preview") or ()]


def scripts_of(report: dict[str, Any]) -> str:
    """What the texts are written in: "Latin", or "Han 71 %, Latin 29 %"."""
    return _written_in(report.get("text") or report.get("speech") or {})


def sides_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Both sides of a table of translations, or of questions and answers: `label`, `column`, `median_characters` and
    `scripts`; none of others."""
    pair = report.get("pair") or {}
    labels = {"source": _("Translated from"), "target": _("Translated into")}
    if report.get("task") == ANSWER_RETRIEVAL:
        labels = {"source": _("Column of questions"), "target": _("Column of answers")}
    return [pair[side] | {"label": label, "scripts": _written_in(pair[side])} for side, label in labels.items() if pair]


def _written_in(texts: dict[str, Any]) -> str:
    shares = texts.get("scripts") or []
    if len(shares) == 1:
        return script_name(shares[0][0])
    return ", ".join(f"{script_name(name)} {share * 100:.0f} %" for name, share in shares[:MAX_SCRIPTS])


def script_name(name: str) -> str:
    """Of a script, as the check calls it by its name in Unicode."""
    return str(SCRIPT_NAMES.get(name, name))


def hours_of(report: dict[str, Any]) -> str:
    """How long all recordings are together: "7:26", or "1:07:26" from an hour on."""
    seconds = round((report.get("audio") or {}).get("seconds", 0))
    minutes, hours = seconds // 60 % 60, seconds // 3600
    return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"


def series_of(report: dict[str, Any]) -> list[dict[str, str]]:
    """{"name", "chart"} of the series that are shown, the chart as JSON for js/series.js."""
    shown = (report.get("series") or {}).get("shown", [])
    return [{"name": item["name"], "chart": series_chart(item["times"], item["values"])} for item in shown]


def split_choices() -> Sequence[tuple[str, Any]]:
    return [("", _("Automatic")), *SPLIT_LABELS.items()]
