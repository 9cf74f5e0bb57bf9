"""A model that translates texts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.contract import ProgramFailure
from workers.inference.beams import Found, Search, search
from workers.inference.decoding import CachedDecoding
from workers.inference.files import open_session
from workers.subwords import END, Subwords
from workers.texts import pad

SENTENCES_AT_ONCE = 32
READER_FILE, WRITER_FILE = "reader.onnx", "writer.onnx"
LEAST_ROOM = 10  # tokens that a translation may have whatever the length of the source


class TranslationPredictor:
    """Translations and how sure the model is of them. Each line of a text is translated by itself."""

    classes: tuple[str, ...] = ()

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        self.sample: str = json.loads((model_dir / meta["sample"]).read_text(encoding="utf-8"))["text"]
        self.source_pieces = Subwords.load(model_dir / meta["pieces"]["source"])
        self.target_pieces = Subwords.load(model_dir / meta["pieces"]["target"])
        self.search = Search(**meta["search"])
        self.longest: int = meta["architecture_args"]["longest"]
        self.growth: float = meta["growth"]
        self._reader = open_session(model_dir, threads, READER_FILE)
        self._writer = open_session(model_dir, threads, WRITER_FILE)
        self._inputs = [item.name for item in self._writer.get_inputs()]

    def check_length(self, text: str) -> None:
        """Raises ProgramFailure (text_too_long) where a line has more pieces than the model has ever seen together."""
        for line in text.splitlines():
            if (count := len(self.source_pieces.ids(line))) > self.longest:
                message = f"A line has {count:,} pieces of words; this model reads at most {self.longest:,}."
                hint = "Put each sentence on a line of its own."
                raise ProgramFailure("text_too_long", message, hint=hint, field="text")

    def translate(
        self, texts: Sequence[str], beams: int | None = None, progress: Callable[[float], None] = lambda share: None
    ) -> list[tuple[str, float]]:
        """(translation, score) of each text; `beams` other than the model's own are for this call. A line that is too
        long is read as far as it goes. The score is the geometric mean of the probabilities of what was written."""
        lines = [(number, line) for number, text in enumerate(texts) for line in text.splitlines() or [""]]
        found = self._translate_lines([line for _number, line in lines], beams, progress)
        parts: list[list[tuple[str, Found | None]]] = [[] for _text in texts]
        for (number, _line), item in zip(lines, found, strict=True):
            parts[number].append((self.target_pieces.text(item.tokens) if item else "", item))
        return [
            ("\n".join(text for text, _item in part), _score([item for _text, item in part if item])) for part in parts
        ]

    def _translate_lines(
        self, lines: Sequence[str], beams: int | None, progress: Callable[[float], None]
    ) -> list[Found | None]:
        """What is found for each line; None for one without a word."""
        sources = [self._cut(self.source_pieces.ids(line)) for line in lines]
        found: list[Found | None] = [None] * len(lines)
        order = sorted((number for number, line in enumerate(lines) if line.strip()), key=lambda n: len(sources[n]))
        settings = Search(beams or self.search.beams, self.search.penalty)
        for start in range(0, len(order), SENTENCES_AT_ONCE):
            numbers = order[start : start + SENTENCES_AT_ONCE]
            for number, item in zip(numbers, self._search([sources[n] for n in numbers], settings), strict=True):
                found[number] = item
            progress(min(1.0, (start + SENTENCES_AT_ONCE) / len(order)))
        return found

    def _cut(self, ids: np.ndarray) -> np.ndarray:
        return ids if len(ids) <= self.longest else np.append(ids[: self.longest - 1], np.int32(END))

    def _search(self, sources: Sequence[np.ndarray], settings: Search) -> list[Found]:
        decoding = CachedDecoding(self._step, *self._reader.run(None, {"source": pad(sources).astype(np.int64)}))
        return search(decoding, [room(len(ids), self.growth, self.longest) for ids in sources], settings)

    def _step(self, *state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return tuple(self._writer.run(None, dict(zip(self._inputs, state, strict=True))))


def room(length: int, growth: float, longest: int) -> int:
    """How many tokens the translation of `length` tokens may have."""
    return min(longest, LEAST_ROOM + math.ceil(growth * length))


def _score(found: Sequence[Found]) -> float:
    tokens = sum(len(item.tokens) + 1 for item in found)
    return math.exp(sum(item.log_probability for item in found) / tokens) if tokens else 0.0
