"""What the quick model sees: numbers made of images, texts, rows and recordings. Numpy only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from workers.preprocessing.columns import parse_number
from workers.texts import TextEncoder

DIRECTIONS, CELL = 9, 4
RANDOM_FEATURES = 1_024
COMPARED_FOR_WIDTH = 400
HASHED = 1_024
TEXT_ENCODER = TextEncoder(0, 2**15, 2**16, 1_000)
QUANTILES, COMMON_VALUES = 8, 30
WEIGHT_OF_NUMBERS = 2.0
MOST_DIMENSIONS = 800


def image_features(pixels: np.ndarray) -> np.ndarray:
    """float32 [N, D] of uint8 pixels [N, S, S, 3]: histograms of the directions of edges in cells of 4 x 4 pixels, in
    blocks of 2 x 2 cells (HOG; Dalal and Triggs 2005), and colours of an 8 x 8 picture; as random cosines."""
    grey = pixels.mean(axis=3, dtype=np.float32) / 255
    edges = _edges(grey)
    side = grey.shape[1] // 8
    colours = (
        pixels.reshape(len(pixels), 8, side, 8, side, 3).mean(axis=(2, 4), dtype=np.float32).reshape(len(pixels), -1)
    )
    return random_cosines(np.hstack([edges, colours / 255 * 0.5]))


def _edges(grey: np.ndarray) -> np.ndarray:
    count, side = grey.shape[:2]
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    strength = np.hypot(across, down)
    turn = (np.arctan2(down, across) % np.pi) * (DIRECTIONS / np.pi)
    lower = np.floor(turn)
    share = (turn - lower).astype(np.float32)
    cells = side // CELL
    row, column = np.divmod(np.arange(side * side), side)
    cell = (row // CELL * cells + column // CELL).reshape(1, side, side)
    base = (np.arange(count).reshape(-1, 1, 1) * cells * cells + cell) * DIRECTIONS
    lower = lower.astype(np.int64) % DIRECTIONS
    size = count * cells * cells * DIRECTIONS
    bins = np.bincount((base + lower).ravel(), (strength * (1 - share)).ravel(), minlength=size)
    bins += np.bincount((base + (lower + 1) % DIRECTIONS).ravel(), (strength * share).ravel(), minlength=size)
    bins = bins.reshape(count, cells, cells, DIRECTIONS).astype(np.float32)
    blocks = np.concatenate([bins[:, :-1, :-1], bins[:, 1:, :-1], bins[:, :-1, 1:], bins[:, 1:, 1:]], axis=-1)
    blocks /= np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + 0.01)
    return blocks.reshape(count, -1)


def random_cosines(vectors: np.ndarray) -> np.ndarray:
    """float32 [N, RANDOM_FEATURES]: cosines whose products are near a Gaussian kernel, as wide as half of the median
    squared distance (Rahimi and Recht 2007)."""
    draws = np.random.default_rng(0)
    some = vectors[:COMPARED_FOR_WIDTH]
    squares = (some**2).sum(axis=1)
    distances = squares[:, None] + squares[None] - 2 * some @ some.T
    width = float(np.median(distances[~np.eye(len(some), dtype=bool)])) if len(some) > 1 else 1.0
    weights = draws.normal(size=(vectors.shape[1], RANDOM_FEATURES)).astype(np.float32)
    weights /= np.float32(np.sqrt(max(width, 1e-6) / 2))
    shifts = draws.uniform(0, 2 * np.pi, RANDOM_FEATURES).astype(np.float32)
    return np.cos(vectors.astype(np.float32) @ weights + shifts) * np.float32(np.sqrt(2 / RANDOM_FEATURES))


def sound_features(glances: np.ndarray) -> np.ndarray:
    """float32 [N, D] of what the decoder of recordings makes of each, float32 [N, G]."""
    spread = glances.std(axis=0)
    return random_cosines((glances - glances.mean(axis=0)) / np.where(spread > 1e-3, spread, 1))


def text_features(texts: Sequence[str]) -> np.ndarray:
    """float32 [N, HASHED]: words, pairs of words and runs of 2 to 5 letters, by how rare they are, each added with a
    random sign at two random places (feature hashing; Weinberger et al. 2009)."""
    ids = [TEXT_ENCODER.ids(text) for text in texts]
    flat = np.concatenate(ids)
    row = np.repeat(np.arange(len(texts)), [len(each) for each in ids])
    total = TEXT_ENCODER.ids_in_all
    having = np.bincount(flat, minlength=total)
    known = having[flat] > 1
    flat, row = flat[known], row[known]
    rarity = np.log(len(texts) / np.maximum(1, having)).astype(np.float32)
    draws = np.random.default_rng(0)
    found = np.zeros(len(texts) * HASHED, dtype=np.float64)
    for _ in range(2):
        places, signs = draws.integers(0, HASHED, total), draws.choice((-1.0, 1.0), total)
        found += np.bincount(row * HASHED + places[flat], rarity[flat] * signs[flat], minlength=len(found))
    found = found.reshape(len(texts), HASHED).astype(np.float32)
    return found / (np.linalg.norm(found, axis=1, keepdims=True) + np.float32(1e-6))


def table_features(columns: Sequence[tuple[str, Sequence[str]]]) -> np.ndarray:
    """float32 [N, D] of (type, values) of each column: 0 and 1 for each of its commonest values, or each of the
    quantiles of a number, and the number itself; missing values are one of them."""
    made = []
    for kind, values in columns:
        if kind == "numeric":
            numbers = np.array([np.nan if (n := parse_number(value)) is None else n for value in values])
            if np.isnan(numbers).all():
                continue
            edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, QUANTILES + 1)[1:-1]))
            places = np.searchsorted(edges, numbers, side="right")
            places[np.isnan(numbers)] = len(edges) + 1
            spread = np.nanstd(numbers) or 1.0
            standard = np.clip((numbers - np.nanmedian(numbers)) / spread, -4, 4)
            made.append(WEIGHT_OF_NUMBERS * np.nan_to_num(standard)[:, None])
        else:
            common = {value: place for place, (value, _) in enumerate(Counter(values).most_common(COMMON_VALUES))}
            places = np.array([common.get(value, COMMON_VALUES) for value in values])
        made.append(np.eye(places.max() + 1, dtype=np.float32)[places])
        if sum(part.shape[1] for part in made) > MOST_DIMENSIONS:
            break
    return np.hstack(made).astype(np.float32) if made else np.zeros((0, 0), dtype=np.float32)
