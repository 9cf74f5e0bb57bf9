"""Texts as pieces of words and back, learned from the texts themselves: byte-level byte pair encoding (Sennrich et al.
2016, "Neural Machine Translation of Rare Words with Subword Units"; bytes as in Radford et al. 2019).

Every text can be written in these pieces, since the smallest are single bytes, so there is no unknown word in any
language. Characters of scripts that write no blanks between words stand alone. A table of pieces is plain JSON.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # as many threads as the machine has cores, else

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402

from workers.texts import UNSPACED, UNSPACED_LETTER  # noqa: E402

PADDING, BEGIN, END = SPECIAL = 0, 1, 2
BYTES = 256
FEWEST_TIMES = 2  # that two pieces must stand together to become one
BROKEN = "\ufffd"


def tidy(text: str) -> str:
    """Composed letters (NFC) and single blanks: what people see stays as it is. Half a letter is a question mark."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join(unicodedata.normalize("NFC", whole).split())


class Subwords:
    """A table of pieces. Their ids follow those of padding, begin and end, which no text can spell."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> Subwords:
        """Merge what stands together most often in `texts` until there are `size` ids, or nothing is left to merge."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(f"[{UNSPACED}]"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=max(BYTES, size - len(SPECIAL)),
            min_frequency=FEWEST_TIMES,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(map(spaced, texts), trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: Path) -> Subwords:
        """Raises OSError and ValueError where there is no such table."""
        content = path.read_text(encoding="utf-8")
        try:
            return cls(Tokenizer.from_str(content))
        except Exception as error:  # what the library raises is of no class of its own
            raise ValueError(f"{path.name}: {str(error)[:200]}") from error

    def save(self, path: Path) -> None:
        path.write_text(self._tokenizer.to_str(), encoding="utf-8")

    def __len__(self) -> int:
        return len(SPECIAL) + self._tokenizer.get_vocab_size()

    def ids(self, text: str) -> np.ndarray:
        """int32 [L]: the pieces of a text, and the end."""
        pieces = self._tokenizer.encode(spaced(text), add_special_tokens=False).ids
        return np.array([*(piece + len(SPECIAL) for piece in pieces), END], dtype=np.int32)

    def shorten(self, ids: np.ndarray, longest: int) -> np.ndarray:
        """At most `longest` of a text's ids, of which the last is the end."""
        return ids if len(ids) <= longest else np.append(ids[: longest - 1], np.int32(END))

    def text(self, ids: Sequence[int]) -> str:
        """What the pieces spell; bytes that make no character are left out."""
        pieces = [int(number) - len(SPECIAL) for number in ids if number >= len(SPECIAL)]
        return self._tokenizer.decode(pieces, skip_special_tokens=False).replace(BROKEN, "").strip()


def spaced(text: str) -> str:
    """The first word gets the blank before it that all other words have, so that it is the same piece."""
    text = tidy(text)
    return text if not text or UNSPACED_LETTER.match(text) else f" {text}"
