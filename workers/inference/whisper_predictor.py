"""A model that hears half a minute at once, and writes what is said in it token by token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workers.inference.beams import Found, Search
from workers.inference.hearing import padded, parts_of
from workers.inference.speech import Speech
from workers.inference.speech_predictor import SpeechPredictor
from workers.inference.writing import GraphWriter
from workers.pretrained.pieces import TARGET_SIDE, CheckpointPieces

AT_ONCE = 4  # parts


class WhisperPredictor(SpeechPredictor):
    """Texts of recordings, and how sure the model is of them. It does not say when a word was said."""

    def _open(self, model_dir: Path, threads: int) -> None:
        meta = self.meta
        self.pieces = CheckpointPieces.from_meta(meta["pieces"][TARGET_SIDE], model_dir, TARGET_SIDE)
        self.search, self.most_tokens = Search(**meta["search"]), int(meta["architecture_args"]["longest"])
        self._writer = GraphWriter(model_dir, threads, meta["prompt"])

    def feed(self, items: Sequence[bytes]) -> dict[str, np.ndarray]:
        first = [parts_of(each, self.longest, self.hearing)[0] for each in self.encode(items)]
        return {"samples": padded_samples(first, self.longest)}

    def listen(self, parts: Sequence[np.ndarray]) -> list[Found]:
        found: list[Found] = []
        for start in range(0, len(parts), AT_ONCE):
            some = parts[start : start + AT_ONCE]
            feed = {"samples": padded_samples(some, self.longest)}
            found += self._writer.write(feed, [self.most_tokens] * len(some), self.search)
        return found

    def _write(self, parts: Sequence[Found]) -> Speech:
        texts = [self.pieces.text(part.tokens) for part in parts]
        tokens = sum(len(part.tokens) + 1 for part in parts)
        chance = sum(part.log_probability for part in parts)
        return Speech(" ".join(filter(None, texts)), math.exp(chance / tokens))


def padded_samples(parts: Sequence[np.ndarray], longest: int) -> np.ndarray:
    """int16 [N, longest]"""
    return padded(parts, (longest,), np.int16)
