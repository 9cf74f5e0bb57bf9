"""Texts as the ids of a checkpoint that reads and writes, and back, the same way in training and in serving. numpy and
tokenizers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # as many threads as the machine has cores, else

from tokenizers import Tokenizer  # noqa: E402

from workers.pretrained.families import (  # noqa: E402
    CONFIG_FILE,
    GENERATION_FILE,
    PIECES_FILE,
    SOURCE_PIECES_FILE,
    T5_PIECES_FILE,
    TARGET_PIECES_FILE,
    TOKENIZER_FILE,
    VOCABULARY_FILE,
)
from workers.pretrained.languages import NEEDED, PREFIX, SOURCE, TARGET, read_texts, tokens_of  # noqa: E402
from workers.pretrained.sentencepieces import SentencePieces  # noqa: E402
from workers.texts import PRETRAINED  # noqa: E402

SHIFT = 1  # an id here is the checkpoint's own plus one: 0 is padding everywhere, whatever a checkpoint pads with
UNKNOWN = "<unk>"
FAIRSEQ = {"<s>": 0, "<pad>": 1, "</s>": 2, UNKNOWN: 3}  # stand before the pieces in mBART, whose file begins otherwise
USUAL_LONGEST = 1024  # of what knows no longest
SOURCE_SIDE, TARGET_SIDE = "source", "target"
Ids = tuple[int, ...]


class Table:
    """A tokenizer and its ids: its own, or where `ids` is given those of the pieces' names."""

    def __init__(self, tokenizer: Tokenizer, ids: Mapping[str, int] | None = None) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer, self.ids = tokenizer, ids
        self._names = {number: name for name, number in ids.items()} if ids else {}

    @classmethod
    def load(cls, folder: Path, side: str) -> Table:
        """The one in a checkpoint's folder; Marian has one for each side. Raises OSError, KeyError and ValueError."""
        if (folder / TOKENIZER_FILE).exists():
            return cls(_read_tokenizer(folder / TOKENIZER_FILE))
        own = folder / (SOURCE_PIECES_FILE if side == SOURCE_SIDE else TARGET_PIECES_FILE)
        path = next(path for path in (own, folder / PIECES_FILE, folder / T5_PIECES_FILE) if path.exists())
        pieces = SentencePieces.read(path.read_bytes())
        if path.name == T5_PIECES_FILE:
            return cls(pieces.tokenizer())
        if (folder / VOCABULARY_FILE).exists():
            ids = json.loads((folder / VOCABULARY_FILE).read_text(encoding="utf-8"))
        else:
            shift = len(FAIRSEQ) - 3  # of its first three pieces, which have other numbers here
            ids = FAIRSEQ | {text: number + shift for number, (text, _score, _type) in enumerate(pieces.pieces[3:], 3)}
        ids[UNKNOWN]  # noqa: B018 (a KeyError is what its absence is)
        return cls(pieces.tokenizer(), ids)

    def __len__(self) -> int:
        return len(self.ids) if self.ids else self.tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        found = self.tokenizer.encode(text, add_special_tokens=False)
        return [self.ids.get(token, self.ids[UNKNOWN]) for token in found.tokens] if self.ids else found.ids

    def decode(self, ids: Sequence[int]) -> str:
        if not self.ids:
            return self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return self.tokenizer.decoder.decode([self._names[number] for number in ids if number in self._names])

    def id_of(self, token: str) -> int | None:
        return self.ids.get(token) if self.ids else self.tokenizer.token_to_id(token)

    def special_ids(self) -> Iterator[int]:
        """Those that stand for no text."""
        for number, token in self.tokenizer.get_added_tokens_decoder().items():
            if token.special:
                yield number

    def beyond(self, size: int) -> range:
        """The ids of a model of `size` ids that no text has."""
        last = max(self.ids.values() if self.ids else self.tokenizer.get_vocab().values(), default=-1)
        return range(last + 1, size)


def _read_tokenizer(path: Path) -> Tokenizer:
    content = path.read_text(encoding="utf-8")
    try:
        return Tokenizer.from_str(content)
    except Exception as error:  # what the library raises is of no class of its own
        raise ValueError(f"{path.name}: {str(error)[:200]}") from error


