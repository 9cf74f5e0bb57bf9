"""What people should know of their recordings before they train on them. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from workers.preprocessing.balance import warn_of_balance
from workers.preprocessing.columns import shorten
from workers.preprocessing.decoding import Heard
from workers.preprocessing.findings import Findings
from workers.preprocessing.items import Copies, Items, tell_crossing, tell_some, warn_of_copies
from workers.preprocessing.report import describe
from workers.preprocessing.splitting import Assignment, natural_order, warn_of_split
from workers.preprocessing.transcripts import warn_of_transcripts
from workers.spelling import USUAL

SILENT_PEAK = 0.001  # 60 dB below full scale
CLIPPED_SHARE = 0.005
SHORT_SECONDS, LONG_SECONDS = 0.1, 10.0
LONG_SPEECH_SECONDS = 20.0
LOW_RATE = 16_000
SHOWN = 120  # characters of a transcript that a finding shows
IMBALANCE = 10


class Recording(Protocol):
    """What is read here of workers.preprocessing.recordings.Recording."""

    label: str
    transcript: str | None
    given: str | None
    speaker: str | None
    source: str
    heard: Heard

    @property
    def sound(self) -> str: ...


def warn_of_recordings(recordings: Sequence[Recording], items: Items, result: Assignment, findings: Findings) -> None:
    """Raises ProgramFailure one_class where train has one class only."""
    keys = [each.sound for each in recordings]
    _warn_of_sound(recordings, items, findings)
    _warn_of_length(
        recordings, LONG_SECONDS, "of which a model hears the loudest part unless the settings say otherwise", items,
        findings,
    )  # fmt: skip
    warn_of_copies(keys, items, Copies("Recordings", "copies, sample by sample, of others"), findings)
    given = [each.given for each in recordings]
    warn_of_split(items, given, result, findings, "recordings", has_classes=True)
    _warn_of_speakers(recordings, items, findings)
    warn_of_balance(items, "recordings", findings, imbalance=IMBALANCE)


def warn_of_speech(
    recordings: Sequence[Recording], items: Items, result: Assignment, missing: int, findings: Findings
) -> None:
    """`missing` transcripts were left out."""
    keys = [each.sound for each in recordings]
    items = replace(items, labels=[shorten(each.transcript or "", SHOWN) for each in recordings])
    _warn_of_sound(recordings, items, findings)
    _warn_of_length(
        recordings, LONG_SPEECH_SECONDS, "which are left out of training unless max_seconds says otherwise", items,
        findings,
    )  # fmt: skip
    said = replace(items, labels=[USUAL.tidy(each.transcript or "") for each in recordings])
    words = Copies("Recordings", "copies, sample by sample, of others", torn_words="have two transcripts")
    warn_of_copies(keys, said, words, findings)
    given = [each.given for each in recordings]
    warn_of_split(items, given, result, findings, "recordings", has_classes=False)
    _warn_of_speakers(recordings, items, findings)
    warn_of_transcripts(recordings, items, missing, findings)


def _warn_of_length(recordings: Sequence[Recording], most: float, what: str, items: Items, findings: Findings) -> None:
    found = [number for number, each in enumerate(recordings) if each.heard.seconds > most]
    if found:
        name = shorten(recordings[found[0]].source, 80)
        message = f"Recordings longer than {most:.0f} s, {what}: {len(found):,}, such as {name}."
        tell_some(found, items, "long_audio", message, findings)


def _warn_of_sound(recordings: Sequence[Recording], items: Items, findings: Findings) -> None:
    def warn(code: str, is_so: Callable[[Heard], bool], sentence: str) -> None:
        found = [number for number, each in enumerate(recordings) if is_so(each.heard)]
        if found:
            message = f"{sentence}: {len(found):,}, such as {shorten(recordings[found[0]].source, 80)}."
            tell_some(found, items, code, message, findings)

    warn("silent_audio", lambda heard: heard.peak < SILENT_PEAK, "Recordings in which nothing can be heard")
    warn(
        "clipped_audio",
        lambda heard: heard.clipped > CLIPPED_SHARE,
        "Recordings that are too loud for their format, so that their peaks are cut off",
    )
    warn("short_audio", lambda heard: heard.seconds < SHORT_SECONDS, f"Recordings shorter than {SHORT_SECONDS} s")
    rates = Counter(heard.rate for heard in (each.heard for each in recordings))
    if len(rates) > 1 and min(rates) < LOW_RATE:
        shares = describe([f"{rate:,} Hz ({count:,})" for rate, count in sorted(rates.items())])
        low = [number for number, each in enumerate(recordings) if each.heard.rate < LOW_RATE]
        message = (
            f"The recordings have different numbers of samples a second: {shares}. Those with few have no high "
            "pitches; if some classes have more of them, a model may learn that instead."
        )
        tell_some(low, items, "mixed_rates", message, findings)


def _warn_of_speakers(recordings: Sequence[Recording], items: Items, findings: Findings) -> None:
    heard: dict[str, list[int]] = defaultdict(list)
    for number, each in enumerate(recordings):
        if each.speaker:
            heard[each.speaker].append(number)
    crossing = {name: numbers for name, numbers in heard.items() if len({items.splits[n] for n in numbers}) > 1}
    names = describe([shorten(name, 40) for name in sorted(crossing, key=natural_order)])
    message = (
        f"Speakers who are heard in more than one of train, val and test: {len(crossing):,} of {len(heard):,} "
        f"({names}). The figures hold for these voices; for others the model may be worse."
    )
    tell_crossing(list(crossing.values()), items, "speakers_across_splits", message, findings, like="a voice")
