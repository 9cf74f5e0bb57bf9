"""Texts as the numbers a model sees, the same way in training and in serving. Python and numpy only.

A text is normalised, and its words and runs of characters become hashes; a hash modulo the number of buckets is an id.
So there is no vocabulary to keep: what stands in meta.json (`TextEncoder.to_meta`) is all that is needed, and no
language needs a preparation of its own. Scripts that write no blanks between words (Chinese, Japanese, Thai, Lao,
Burmese, Khmer) are read character by character: two characters that follow each other are as good as a word there.
"""

from __future__ import annotations

import importlib
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from re import compile as pattern
from typing import Any, Protocol

import numpy as np

from workers.contract import ProgramFailure

PADDING = 0
PRETRAINED = "pretrained"  # the kind of an encoder that came with a checkpoint (workers/pretrained/encoder.py)
# Odd, so that it has an inverse modulo 2 ** 64: the golden ratio's fraction of 2 ** 64.
BASE = 0x9E3779B97F4A7C15
INVERSE = pow(BASE, -1, 2**64)
# The same letters as a word, as a run of characters and as a shape are different features.
WORD_SALT, RUN_SALT, SHAPE_SALT, FORM_SALT = 1_000, 2_000, 3_000, 4_000
MOST_DIGITS = 9
BLANK = ord(" ")
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana and Han
)


def _marks() -> str:
    """Combining marks as ranges of a regular expression: they belong to the letter before them."""
    codes = [code for code in range(0x10000) if unicodedata.category(chr(code))[0] == "M"]
    runs = [[code for _, code in run] for _, run in groupby(enumerate(codes), lambda pair: pair[1] - pair[0])]
    return "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)


WORD = pattern(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])[\w{_marks()}])+|[^\w\s]")
UNSPACED_LETTER = pattern(f"[{UNSPACED}]")


def clean(text: str, longest: int) -> str:
    """Compatibility forms (NFKC) and blanks are folded, and the text ends after `longest` characters."""
    return " ".join(unicodedata.normalize("NFKC", text[:longest]).split())[:longest]


def normalise(text: str, longest: int) -> str:
    """Alike what people mean alike: cleaned, and without case."""
    return clean(text, longest).casefold()


def words_of(text: str) -> list[str]:
    """Words, punctuation marks, and characters of scripts without blanks, in a normalised text."""
    return WORD.findall(text)


def shapes_of(text: str) -> list[str]:
    """What a cleaned text's words with digits or capitals look like: "WIN" is X, "McCoy" XxXx and "20p" 00x."""
    marked = (word for word in words_of(text) if any(letter.isdigit() or letter.isupper() for letter in word))
    return ["".join(_shape(word)) for word in marked]


def _shape(word: str) -> Iterator[str]:
    for kind, run in groupby("0" if c.isdigit() else "X" if c.isupper() else "x" if c.isalpha() else c for c in word):
        yield kind if kind in "Xx" else "".join(run)


def form_of(text: str) -> tuple[int, int, int]:
    """What a cleaned text looks like from afar: its length in halves of powers of two, its digits, up to 9, and the
    tenths of its letters that are capitals."""
    letters, capitals = sum(map(str.isalpha, text)), sum(map(str.isupper, text))
    length = int(2 * math.log2(max(1, len(text))))
    return length, min(MOST_DIGITS, sum(map(str.isdigit, text))), 10 * capitals // max(1, letters)


@dataclass(frozen=True)
class TextEncoder:
    """How texts become ids; 0 is padding.

    First come the words in their order, `tokens` of them at most, as ids from 1 to `order_buckets`. Behind them comes a
    bag, ascending and each id once: in the next `word_buckets` words, runs of up to `words` words, shapes of words, and
    where `form` is 1 that of the whole text (it is 0 in models from before); in the next `run_buckets` runs of
    `shortest` to `longest` characters within a word, the blanks around it included. Where there are no buckets, that
    part is left out. Texts end after `characters`.
    """

    order_buckets: int
    word_buckets: int
    run_buckets: int
    characters: int
    tokens: int = 0
    words: int = 2
    shortest: int = 2
    longest: int = 5
    form: int = 0

    @property
    def ids_in_all(self) -> int:
        return 1 + self.order_buckets + self.word_buckets + self.run_buckets

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """int32 [N, L], L being that of the longest of these texts."""
        return pad([self.ids(text) for text in texts])

    def ids(self, text: str) -> np.ndarray:
        """int32 [L]"""
        cased = clean(text, self.characters)
        text = cased.casefold()
        runs = Runs(f" {text} ")
        words = runs.hashes(*(spans_of(text) + 1).T)
        parts = [np.zeros(0, dtype=np.int32)]
        if self.order_buckets:
            parts.append(1 + into(words[: self.tokens], self.order_buckets))
        start = 1 + self.order_buckets
        if self.word_buckets:
            seen = form_hashes(cased) if self.form else words[:0]
            bag = np.concatenate([*_word_runs(words, self.words), shape_hashes(cased), seen])
            parts.append(start + np.unique(into(bag, self.word_buckets)))
        if self.run_buckets:
            lengths = range(self.shortest, self.longest + 1)
            bag = np.concatenate([runs.within_words(length) for length in lengths])
            parts.append(start + self.word_buckets + np.unique(into(bag, self.run_buckets)))
        return np.concatenate(parts)

    def to_meta(self) -> dict[str, Any]:
        return asdict(self)

    def save(self, folder: Path) -> None:
        """All of it stands in meta.json."""

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> TextEncoder:
        """Raises TypeError and ValueError where it describes none."""
        encoder = cls(**meta)
        if not all(isinstance(value, int) and value >= 0 for value in meta.values()) or encoder.ids_in_all < 2:
            raise ValueError(f"this describes no text encoder: {dict(meta)}")
        return encoder


