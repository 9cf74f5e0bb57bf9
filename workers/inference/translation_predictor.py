"""A model that translates texts."""

from __future__ import annotations

import importlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from workers.inference.beams import Found, Search
from workers.inference.files import read_column
from workers.inference.outcomes import PROBABILITY_DIGITS
from workers.inference.translations import Asked, Translation
from workers.inference.writing import GraphWriter
from workers.subwords import Subwords
from workers.texts import PRETRAINED, pad

SENTENCES_AT_ONCE = 32
SIDES = ("source", "target")
LEAST_ROOM = 10  # tokens that a translation may have whatever the length of the source
Lines = list[np.ndarray]  # int32 [S] each
NOTHING = np.zeros(0, dtype=np.int32)


class TranslationPredictor:
    """Translations and how sure the model is of them. Each line of a text is translated by itself, and read as far as
    the model has ever read."""

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        self.classes: list[str] = []
        self.sample = Asked(json.loads((model_dir / meta["sample"]).read_text(encoding="utf-8"))["text"])
        self.source_pieces, self.target_pieces = (load_pieces(model_dir, meta["pieces"], side) for side in SIDES)
        self.search = Search(**meta["search"])
        self.longest: int = meta["architecture_args"]["longest"]
        self.growth: float = meta["growth"]
        self._writer = GraphWriter(model_dir, threads, meta.get("prompt", ()))

    def encode(self, items: Sequence[Asked]) -> list[tuple[Lines, int]]:
        """The lines of each text, empty where there is no word, and how many beams to search with."""
        return [
            ([self._ids(line) for line in item.text.splitlines() or [""]], item.beams or self.search.beams)
            for item in items
        ]

    def _ids(self, line: str) -> np.ndarray:
        if not line.strip():
            return NOTHING
        return self.source_pieces.shorten(self.source_pieces.ids(line), self.longest)

    def feed(self, items: Sequence[Asked]) -> dict[str, np.ndarray]:
        """The first line of each, for the graph that reads."""
        return {"source": pad([lines[0] for lines, _beams in self.encode(items)]).astype(np.int64)}

    def run(self, encoded: Sequence[tuple[Lines, int]]) -> list[Translation]:
        wanted: dict[int, dict[tuple[int, int], np.ndarray]] = defaultdict(dict)
        for number, (lines, beams) in enumerate(encoded):
            wanted[beams] |= {(number, place): ids for place, ids in enumerate(lines) if len(ids)}
        found: dict[tuple[int, int], Found] = {}
        for beams, lines in wanted.items():
            found.update(self._search_all(lines, replace(self.search, beams=beams)))
        return [
            self._joined([found.get((number, place)) for place in range(len(lines))])
            for number, (lines, _beams) in enumerate(encoded)
        ]

    def predict(self, items: Sequence[Asked]) -> list[Translation]:
        return self.run(self.encode(items))

    def items_in(self, path: Path) -> list[Asked]:
        """The lines of a text file, or the column of a CSV file that was learned from. Raises ProgramFailure."""
        return [Asked(text) for text in read_column(path, self.meta["input"]["column"])]

    def outcome(self, output: Translation, top_k: int | None = None) -> dict[str, Any]:
        return {"translation": output.text, "score": round(output.score, PROBABILITY_DIGITS)}

    def _search_all(
        self, lines: dict[tuple[int, int], np.ndarray], settings: Search
    ) -> Iterator[tuple[tuple[int, int], Found]]:
        """Short ones with short ones, so that little of a batch is padding."""
        order = sorted(lines, key=lambda key: len(lines[key]))
        for start in range(0, len(order), SENTENCES_AT_ONCE):
            keys = order[start : start + SENTENCES_AT_ONCE]
            yield from zip(keys, self._search([lines[key] for key in keys], settings), strict=True)

    def _search(self, sources: Lines, settings: Search) -> list[Found]:
        limits = [room(len(ids), self.growth, self.longest) for ids in sources]
        return self._writer.write({"source": pad(sources).astype(np.int64)}, limits, settings)

    def _joined(self, found: Sequence[Found | None]) -> Translation:
        """The translation of a text from those of its lines."""
        text = "\n".join(self.target_pieces.text(item.tokens) if item else "" for item in found)
        tokens = sum(len(item.tokens) + 1 for item in found if item)
        logs = sum(item.log_probability for item in found if item)
        return Translation(text, math.exp(logs / tokens) if tokens else 0.0)


def load_pieces(model_dir: Path, meta: dict[str, Any], side: str) -> Any:
    """How texts of a side become ids and back. Raises OSError, KeyError and ValueError."""
    if meta.get("kind") == PRETRAINED:
        pieces = importlib.import_module("workers.pretrained.pieces")
        return pieces.CheckpointPieces.from_meta(meta[side], model_dir, side)
    return Subwords.load(model_dir / meta[side])


def room(length: int, growth: float, longest: int) -> int:
    """How many tokens the translation of `length` tokens may have."""
    return min(longest, LEAST_ROOM + math.ceil(growth * length))
