"""What is said in recordings: whether a column of a table says that, and what people should know of it before a model
learns from it. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any, Protocol

from workers.audio import HOP_SECONDS
from workers.contract import SPLITS
from workers.inference.ctc import STEP
from workers.preprocessing.columns import shorten
from workers.preprocessing.findings import Findings
from workers.preprocessing.report import describe
from workers.preprocessing.texts import SHOWN_SCRIPT, script_shares, warn_of_broken_letters
from workers.spelling import USUAL
from workers.texts import words_of

MOST_CLASSES, RECORDINGS_OF_A_CLASS = 200, 3
DIFFERENT_SHARE = 0.5  # of the values of a column: they are what is said, and no classes
FEWEST_WORDS = 3  # of the middle value of such a column
FRAME_SECONDS = STEP * HOP_SECONDS  # a network writes one character in each at most
RARE_LETTER = 3  # a character that stands in fewer transcripts is learned from too few
FEW_MINUTES = 5.0
SEEN_SHARE = 0.1
SHOWN_LETTERS = 12


class Recording(Protocol):
    """What is read here of workers.preprocessing.recordings.Recording."""

    transcript: str | None
    source: str
    heard: Any


def is_said(value: str) -> bool:
    """Whether anything is left of a transcript when punctuation is not counted."""
    return bool(USUAL.tidy(value))


def are_transcripts(labels: Sequence[str]) -> bool:
    """Whether a column of labels says what is said, as many different sentences do, and does not name classes."""
    different = set(labels)
    if len(different) <= DIFFERENT_SHARE * len(labels):
        return False
    return median(len(words_of(label.casefold())) for label in different) >= FEWEST_WORDS


def are_classes(transcripts: Sequence[str]) -> bool:
    """Whether what is said is always one of a few, as commands are, so that each can be a class."""
    counts = Counter(transcripts)
    return 2 <= len(counts) <= MOST_CLASSES and min(counts.values()) >= RECORDINGS_OF_A_CLASS


def are_mostly_different(transcripts: Sequence[str]) -> bool:
    return len(set(map(USUAL.tidy, transcripts))) > DIFFERENT_SHARE * len(transcripts)


def describe_transcripts(transcripts: Sequence[str]) -> dict[str, Any]:
    """For people: how much is said, in how many words and letters, and how it is written."""
    texts = [USUAL.tidy(text) for text in transcripts]
    words = Counter(word for text in texts for word in text.split())
    scripts = [[name, round(share, 4)] for name, share in script_shares(transcripts) if share >= SHOWN_SCRIPT]
    return {
        "words": words.total(),
        "different_words": len(words),
        "different": len(set(texts)),
        "letters": len(set("".join(texts)) - {" "}),
        "median_characters": round(median(map(len, texts))),
        "scripts": scripts,
    }


def warn_of_transcripts(
    recordings: Sequence[Recording], splits: Sequence[str], missing: int, findings: Findings
) -> None:
    """All have a transcript; `missing` are those that were left out because they have none."""
    if missing:
        findings.add("empty_transcripts", f"Recordings without a transcript, which are left out: {missing:,}.")
    _warn_of_lengths(recordings, findings)
    _warn_of_letters([each.transcript or "" for each in recordings], findings)
    _warn_of_splits([each.transcript or "" for each in recordings], splits, findings)
    minutes = sum(each.heard.seconds for each, split in zip(recordings, splits, strict=True) if split == "train") / 60
    if minutes < FEW_MINUTES:
        findings.add(
            "little_speech",
            f"There are {minutes:.1f} minutes to learn from. That is enough for a few words that come again and again; "
            "free speech takes hours.",
        )


def _warn_of_lengths(recordings: Sequence[Recording], findings: Findings) -> None:
    crowded = [
        each for each in recordings if len(USUAL.tidy(each.transcript or "")) * FRAME_SECONDS > each.heard.seconds
    ]
    if crowded:
        first = crowded[0]
        findings.add(
            "long_transcripts",
            f"Transcripts with more characters than can be said in their recordings, which are left out of training: "
            f"{len(crowded):,}, such as {shorten(first.source, 80)} with {len(first.transcript or ''):,} characters in "
            f"{first.heard.seconds:.1f} s. See whether they belong together.",
        )


def _warn_of_letters(transcripts: Sequence[str], findings: Findings) -> None:
    warn_of_broken_letters(transcripts, findings)
    texts = [USUAL.tidy(text) for text in transcripts]
    if digits := [text for text in texts if any(letter.isdigit() for letter in text)]:
        findings.add(
            "digits_in_transcripts",
            f'Transcripts with digits: {len(digits):,}, such as "{shorten(digits[0], 60)}". A model learns to write '
            "what it hears; write numbers as the words that are said.",
        )
    if marks := [text for text in transcripts if any(mark in text for mark in "<>[]{}")]:
        findings.add(
            "marks_in_transcripts",
            f'Transcripts with marks that nobody says: {len(marks):,}, such as "{shorten(marks[0], 60)}". Take notes '
            "such as [noise] or <unk> out of them.",
        )
    counts = Counter(letter for text in texts for letter in set(text))
    if rare := sorted(letter for letter, count in counts.items() if count < RARE_LETTER and not letter.isdigit()):
        shown = describe([f"{letter} (U+{ord(letter):04X})" for letter in rare[:SHOWN_LETTERS]])
        findings.add(
            "rare_characters",
            f"Characters that stand in fewer than {RARE_LETTER} transcripts: {len(rare):,}, {shown}. From so few a "
            "model does not learn them; spell them in another way where that is possible.",
        )


def _warn_of_splits(transcripts: Sequence[str], splits: Sequence[str], findings: Findings) -> None:
    by_split: dict[str, set[str]] = defaultdict(set)
    for text, split in zip(transcripts, splits, strict=True):
        by_split[split].add(USUAL.tidy(text))
    judged = [name for name in SPLITS[1:] if by_split[name]]
    for name in reversed(judged):
        seen = len(by_split[name] & by_split["train"])
        if seen > SEEN_SHARE * len(by_split[name]):
            findings.add(
                "transcripts_across_splits",
                f"Of {len(by_split[name]):,} different transcripts of the {name} part {seen:,} are learned from as "
                "well. The figures hold for what is said in these data; for other sentences the model may be worse.",
            )
            return
