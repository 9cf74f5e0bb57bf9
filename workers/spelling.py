"""How transcripts are written: alike what is said alike. Standard library only."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

LOWER, KEEP, REMOVE = "lower", "keep", "remove"
APOSTROPHE = "'"
APOSTROPHES = "\u2019\u02bc\u2018\u0060\u00b4"  # what is typed for one


@dataclass(frozen=True)
class Spelling:
    """`case` is lower or keep; `punctuation` is remove or keep. An apostrophe within a word is a letter of it."""

    case: str = LOWER
    punctuation: str = REMOVE

    def tidy(self, text: str) -> str:
        """In Unicode's compatible composed form (NFKC), with one blank between words and none around them."""
        text = unicodedata.normalize("NFKC", text)
        if self.case == LOWER:
            text = unicodedata.normalize("NFKC", text.lower())
        if self.punctuation == REMOVE:
            text = _without_marks(text)
        return " ".join(text.split())

    def to_meta(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Spelling:
        return cls(settings["case"], settings["punctuation"])


USUAL = Spelling()


def _without_marks(text: str) -> str:
    """Marks become blanks, as a hyphen stands between words; but for apostrophes between letters."""
    for mark in APOSTROPHES:
        text = text.replace(mark, APOSTROPHE)
    kept = []
    for place, letter in enumerate(text):
        if letter == APOSTROPHE:
            is_inside = text[place - 1 : place].isalpha() and text[place + 1 : place + 2].isalpha()
            kept.append(letter if is_inside else " ")
        else:
            kept.append(" " if unicodedata.category(letter)[0] in "PSC" else letter)
    return "".join(kept)
