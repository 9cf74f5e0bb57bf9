"""Writing a translation token by token with a cache of keys and values. numpy only, whatever computes the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

# Tokens [M], keys and values of what is written, keys and values of the source, and its mask, to log-probabilities
# [M, V] and the keys and values of what is written with these tokens.
Step = Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]


class CachedDecoding:
    """`beams.Decoding` over a `step`, for sources whose `keys` and `values` are [N, blocks, heads, S, size] and whose
    `mask` is [N, S]. What is written is looked at through its keys and values, so that each step costs one token.
    `prompt` are tokens that every text begins with, in place of the one that a search begins with."""

    def __init__(
        self, step: Step, keys: np.ndarray, values: np.ndarray, mask: np.ndarray, prompt: Sequence[int] = ()
    ) -> None:
        self._step, self._sources, self._prompt = step, (keys, values, mask), prompt
        self._own = self._sources
        self._source_of = np.arange(len(keys))
        nothing = np.zeros((*keys.shape[:3], 0, keys.shape[4]), dtype=keys.dtype)
        self._written = (nothing, nothing)

    def step(self, tokens: np.ndarray) -> np.ndarray:
        is_first = not self._written[0].shape[3]
        begun = [np.full_like(tokens, token) for token in self._prompt] if is_first else []
        for each in begun or [tokens]:
            scores, *written = self._step(each, *self._written, *self._own)
            self._written = tuple(written)
        return scores

    def keep(self, rows: np.ndarray) -> None:
        self._written = tuple(array[rows] for array in self._written)
        source_of = self._source_of[rows]
        if not np.array_equal(source_of, self._source_of):  # beams of one sentence share its source
            self._source_of, self._own = source_of, tuple(array[source_of] for array in self._sources)
