"""Texts as a checkpoint's own tokenizer cuts them, the same way in training and in serving. numpy and tokenizers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # as many threads as the machine has cores, else

from tokenizers import Tokenizer  # noqa: E402

from workers.pretrained.families import CONFIG_FILE, TOKENIZER_FILE  # noqa: E402
from workers.texts import PRETRAINED, pad  # noqa: E402

USUAL_LONGEST = 512
COUNT_FROM_PADDING = ("camembert", "mpnet", "roberta", "xlm-roberta")


class PretrainedEncoder:
    """Texts of at most `characters`, as at most `tokens` of a tokenizer's ids, each plus one: 0 is padding everywhere
    here, whatever a checkpoint pads with. What the checkpoint puts around a text is part of it."""

    def __init__(self, tokenizer: Tokenizer, tokens: int, characters: int) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(tokens)
        self._tokenizer, self.tokens, self.characters = tokenizer, tokens, characters

    @classmethod
    def load(cls, folder: Path, tokens: int, characters: int) -> PretrainedEncoder:
        """Raises OSError, and ValueError where the folder has no tokenizer that can be read."""
        content = (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
        try:
            return cls(Tokenizer.from_str(content), tokens, characters)
        except Exception as error:  # what the library raises is of no class of its own
            raise ValueError(f"{TOKENIZER_FILE}: {str(error)[:200]}") from error

    @classmethod
    def of_checkpoint(cls, folder: Path, tokens: int, characters: int) -> PretrainedEncoder:
        """As far as the checkpoint can read. Raises as `load`, and KeyError."""
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        return cls.load(folder, min(tokens, longest_input(config)), characters)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any], folder: Path) -> PretrainedEncoder:
        return cls.load(folder, meta["tokens"], meta["characters"])

    def save(self, folder: Path) -> None:
        (folder / TOKENIZER_FILE).write_text(self._tokenizer.to_str(), encoding="utf-8")

    @property
    def ids_in_all(self) -> int:
        return 1 + self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """int32 [N, L], L being that of the longest of these texts."""
        return pad([self.ids(text) for text in texts])

    def ids(self, text: str) -> np.ndarray:
        """int32 [L]; half a letter is a question mark."""
        whole = text[: self.characters].encode("utf-8", "replace").decode("utf-8")
        return np.array(self._tokenizer.encode(whole).ids, dtype=np.int32) + 1

    def to_meta(self) -> dict[str, Any]:
        return {"kind": PRETRAINED, "tokens": self.tokens, "characters": self.characters}


def longest_input(config: Mapping[str, Any]) -> int:
    """How many tokens the checkpoint can read. Position numbers of the RoBERTa family begin behind that of padding."""
    most = config.get("max_position_embeddings") or USUAL_LONGEST
    is_offset = config["model_type"] in COUNT_FROM_PADDING
    return most - 1 - (config.get("pad_token_id") or 0) if is_offset else most
