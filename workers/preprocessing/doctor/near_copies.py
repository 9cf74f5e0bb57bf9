"""Images and texts that are nearly equal to another one. Numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np

from workers.preprocessing.findings import Findings
from workers.preprocessing.items import Items, tell_crossing, tell_repeated
from workers.texts import Runs, normalise, scramble

LOW_FREQUENCIES = 8
HASH_BANDS = 4
MOST_BITS = 8  # two hashes that differ in 3 bits agree in one of the bands for certain, in 8 probably
ALIKE_PICTURES = 0.995  # correlation of grey values
SLOTS, TEXT_BANDS = 32, 8
RUN, READ_CHARACTERS, FEWEST_RUNS = 5, 2_000, 20
ALIKE_TEXTS = 0.8  # Jaccard similarity of their runs of characters
CROWD = 40  # of more items with one key only neighbours are compared


def perceptual_hashes(grey: np.ndarray) -> np.ndarray:
    """uint64 [N] of grey values [N, S, S]: which of the 64 lowest frequencies of the picture are above their median (a
    discrete cosine transform; "pHash", Zauner 2010, 3.2.1)."""
    side = grey.shape[1]
    places = np.arange(side)
    waves = np.cos(np.pi * (2 * places[None] + 1) * np.arange(1, LOW_FREQUENCIES + 1)[:, None] / (2 * side))
    low = np.einsum("ka,nab,lb->nkl", waves, grey.astype(np.float32), waves, optimize=True).reshape(len(grey), -1)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def near_pictures(grey: np.ndarray) -> list[list[int]]:
    """Groups of pictures of which each is nearly equal to another of its group: hashes that differ in `MOST_BITS`
    bits at most, and grey values that correlate."""
    hashes = perceptual_hashes(grey)
    flat = grey.reshape(len(grey), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True) + np.float32(1e-6)
    width = 64 // HASH_BANDS
    bands = [(hashes >> np.uint64(width * band)) & np.uint64(2**width - 1) for band in range(HASH_BANDS)]

    def is_alike(one: int, other: int) -> bool:
        differing = int(hashes[one] ^ hashes[other]).bit_count()
        return differing <= MOST_BITS and float(flat[one] @ flat[other]) >= ALIKE_PICTURES

    return join(len(grey), bands, is_alike)


def near_texts(texts: Sequence[str], alike: float = ALIKE_TEXTS) -> list[list[int]]:
    """Groups of texts of which each shares `alike` of its runs of five characters with another of its group.

    Which to compare is found by sketches: the smallest hash in each of `SLOTS` parts of all hashes (one permutation
    hashing; Li, Owen and Zhang 2012), in bands of which one has to agree. Short texts are not compared."""
    sets = [runs_of(text) for text in texts]
    kept = [number for number, runs in enumerate(sets) if len(runs) >= FEWEST_RUNS]
    sketches = np.array([sketch(sets[number]) for number in kept], dtype=np.uint64).reshape(len(kept), SLOTS)
    rows = SLOTS // TEXT_BANDS
    bands = []
    for start in range(0, SLOTS, rows):
        key = np.zeros(len(kept), dtype=np.uint64)
        for slot in range(start, start + rows):
            key = scramble(key + sketches[:, slot])
        bands.append(key)

    def is_alike(one: int, other: int) -> bool:
        first, second = sets[kept[one]], sets[kept[other]]
        shared = len(np.intersect1d(first, second, assume_unique=True))
        return shared >= alike * (len(first) + len(second) - shared)

    return [[kept[place] for place in group] for group in join(len(kept), bands, is_alike)]


def runs_of(text: str) -> np.ndarray:
    """Hashes of the different runs of five characters, in order; case, blanks and forms of letters do not matter."""
    return np.unique(Runs(normalise(text, READ_CHARACTERS)).every(RUN))


def sketch(runs: np.ndarray) -> np.ndarray:
    """uint64 [SLOTS]; a part that is empty takes the value of the next one that is not."""
    slots = np.full(SLOTS, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(slots, (runs % np.uint64(SLOTS)).astype(np.intp), runs)
    empty = slots == np.iinfo(np.uint64).max
    if empty.any() and not empty.all():
        filled = np.flatnonzero(~empty)
        slots[empty] = slots[filled[np.searchsorted(filled, np.flatnonzero(empty)) % len(filled)]]
    return slots


def join(count: int, bands: Sequence[np.ndarray], is_alike: Callable[[int, int], bool]) -> list[list[int]]:
    """Groups of the items that are alike among those which agree in a band."""
    root = list(range(count))

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for band in bands:
        for one, other in _candidates(band):
            if find(one) != find(other) and is_alike(one, other):
                root[max(find(one), find(other))] = min(find(one), find(other))
    groups: dict[int, list[int]] = {}
    for place in range(count):
        groups.setdefault(find(place), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def _candidates(band: np.ndarray) -> Iterator[tuple[int, int]]:
    order = np.argsort(band, kind="stable")
    edges = np.flatnonzero(np.diff(band[order])) + 1
    for crowd in np.split(order, edges) if len(order) else ():
        if 1 < len(crowd) <= CROWD:
            yield from combinations(crowd.tolist(), 2)
        elif len(crowd) > CROWD:
            yield from zip(crowd[:-1].tolist(), crowd[1:].tolist(), strict=True)


def warn_of_near_copies(
    groups: Sequence[Sequence[int]], items: Items, noun: str, findings: Findings, sampled: str
) -> None:
    """`groups` hold numbers of items that are nearly, and not wholly, equal."""
    crossing = sum(len({items.splits[number] for number in numbers}) > 1 for numbers in groups)
    message = f"Groups of {noun} that are nearly equal and stand in more than one of train, val and test: {crossing:,}."
    tell_crossing(groups, items, "near_copies_across_splits", message, findings)
    later = sorted(number for numbers in groups for number in numbers[1:])
    message = f"{noun.capitalize()} that are nearly equal to another one: {len(later):,}."
    tell_repeated(later, items, "near_copies", message, findings, beside=groups, sampled=sampled)
