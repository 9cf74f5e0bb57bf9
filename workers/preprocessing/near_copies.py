"""Texts that are almost alike, found without comparing each with each: minimum hashes of their words (Broder: On the
Resemblance and Containment of Documents, 1997) in bands (Leskovec et al.: Mining of Massive Datasets). Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from zlib import crc32

import numpy as np

from workers.lexical import terms_of

COMPARED = 20_000
BANDS, ROWS = 16, 4
ALIKE = 0.8  # of all words of two texts
PRIME = (1 << 31) - 1


def near_copies(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs (an earlier text, one that is almost like it): four fifths of all their words and more are in both. Each
    text is the second of one pair at most. Of more than 20,000 texts some from all over are looked at."""
    sample = texts[:: max(1, -(-len(texts) // COMPARED))]
    words = [frozenset(terms_of(text)) for text in sample]
    seen: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    found = []
    for number, signature in enumerate(signatures(words)):
        keys = [(band, signature[band * ROWS : (band + 1) * ROWS].tobytes()) for band in range(BANDS)]
        candidates = sorted({seen[key][0] for key in keys if seen[key]}) if words[number] else []
        close = [other for other in candidates if resemblance(words[number], words[other]) >= ALIKE]
        if close:
            found.append((sample[close[0]], sample[number]))
            continue
        for key in keys if words[number] else ():
            seen[key].append(number)
    return found


def resemblance(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of all their words that both have (Jaccard)."""
    return len(one & other) / max(1, len(one | other))


def signatures(words: Sequence[frozenset[str]]) -> np.ndarray:
    """uint32 [texts, BANDS * ROWS]: the smallest of so many hashes over the words of each."""
    draw = np.random.default_rng(0)
    factors, shifts = (draw.integers(1, PRIME, BANDS * ROWS, dtype=np.uint64) for _ in range(2))
    found = np.full((len(words), BANDS * ROWS), PRIME, dtype=np.uint32)
    for row, own in zip(found, words, strict=True):
        if own:
            hashes = np.array([crc32(word.encode("utf-8", "replace")) >> 1 for word in own], dtype=np.uint64)
            row[:] = ((hashes[:, None] * factors + shifts) % np.uint64(PRIME)).min(axis=0)
    return found
