"""Files of SentencePiece (Kudo and Richardson 2018, "SentencePiece: A simple and language independent subword
tokenizer") as tokenizers. Pure Python and tokenizers: nothing of SentencePiece itself is loaded.

The file is a protocol buffer (sentencepiece_model.proto). Of its messages these fields count here. ModelProto: pieces
1, trainer_spec 2, normalizer_spec 3. SentencePiece: piece 1, score 2, type 3. TrainerSpec: model_type 3, byte_fallback
35, unk_id 40. NormalizerSpec: precompiled_charsmap 2, add_dummy_prefix 3, remove_extra_whitespaces 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

BLANK = "\u2581"
NORMAL, BPE = 1, 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers
MOST_VARINT_BYTES = 10


@dataclass(frozen=True)
class SentencePieces:
    """`pieces` are (text, score, type), by their number."""

    pieces: list[tuple[str, float, int]]
    is_bpe: bool
    unknown: int
    has_bytes: bool
    charsmap: bytes
    begins_with_blank: bool
    folds_blanks: bool

    @classmethod
    def read(cls, content: bytes) -> SentencePieces:
        """Raises ValueError where that is no such file."""
        fields = list(_fields(content))
        pieces = [_piece(value) for number, value in fields if number == 1]
        if not pieces:
            raise ValueError("it holds no pieces")
        trainer, normalizer = (dict(_fields(_last(fields, number))) for number in (2, 3))
        return cls(
            pieces,
            trainer.get(3, NORMAL) == BPE,
            trainer.get(40, 0),
            bool(trainer.get(35, 0)),
            normalizer.get(2, b""),
            bool(normalizer.get(3, 1)),
            bool(normalizer.get(4, 1)),
        )

    def tokenizer(self) -> Tokenizer:
        """Cuts texts as SentencePiece does; its ids are the pieces' numbers. Raises ValueError."""
        if not 0 <= self.unknown < len(self.pieces):
            raise ValueError("it names no unknown piece")
        try:
            tokenizer = Tokenizer(self._merging() if self.is_bpe else self._most_probable())
            tokenizer.normalizer = normalizers.Sequence(self._normalizers())
        except Exception as error:  # what the library raises is of no class of its own
            raise ValueError(str(error)[:200]) from error
        scheme = "always" if self.begins_with_blank else "never"
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme=scheme, split=False)
        tokenizer.decoder = decoders.Metaspace(replacement=BLANK, prepend_scheme=scheme)
        return tokenizer

    def _normalizers(self) -> list[normalizers.Normalizer]:
        found: list[normalizers.Normalizer] = [normalizers.Precompiled(self.charsmap)] if self.charsmap else []
        if self.folds_blanks:
            found += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
        return found

    def _most_probable(self) -> models.Unigram:
        vocabulary = [(text, score) for text, score, _type in self.pieces]
        return models.Unigram(vocabulary, self.unknown, self.has_bytes)

    def _merging(self) -> models.BPE:
        """Pieces are merged in the order of their scores."""
        numbers = {text: number for number, (text, _score, _type) in enumerate(self.pieces)}
        normal = {text: score for text, score, kind in self.pieces if kind == NORMAL}
        ranked = [
            (-score, numbers[text], text[:place], text[place:])
            for text, score in normal.items()
            for place in range(1, len(text))
            if text[:place] in normal and text[place:] in normal
        ]
        merges = [(left, right) for _score, _number, left, right in sorted(ranked)]
        unknown = self.pieces[self.unknown][0]
        return models.BPE(numbers, merges, unk_token=unknown, fuse_unk=True, byte_fallback=self.has_bytes)


def _piece(content: bytes) -> tuple[str, float, int]:
    found = dict(_fields(content))
    (score,) = struct.unpack("<f", found.get(2, bytes(4)))
    return found.get(1, b"").decode("utf-8"), score, found.get(3, NORMAL)


def _last(fields: list[tuple[int, int | bytes]], wanted: int) -> bytes:
    return next((value for number, value in reversed(fields) if number == wanted and isinstance(value, bytes)), b"")


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field of a message: an int for a varint, else bytes. Raises ValueError."""
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, place = _varint(content, place)
            yield number, value
            continue
        if kind == BYTES:
            size, place = _varint(content, place)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise ValueError("it is no file of SentencePiece")
        if place + size > len(content):
            raise ValueError("it ends too early")
        yield number, content[place : place + size]
        place += size


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count, byte in enumerate(content[place : place + MOST_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * count)
        if not byte & 0x80:
            return value, place + count + 1
    raise ValueError("it ends too early")
