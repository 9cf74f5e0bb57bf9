"""What is said in recordings: whether a column of a table says that, and what people should know of it before a model
learns from it. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any, Protocol

from workers.audio import HOP_SECONDS
from workers.contract import SPLITS
from workers.inference.ctc import STEP
from workers.preprocessing.columns import shorten
from workers.preprocessing.findings import Findings, Remedy
from workers.preprocessing.items import TRAIN, Items, groups_of, tell_crossing, tell_some
from workers.preprocessing.pair_warnings import far_from_usual
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
LONG_ENOUGH = 1.0  # seconds: of a word or two any rate is usual
MARKS = "<>[]{}"
NOTE = re.compile(r"<[^<>]*>|\[[^\[\]]*\]|\{[^{}]*\}")


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


def warn_of_transcripts(recordings: Sequence[Recording], items: Items, missing: int, findings: Findings) -> None:
    """All have a transcript; `missing` are those that were left out because they have none."""
    if missing:
        findings.add("empty_transcripts", f"Recordings without a transcript, which are left out: {missing:,}.")
    crowded = _warn_of_lengths(recordings, items, findings)
    _warn_of_rates(recordings, crowded, items, findings)
    transcripts = [each.transcript or "" for each in recordings]
    _warn_of_letters(transcripts, items, findings)
    _warn_of_marks(transcripts, items, findings)
    _warn_of_splits(transcripts, items, findings)
    minutes = sum(each.heard.seconds for each, split in zip(recordings, items.splits, strict=True) if split == TRAIN)
    if minutes / 60 < FEW_MINUTES:
        findings.add(
            "little_speech",
            f"There are {minutes / 60:.1f} minutes to learn from. That is enough for a few words that come again and "
            "again; free speech takes hours.",
        )


def _warn_of_lengths(recordings: Sequence[Recording], items: Items, findings: Findings) -> set[int]:
    """Of transcripts that a network cannot write in the time of their recordings, whose numbers are returned."""
    crowded = [number for number, each in enumerate(recordings)
               if len(USUAL.tidy(each.transcript or "")) * FRAME_SECONDS > each.heard.seconds]  # fmt: skip
    if crowded:
        first = recordings[crowded[0]]
        message = (
            f"Transcripts with more characters than can be said in their recordings, which are left out of training: "
            f"{len(crowded):,}, such as {shorten(first.source, 80)} with {len(first.transcript or ''):,} characters in "
            f"{first.heard.seconds:.1f} s. See whether they belong together."
        )
        tell_some(crowded, items, "long_transcripts", message, findings)
    return set(crowded)


def _warn_of_rates(recordings: Sequence[Recording], crowded: set[int], items: Items, findings: Findings) -> None:
    """Of transcripts with far more or fewer characters a second than the others."""
    lengths = {number: len(USUAL.tidy(each.transcript or "")) for number, each in enumerate(recordings)}
    asked = [number for number, each in enumerate(recordings)
             if number not in crowded and lengths[number] and each.heard.seconds >= LONG_ENOUGH]  # fmt: skip
    rates = [lengths[number] / recordings[number].heard.seconds for number in asked]
    odd = far_from_usual(rates)
    if odd:
        message = (
            f"Transcripts far longer or shorter for their recordings than the others: {len(odd):,}, such as "
            f"{shorten(recordings[asked[odd[0]]].source, 80)} with {rates[odd[0]]:.1f} characters a second, where "
            f"{median(rates):.1f} are usual. They may not belong together."
        )
        tell_some([asked[place] for place in odd], items, "unlike_rates", message, findings)


def _warn_of_letters(transcripts: Sequence[str], items: Items, findings: Findings) -> None:
    warn_of_broken_letters([transcripts], items, findings)
    texts = [USUAL.tidy(text) for text in transcripts]
    if digits := [number for number, text in enumerate(texts) if any(letter.isdigit() for letter in text)]:
        message = (
            f'Transcripts with digits: {len(digits):,}, such as "{shorten(texts[digits[0]], 60)}". A model learns to '
            "write what it hears; write numbers as the words that are said."
        )
        tell_some(digits, items, "digits_in_transcripts", message, findings)
    counts = Counter(letter for text in texts for letter in set(text))
    if rare := sorted(letter for letter, count in counts.items() if count < RARE_LETTER and not letter.isdigit()):
        shown = describe([f"{letter} (U+{ord(letter):04X})" for letter in rare[:SHOWN_LETTERS]])
        message = (
            f"Characters that stand in fewer than {RARE_LETTER} transcripts: {len(rare):,}, {shown}. From so few a "
            "model does not learn them; spell them in another way where that is possible."
        )
        found = [number for number, text in enumerate(texts) if not set(rare).isdisjoint(text)]
        tell_some(found, items, "rare_characters", message, findings)


def _warn_of_marks(transcripts: Sequence[str], items: Items, findings: Findings) -> None:
    """Notes can be taken out of transcripts of which something is left then."""
    marked = [number for number, text in enumerate(transcripts) if any(mark in text for mark in MARKS)]
    if not marked:
        return
    plain = {number: without_notes(transcripts[number]) for number in marked}
    said = {number: text for number, text in plain.items() if is_said(text)}
    findings.add(
        "marks_in_transcripts",
        f'Transcripts with marks that nobody says: {len(marked):,}, such as "{shorten(transcripts[marked[0]], 60)}". '
        "Take notes such as [noise] or <unk> out of them.",
        total=len(marked),
        shown=items.some_suggested(marked, said),
        remedy=Remedy(
            leave_out=items.named(marked), relabel={items.ids[number]: text for number, text in said.items()}
        ),
    )  # fmt: skip


def without_notes(transcript: str) -> str:
    """What is said in it: without notes in brackets, and without brackets that stand alone."""
    text = NOTE.sub(" ", transcript)
    return " ".join("".join(letter for letter in text if letter not in MARKS).split())


def _warn_of_splits(transcripts: Sequence[str], items: Items, findings: Findings) -> None:
    """Of sentences that judge and are learned from, where these are a tenth of those that judge."""
    texts = [USUAL.tidy(text) for text in transcripts]
    by_split: dict[str, set[str]] = defaultdict(set)
    for text, split in zip(texts, items.splits, strict=True):
        by_split[split].add(text)
    judged = [name for name in SPLITS[1:] if by_split[name]]
    for name in reversed(judged):
        seen = by_split[name] & by_split[TRAIN]
        if len(seen) > SEEN_SHARE * len(by_split[name]):
            message = (
                f"Of {len(by_split[name]):,} different transcripts of the {name} part {len(seen):,} are learned from "
                "as well. The figures hold for what is said in these data; for other sentences the model may be worse."
            )
            groups = [[number for number in numbers if items.splits[number] in (TRAIN, name)]
                      for numbers in groups_of(texts) if texts[numbers[0]] in seen]  # fmt: skip
            tell_crossing(groups, items, "transcripts_across_splits", message, findings, like="the same sentence")
            return