class Encoder(Protocol):
    """What turns texts into ids."""

    @property
    def ids_in_all(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """int32 [N, L], L being that of the longest of these texts."""
        ...

    def ids(self, text: str) -> np.ndarray:
        """int32 [L]"""
        ...

    def to_meta(self) -> dict[str, Any]: ...

    def save(self, folder: Path) -> None:
        """Write to the model's folder what meta.json has no room for."""
        ...


def load_encoder(meta: Mapping[str, Any], folder: Path) -> Encoder:
    """What `meta` (the encoder in meta.json) describes, of the model in `folder`. Raises OSError, KeyError, TypeError
    and ValueError where it describes none."""
    if meta.get("kind") == PRETRAINED:  # only those models need its library
        return importlib.import_module("workers.pretrained.encoder").PretrainedEncoder.from_meta(meta, folder)
    return TextEncoder.from_meta(meta)


class Runs:
    """The characters of a text, and a 64-bit hash of every run of them (a polynomial in `BASE`, by Rabin and Karp)."""

    def __init__(self, text: str) -> None:
        codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
        self._sums = _running_sum(codes * _powers(BASE, len(codes)))
        self._inverses = _powers(INVERSE, len(codes) + 1)
        self._blanks = _running_sum((codes == BLANK).astype(np.int64))

    def hashes(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """uint64 [N] of the runs from each start up to before each end."""
        return scramble((self._sums[ends] - self._sums[starts]) * self._inverses[starts])

    def every(self, length: int) -> np.ndarray:
        """uint64 [N] of all runs of so many characters."""
        starts = np.arange(max(0, len(self._sums) - length))
        return self.hashes(starts, starts + length)

    def within_words(self, length: int) -> np.ndarray:
        """uint64 [N] of all runs of so many characters that have a blank at an end, or none at all."""
        starts = np.arange(max(0, len(self._sums) - length))
        inner = self._blanks[starts + length - 1] - self._blanks[starts + 1]
        starts = starts[inner == 0]
        return scramble(self.hashes(starts, starts + length) + np.uint64(RUN_SALT + length))


def spans_of(text: str) -> np.ndarray:
    """int64 [N, 2]: where each word of a text begins and ends."""
    return np.array([match.span() for match in WORD.finditer(text)], dtype=np.int64).reshape(-1, 2)


def shape_hashes(text: str) -> np.ndarray:
    shapes = sorted(set(shapes_of(text)))
    lengths = np.array([len(shape) for shape in shapes], dtype=np.int64)
    ends = np.cumsum(lengths)
    return scramble(Runs("".join(shapes)).hashes(ends - lengths, ends) + np.uint64(SHAPE_SALT))


def form_hashes(text: str) -> np.ndarray:
    """uint64 [3]"""
    kinds = np.arange(3, dtype=np.uint64) << np.uint64(32)
    return scramble(kinds + np.array(form_of(text), dtype=np.uint64) + np.uint64(FORM_SALT))


def _word_runs(words: np.ndarray, longest: int) -> Iterable[np.ndarray]:
    """Hashes of the words, of the pairs of words, and so on."""
    run = words
    for length in range(1, longest + 1):
        yield scramble(run + np.uint64(WORD_SALT + length))
        run = scramble(run[:-1] * np.uint64(BASE)) + words[length:]


def scramble(hashes: np.ndarray) -> np.ndarray:
    """Spread what differs in few bits over all of them (the finaliser of SplitMix64, Steele et al. 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def into(hashes: np.ndarray, buckets: int) -> np.ndarray:
    """int32 [N] from 0 to `buckets` - 1"""
    return (hashes % np.uint64(buckets)).astype(np.int32)


def _running_sum(values: np.ndarray) -> np.ndarray:
    """[N + 1], modulo 2 ** 64: the sum of what comes before each place."""
    sums = np.zeros(len(values) + 1, dtype=values.dtype)
    np.cumsum(values, out=sums[1:])
    return sums


def _powers(base: int, count: int) -> np.ndarray:
    return _many_powers(base, 1 << max(8, count.bit_length()))[:count]


@cache
def _many_powers(base: int, count: int) -> np.ndarray:
    """uint64 [count]: 1, base, base ** 2, ... modulo 2 ** 64."""
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


def pad(rows: Sequence[np.ndarray]) -> np.ndarray:
    """int32 [N, L] with `PADDING` behind each row; L is 1 at least."""
    padded = np.full((len(rows), max(1, max(map(len, rows), default=1))), PADDING, dtype=np.int32)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def read_text(value: Any) -> str:
    """A text that somebody asks about. Raises ProgramFailure (wrong_type, empty_text)."""
    if not isinstance(value, str):
        message = f"The text is {repr(value)[:60]}; it must be a text in quotes."
        raise ProgramFailure("wrong_type", message, hint='Send {"text": "..."}.', field="text")
    if not value.strip():
        raise ProgramFailure("empty_text", "The text is empty.", hint="Send a word at least.", field="text")
    return value
