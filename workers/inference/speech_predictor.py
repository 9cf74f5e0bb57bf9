"""A model of recordings that writes down what is said in them."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.audio import decode
from workers.inference.characters import Characters
from workers.inference.ctc import Decoding, align, log_probability, search
from workers.inference.files import open_session
from workers.inference.hearing import Spectra, hearing_of, parts_of
from workers.inference.outcomes import PROBABILITY_DIGITS
from workers.inference.speech import Speech, Word

FRAMES_AT_ONCE = 6_000  # of all parts of a batch, padding included
TIME_DIGITS = 2
WHISPER = "whisper"  # what writes token by token, and not a character for each moment


def load_speech_predictor(model_dir: Path, meta: dict[str, Any], threads: int) -> SpeechPredictor:
    """Raises as a Predictor does."""
    if meta.get("writes") == WHISPER:
        return importlib.import_module("workers.inference.whisper_predictor").WhisperPredictor(model_dir, meta, threads)
    return SpeechPredictor(model_dir, meta, threads)


class SpeechPredictor:
    """Texts of recordings, how sure the model is of them, and when which word was said.

    A recording that is longer than those that were learned from is cut where it is quiet, and its parts are heard one
    by one.
    """

    def __init__(self, model_dir: Path, meta: dict[str, Any], threads: int) -> None:
        self.meta = meta
        self.classes: list[str] = []
        self.sample = (model_dir / meta["sample"]).read_bytes()
        self.hearing, self.longest = hearing_of(meta), int(meta["input"]["frames"])
        self.rate = self.hearing.rate
        self._open(model_dir, threads)

    def _open(self, model_dir: Path, threads: int) -> None:
        """What makes texts of what is heard."""
        meta = self.meta
        self.alphabet: list[str] = meta["alphabet"]
        self._blank = " " if " " in self.alphabet else ""  # some scripts have none between words
        self.decoding = Decoding(**meta["decoding"])
        self.language = Characters.load(model_dir / meta["language"]) if meta.get("language") else None
        self._session = open_session(model_dir, threads)

    def decode(self, body: bytes) -> np.ndarray:
        """The moments of a recording. Raises ProgramFailure."""
        return self.hearing.hear(decode(body, self.rate))

    def collate(self, decoded: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(decoded)

    def encode(self, bodies: Sequence[bytes]) -> list[np.ndarray]:
        return self.collate([self.decode(body) for body in bodies])

    def encode_samples(self, samples: np.ndarray) -> list[np.ndarray]:
        """The same for recordings as samples float32 [N, n] between -1 and 1, `rate` of them a second."""
        return [self.hearing.hear(each) for each in samples]

    def feed(self, items: Sequence[bytes]) -> dict[str, np.ndarray]:
        """The first part of each, for the graph."""
        first = [parts_of(each, self.longest, self.hearing)[0] for each in self.encode(items)]
        return self.hearing.feed(first if self._is_together else first[:1])

    def run(self, sounds: Sequence[np.ndarray]) -> list[Speech]:
        cut = [parts_of(each, self.longest, self.hearing) for each in sounds]
        found = iter(self.listen([part for parts in cut for part in parts]))
        return [self._write([next(found) for _part in parts]) for parts in cut]

    def listen(self, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log-probabilities [moments / step, characters] of each part, some at once where what is padded is not heard:
        short ones with short ones, so that little of a batch is padding."""
        if not self._is_together:
            return [self._listen([part])[0] for part in parts]
        order = sorted(range(len(parts)), key=lambda place: len(parts[place]))
        found: dict[int, np.ndarray] = {}
        while order:
            count = 1
            while count < len(order) and (count + 1) * len(parts[order[count]]) <= FRAMES_AT_ONCE:
                count += 1
            some, order = order[:count], order[count:]
            found |= zip(some, self._listen([parts[place] for place in some]), strict=True)
        return [found[place] for place in range(len(parts))]

    def _listen(self, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        (found,) = self._session.run(None, self.hearing.feed(parts))
        logs = np.log(np.maximum(found, np.finfo(np.float32).tiny))
        return [each[: -(-len(part) // self.hearing.step)] for each, part in zip(logs, parts, strict=True)]

    @property
    def _is_together(self) -> bool:
        return isinstance(self.hearing, Spectra)

    def predict(self, bodies: Sequence[bytes]) -> list[Speech]:
        """Raises ProgramFailure for what is no usable recording."""
        return self.run(self.encode(bodies))

    def items_in(self, path: Path) -> list[bytes]:
        return [path.read_bytes()]

    def outcome(self, output: Speech, top_k: int | None = None) -> dict[str, Any]:
        words = [{"word": word.text, "start": word.start, "end": word.end} for word in output.words]
        return {"text": output.text, "confidence": round(output.confidence, PROBABILITY_DIGITS), "words": words}

    def _write(self, parts: Sequence[np.ndarray]) -> Speech:
        """The text of a recording from those of its parts."""
        words: list[Word] = []
        chance, characters, frames = 0.0, 0, 0
        for logs in parts:
            text = search(logs, self.decoding, self.alphabet, self.language)
            chance, characters = chance + log_probability(logs, text), characters + len(text) + 1
            words += self._words(text, align(logs, text), frames)
            frames += len(logs)
        return Speech(self._blank.join(word.text for word in words), math.exp(chance / characters), tuple(words))

    def _words(self, text: Sequence[int], frames: Sequence[tuple[int, int]], before: int) -> list[Word]:
        """The words of a part which begins after so many frames."""
        letters = [self.alphabet[place - 1] for place in text]
        ends = [place for place, letter in enumerate(letters) if letter == " "]
        found = []
        for start, end in zip([0, *(place + 1 for place in ends)], [*ends, len(letters)], strict=True):
            if end > start:
                first, last = frames[start][0] + before, frames[end - 1][1] + before + 1
                found.append(Word("".join(letters[start:end]), self._seconds(first), self._seconds(last)))
        return found

    def _seconds(self, answers: int) -> float:
        return round(answers * self.hearing.step * self.hearing.seconds, TIME_DIGITS)
