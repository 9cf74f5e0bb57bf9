"""What people should know of their recordings before they train on them. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

from workers.contract import SPLITS
from workers.preprocessing.checking import warn_of_duplicates
from workers.preprocessing.columns import shorten
from workers.preprocessing.decoding import Heard
from workers.preprocessing.report import Warnings, describe
from workers.preprocessing.splitting import Assignment, natural_order, warn_of_split
from workers.preprocessing.transcripts import warn_of_transcripts
from workers.spelling import USUAL

SILENT_PEAK = 0.001  # 60 dB below full scale
CLIPPED_SHARE = 0.005
SHORT_SECONDS, LONG_SECONDS = 0.1, 10.0
LONG_SPEECH_SECONDS = 20.0
LOW_RATE = 16_000
IMBALANCE = 10
FEW_RECORDINGS = 20


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


def warn_of_recordings(recordings: Sequence[Recording], result: Assignment, warnings: Warnings) -> None:
    """Raises ProgramFailure one_class where train has one class only."""
    labels, keys = [each.label for each in recordings], [each.sound for each in recordings]
    _warn_of_sound(recordings, warnings)
    _warn_of_length(
        recordings, LONG_SECONDS, "of which a model hears the loudest part unless the settings say otherwise", warnings
    )
    warn_of_duplicates(labels, keys, result, warnings, "Recordings", "copies, sample by sample,")
    warn_of_split(labels, [each.given for each in recordings], result, warnings, "recordings")
    _warn_of_speakers(recordings, result.splits, warnings)
    _warn_of_imbalance(labels, result.splits, warnings)


def warn_of_speech(recordings: Sequence[Recording], result: Assignment, missing: int, warnings: Warnings) -> None:
    """`missing` transcripts were left out."""
    said, keys = [USUAL.tidy(each.transcript or "") for each in recordings], [each.sound for each in recordings]
    _warn_of_sound(recordings, warnings)
    _warn_of_length(
        recordings, LONG_SPEECH_SECONDS, "which are left out of training unless max_seconds says otherwise", warnings
    )
    warn_of_duplicates(said, keys, result, warnings, "Recordings", "copies, sample by sample,", "have two transcripts")
    warn_of_split(None, [each.given for each in recordings], result, warnings, "recordings")
    _warn_of_speakers(recordings, result.splits, warnings)
    warn_of_transcripts(recordings, result.splits, missing, warnings)


def _warn_of_length(recordings: Sequence[Recording], most: float, what: str, warnings: Warnings) -> None:
    if names := [each.source for each in recordings if each.heard.seconds > most]:
        sentence = f"Recordings longer than {most:.0f} s, {what}: {len(names):,}, such as {shorten(names[0], 80)}."
        warnings.add("long_audio", sentence)


def _warn_of_sound(recordings: Sequence[Recording], warnings: Warnings) -> None:
    def warn(code: str, is_so: Callable[[Heard], bool], sentence: str) -> None:
        names = [each.source for each in recordings if is_so(each.heard)]
        if names:
            warnings.add(code, f"{sentence}: {len(names):,}, such as {shorten(names[0], 80)}.")

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
        warnings.add(
            "mixed_rates",
            f"The recordings have different numbers of samples a second: {shares}. Those with few have no high "
            "pitches; if some classes have more of them, a model may learn that instead.",
        )


def _warn_of_speakers(recordings: Sequence[Recording], splits: Sequence[str], warnings: Warnings) -> None:
    heard_in: dict[str, set[str]] = defaultdict(set)
    for each, split in zip(recordings, splits, strict=True):
        if each.speaker:
            heard_in[each.speaker].add(split)
    if crossing := sorted((name for name, found in heard_in.items() if len(found) > 1), key=natural_order):
        warnings.add(
            "speakers_across_splits",
            f"Speakers who are heard in more than one of train, val and test: {len(crossing):,} of {len(heard_in):,} "
            f"({describe([shorten(name, 40) for name in crossing])}). The figures hold for these voices; for others "
            "the model may be worse.",
        )


def _warn_of_imbalance(labels: Sequence[str], splits: Sequence[str], warnings: Warnings) -> None:
    counts = Counter(label for label, split in zip(labels, splits, strict=True) if split == SPLITS[0])
    (largest, most), (smallest, fewest) = counts.most_common(1)[0], counts.most_common()[-1]
    if most > IMBALANCE * fewest:
        warnings.add(
            "imbalanced_classes",
            f'The class "{shorten(largest, 40)}" has {most:,} training recordings and "{shorten(smallest, 40)}" '
            f"{fewest:,}. Look at the F1 as well as at the accuracy, or set class_weights to balanced.",
        )
    if few := sorted((name for name, count in counts.items() if count < FEW_RECORDINGS), key=natural_order):
        names = describe([f"{shorten(name, 40)} ({counts[name]})" for name in few])
        warnings.add("small_classes", f"Classes with fewer than {FEW_RECORDINGS} training recordings: {names}.")