class CheckpointPieces:
    """One side's texts as ids plus one: the characters `before` stand before a text, and the ids `first` and `last`
    around both."""

    def __init__(self, table: Table, *, before: str = "", first: Ids = (), last: Ids = ()) -> None:
        self.table, self.before, self.first, self.last = table, before, tuple(first), tuple(last)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any], folder: Path, side: str) -> CheckpointPieces:
        """What `to_meta` said. Raises OSError, KeyError and ValueError."""
        return cls(Table.load(folder, side), **meta)

    def __len__(self) -> int:
        return SHIFT + len(self.table)

    def ids(self, text: str) -> np.ndarray:
        """int32 [L]; half a letter is a question mark."""
        whole = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
        found = [*self.first, *self.table.encode(self.before + whole), *self.last] if whole else self.last
        return np.array(found, dtype=np.int32) + SHIFT

    def text(self, ids: Sequence[int]) -> str:
        """What the ids spell; those around a text are left out."""
        around = {*self.first, *self.last}
        own = [int(number) - SHIFT for number in ids if number >= SHIFT]
        return self.table.decode([number for number in own if number not in around]).strip()

    def shorten(self, ids: np.ndarray, longest: int) -> np.ndarray:
        """At most `longest` of a text's ids, which end as whole texts do."""
        if len(ids) <= longest:
            return ids
        last = np.array(self.last, dtype=ids.dtype) + SHIFT
        return np.append(ids[: longest - len(last)], last)

    def to_meta(self) -> dict[str, Any]:
        return {"before": self.before, "first": list(self.first), "last": list(self.last)}


@dataclass(frozen=True)
class Writing:
    """How a checkpoint is asked: both sides, the ids plus one that every text it writes begins with (`prompt`), the one
    that ends a text, those that it never writes, and how many it reads, or writes after the prompt, at most."""

    source: CheckpointPieces
    target: CheckpointPieces
    prompt: Ids
    end: int
    never: Ids
    longest: int

    def meta(self) -> dict[str, Any]:
        """What meta.json says of the pieces."""
        return {"kind": PRETRAINED, SOURCE_SIDE: self.source.to_meta(), TARGET_SIDE: self.target.to_meta()}


def read_writing(folder: Path, settings: Mapping[str, Any]) -> Writing:
    """How the translator in `folder` is asked for what `settings` say of languages, which were checked. Raises OSError,
    KeyError and ValueError where its files do not say it."""
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    texts = read_texts({path.name: path.read_bytes() for path in folder.glob("*.json") if path.name != CONFIG_FILE})
    family = config["model_type"]
    known = texts.get(GENERATION_FILE, {}) | {name: value for name, value in config.items() if value is not None}
    tables = {side: Table.load(folder, side) for side in (SOURCE_SIDE, TARGET_SIDE)}
    languages = language_ids(family, texts, tables[TARGET_SIDE])
    spoken, written = (languages.get(settings[field]) for field in (SOURCE, TARGET))
    end, start = _one(known["eos_token_id"]), known.get("decoder_start_token_id", known.get("pad_token_id"))
    before, first, last, prompt = f"{settings[PREFIX]} ".lstrip(), (), (end,), (start,)
    puts_behind = family == "mbart" and start != end  # the first mBART; since mBART-50 languages stand before a text
    if family == "marian" and written is not None:
        first = (written,)
    elif puts_behind:
        last, prompt = (end, spoken), (written,)
    elif family in NEEDED:
        first, prompt = (spoken,), (start, written)
    target = tables[TARGET_SIDE]
    never = {*target.special_ids(), *languages.values(), *target.beyond(known["vocab_size"]), target.id_of(UNKNOWN)}
    never |= {start, known.get("pad_token_id"), known.get("bos_token_id")}
    return Writing(
        CheckpointPieces(tables[SOURCE_SIDE], before=before, first=first, last=last),
        CheckpointPieces(target, last=(end,)),
        tuple(number + SHIFT for number in prompt),
        end + SHIFT,
        (0, *sorted(number + SHIFT for number in never - {end, None})),
        (known.get("max_position_embeddings") or USUAL_LONGEST) - len(prompt),
    )


def language_ids(family: str, texts: Mapping[str, Any], table: Table) -> dict[str, int]:
    """The id of each language's token by the code of the language. Where the tokens are in no table, they stand behind
    it in their order. Raises ValueError where a tokenizer names a token that it has not."""
    tokens = tokens_of(family, texts)
    if table.ids and family != "marian":
        return {code: len(table) + place for place, code in enumerate(tokens)}
    found = {code: table.id_of(token) for code, token in tokens.items()}
    if lacking := [code for code, number in found.items() if number is None]:
        raise ValueError(f"the tokenizer has no token for the language {lacking[0]}")
    return found


def _one(value: Any) -> int:
    """Some configs list several; the first is the usual one."""
    return int(value[0] if isinstance(value, list) else value)
