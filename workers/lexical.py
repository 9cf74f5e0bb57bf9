"""Which documents have the words of a question: BM25, the same way in training and in serving. numpy only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from workers.texts import UNSPACED_LETTER, normalise, words_of

SATURATION, LENGTH_SHARE = 1.2, 0.75  # k1 and b, as they are usual
LONGEST = 5_000  # characters
RUN = 4  # characters; parts of words find what is inflected, put together or misspelt
ARRAYS = ("terms", "starts", "documents", "weights")


def terms_of(text: str) -> list[str]:
    """The words of a text without case and marks. Where a script writes no blanks between words, these are its
    characters, and the pairs of them that follow each other."""
    words = [word for word in words_of(normalise(text, LONGEST)) if word[0].isalnum()]
    is_unspaced = [bool(UNSPACED_LETTER.match(word)) for word in words]
    pairs = zip(pairwise(words), pairwise(is_unspaced), strict=True)
    return words + [first + second for (first, second), both in pairs if all(both)]


def with_runs(text: str) -> list[str]:
    """The same, and the runs of four characters within each word, the blanks around it included."""
    words = terms_of(text)
    padded = [f" {word} " for word in words]
    return words + [word[start : start + RUN] for word in padded for start in range(len(word) - RUN + 1)]


@lru_cache(maxsize=100_000)
def _hashed(term: str) -> int:
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def _counted(terms: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """uint64 hashes of the different terms, and int64 how often each is there."""
    return np.unique(np.array([_hashed(term) for term in terms], dtype=np.uint64), return_counts=True)


@dataclass(frozen=True)
class Lexicon:
    """BM25 (Robertson and Zaragoza: The Probabilistic Relevance Framework, 2009) of `count` documents, by their words,
    and where it `has_runs` by runs of their characters too.

    A term that n of N documents have counts i = ln(1 + (N - n + 1/2) / (n + 1/2)); a document of length l that has it f
    times gets i f / (f + k (1 - b + b l / mean l)) for it, with k = 1.2 and b = 3/4. The sum over the terms of a
    question, divided by that of their i, lies between 0 and 1: the share of the question that the document has.

    `terms` [T] are hashes, ascending; the documents that have term t, and what each gets for it, are
    ``documents[starts[t]:starts[t + 1]]`` and the same of `weights`.
    """

    terms: np.ndarray
    starts: np.ndarray
    documents: np.ndarray
    weights: np.ndarray
    count: int
    has_runs: bool = True

    @classmethod
    def of(cls, documents: Sequence[str], *, has_runs: bool = True) -> Lexicon:
        cut = with_runs if has_runs else terms_of
        counts = [_counted(cut(document)) for document in documents]
        lengths = np.array([max(1, times.sum()) for _terms, times in counts], dtype=np.float64)
        owners = np.repeat(np.arange(len(counts)), [len(found) for found, _times in counts])
        terms = np.concatenate([np.zeros(0, dtype=np.uint64), *(found for found, _times in counts)])
        times = np.concatenate([np.zeros(0), *(each for _found, each in counts)])
        order = np.argsort(terms, kind="stable")
        different, starts = np.unique(terms[order], return_index=True)
        ends = np.append(starts, len(terms))
        held = np.repeat(_rarity(len(counts), np.diff(ends)), np.diff(ends))
        owners, times = owners[order], times[order]
        length = 1 - LENGTH_SHARE + LENGTH_SHARE * lengths[owners] / (lengths.mean() if len(lengths) else 1.0)
        weights = held * times / (times + SATURATION * length)
        arrays = (different, ends.astype(np.int64), owners.astype(np.int32), weights.astype(np.float32))
        return cls(*arrays, len(documents), has_runs)

    def scores(self, questions: Sequence[str]) -> np.ndarray:
        """float32 [questions, documents], from 0 to 1."""
        found = np.zeros((len(questions), self.count), dtype=np.float32)
        cut = with_runs if self.has_runs else terms_of
        for row, question in zip(found, questions, strict=True):
            self._add(row, sorted({_hashed(term) for term in cut(question)}))
        return found

    def _add(self, row: np.ndarray, asked: Sequence[int]) -> None:
        wanted = np.array(asked, dtype=np.uint64)
        places = np.searchsorted(self.terms, wanted)
        total = 0.0
        for term, place in zip(wanted, places.tolist(), strict=True):
            is_known = place < len(self.terms) and self.terms[place] == term
            part = slice(self.starts[place], self.starts[place + 1]) if is_known else slice(0, 0)
            row[self.documents[part]] += self.weights[part]  # a document stands once below a term
            total += float(_rarity(self.count, part.stop - part.start))
        row /= max(total, 1e-9)

    def to_arrays(self, prefix: str) -> dict[str, np.ndarray]:
        return {f"{prefix}{name}": getattr(self, name) for name in ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], prefix: str, count: int) -> Lexicon:
        """Raises KeyError and ValueError for arrays that are none."""
        lexicon = cls(*(arrays[f"{prefix}{name}"] for name in ARRAYS), count)
        documents = lexicon.documents
        if len(lexicon.starts) != len(lexicon.terms) + 1 or len(documents) != len(lexicon.weights):
            raise ValueError("the words and their documents are of different numbers")
        if len(documents) and not 0 <= int(documents.min()) <= int(documents.max()) < count:
            raise ValueError("a word stands in a document that there is not")
        return lexicon


def _rarity(documents: int, having: np.ndarray | int) -> np.ndarray:
    """How much a term counts that so many of the documents have."""
    return np.log(1 + (documents - np.asarray(having, dtype=np.float64) + 0.5) / (np.asarray(having) + 0.5))
