"""What people should know of their recordings before they train on them. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from workers.preprocessing.balance import warn_of_balance
from workers.preprocessing.columns import shorten
from workers.preprocessing.decoding import Heard
from workers.preprocessing.findings import Findings, Remedy
from workers.preprocessing.items import Copies, Items, warn_of_copies
from workers.preprocessing.report import describe
from workers.preprocessing.splitting import Assignment, natural_order, warn_of_split
from workers.preprocessing.transcripts import warn_of_transcripts
from workers.spelling import USUAL

SILENT_PEAK = 0.001  # 60 dB below full scale
CLIPPED_SHARE = 0.005
SHORT_SECONDS, LONG_SECONDS = 0.1, 10.0
LONG_SPEECH_SECONDS = 20.0
LOW_RATE = 16_000
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
    labels, keys = [each.label for each in recordings], [each.sound for each in recordings]
    _warn_of_sound(recordings, items, findings)
    _warn_of_length(
        recordings, LONG_SECONDS, "of which a model hears the loudest part unless the settings say otherwise", items,
        findings,
    )  # fmt: skip
    warn_of_copies(keys, items, Copies("Recordings", "copies, sample by sample, of others"), findings)
    warn_of_split(labels, [each.given for each in recordings], result, findings, "recordings")
    _warn_of_speakers(recordings, result.splits, findings)
    warn_of_balance(items, "recordings", findings, imbalance=IMBALANCE)


def warn_of_speech(
    recordings: Sequence[Recording], items: Items, result: Assignment, missing: int, findings: Findings
) -> None:
    """`missing` transcripts were left out."""
    keys = [each.sound for each in recordings]
    _warn_of_sound(recordings, items, findings)
    _warn_of_length(
        recordings, LONG_SPEECH_SECONDS, "which are left out of training unless max_seconds says otherwise", items,
        findings,
    )  # fmt: skip
    said = replace(items, labels=[USUAL.tidy(each.transcript or "") for each in recordings])
    words = Copies("Recordings", "copies, sample by sample, of others", torn_words="have two transcripts")
    warn_of_copies(keys, said, words, findings)
    warn_of_split(None, [each.given for each in recordings], result, findings, "recordings")
    _warn_of_speakers(recordings, result.splits, findings)
    warn_of_transcripts(recordings, result.splits, missing, findings)


def _warn_of_length(recordings: Sequence[Recording], most: float, what: str, items: Items, findings: Findings) -> None:
    found = [number for number, each in enumerate(recordings) if each.heard.seconds > most]
    if found:
        name = shorten(recordings[found[0]].source, 80)
        sentence = f"Recordings longer than {most:.0f} s, {what}: {len(found):,}, such as {name}."
        findings.add("long_audio", sentence, total=len(found), shown=items.some(found))


def _warn_of_sound(recordings: Sequence[Recording], items: Items, findings: Findings) -> None:
    def warn(code: str, is_so: Callable[[Heard], bool], sentence: str) -> None:
        found = [number for number, each in enumerate(recordings) if is_so(each.heard)]
        if found:
            findings.add(
                code,
                f"{sentence}: {len(found):,}, such as {shorten(recordings[found[0]].source, 80)}.",
                total=len(found),
                shown=items.some(found),
                remedy=Remedy(leave_out=[items.ids[number] for number in found]),
            )

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
        findings.add(
            "mixed_rates",
            f"The recordings have different numbers of samples a second: {shares}. Those with few have no high "
            "pitches; if some classes have more of them, a model may learn that instead.",
        )


def _warn_of_speakers(recordings: Sequence[Recording], splits: Sequence[str], findings: Findings) -> None:
    heard_in: dict[str, set[str]] = defaultdict(set)
    for each, split in zip(recordings, splits, strict=True):
        if each.speaker:
            heard_in[each.speaker].add(split)
    if crossing := sorted((name for name, found in heard_in.items() if len(found) > 1), key=natural_order):
        findings.add(
            "speakers_across_splits",
            f"Speakers who are heard in more than one of train, val and test: {len(crossing):,} of {len(heard_in):,} "
            f"({describe([shorten(name, 40) for name in crossing])}). The figures hold for these voices; for others "
            "the model may be worse.",
        )
