"""What a recogniser wrote beside what was said, as the job's page shows it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from apps.registry.figures import write

WAYS = {
    "greedy": _("The most probable each time"),
    "beams": _("Several beginnings at once"),
    "language_model": _("The same with a language model"),
}


@dataclass(frozen=True)
class Way:
    """One way to search for a text, and how many words and characters were wrong on the validation recordings."""

    name: Any
    wer: str
    cer: str
    is_kept: bool


@dataclass(frozen=True)
class Misheard:
    """A recording that was not written down rightly. `sound` is a name among the job's outputs; `parts` are {"kind",
    "true", "said"}: words that are equal, substitute, delete (left out) or insert (added)."""

    sound: str
    parts: Sequence[Mapping[str, str]]
    truth: str
    wrong_words: int
    confidence: float


@dataclass(frozen=True)
class Heard:
    """`usual` is the most frequent transcript, which the baseline always says; `is_beaten` where that is no worse."""

    ways: list[Way]
    mistakes: list[Misheard]
    usual: str
    recordings: int
    of: int
    is_beaten: bool


def read_heard(result: Mapping[str, Any], outputs: Mapping[str, Any]) -> Heard | None:
    """None of a training that was no recogniser's. Recordings that are not among `outputs` are left out."""
    if "decodings" not in result:
        return None
    judged = result["judged"]
    ours, usual = (result[name][judged["split"]]["wer"] for name in ("metrics", "baseline"))
    return Heard(
        ways=[
            Way(WAYS[way["name"]], write("wer", way["wer"]), write("cer", way["cer"]), way["is_kept"])
            for way in result["decodings"]
        ],
        mistakes=[
            Misheard(item["audio"], item["parts"], item["true"], item["wrong_words"], item["confidence"])
            for item in result["speech_mistakes"]
            if item["audio"] in outputs
        ],
        usual=result["usual_transcript"],
        recordings=judged["recordings"],
        of=judged["of"],
        is_beaten=usual <= ours,
    )
