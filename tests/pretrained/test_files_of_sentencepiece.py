"""Files of SentencePiece are read as they are meant, and what is no such file is refused."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pretrained.translators import BLANK, write_spm
from workers.pretrained.sentencepieces import SentencePieces

PIECES = [BLANK + "the", BLANK + "cat", BLANK, *"thecat"]


def tokens(content: bytes, text: str) -> list[str]:
    return SentencePieces.read(content).tokenizer().encode(text, add_special_tokens=False).tokens


def test_a_text_is_cut_into_its_most_probable_pieces(tmp_path: Path) -> None:
    write_spm(tmp_path / "unigram.model", list(dict.fromkeys(PIECES)))
    content = (tmp_path / "unigram.model").read_bytes()
    assert tokens(content, "  the   cat") == [BLANK + "the", BLANK + "cat"]
    assert tokens(content, "that") == [BLANK, "t", "h", "a", "t"]


def test_pieces_are_merged_in_the_order_of_their_scores(tmp_path: Path) -> None:
    pieces = ["ca", "at", "cat", BLANK + "cat", BLANK, "c", "a", "t"]
    write_spm(tmp_path / "bpe.model", pieces, is_bpe=True)
    assert tokens((tmp_path / "bpe.model").read_bytes(), "cat tat") == [BLANK + "cat", BLANK, "t", "at"]


def test_its_spelling_is_read_back(tmp_path: Path) -> None:
    write_spm(tmp_path / "unigram.model", list(dict.fromkeys(PIECES)))
    tokenizer = SentencePieces.read((tmp_path / "unigram.model").read_bytes()).tokenizer()
    assert tokenizer.decode(tokenizer.encode("the cat tea", add_special_tokens=False).ids) == "the cat tea"


def test_all_that_transformers_reads_of_such_a_file_is_read(tmp_path: Path) -> None:
    from transformers.utils import sentencepiece_model_pb2_new as proto  # noqa: PLC0415

    write_spm(tmp_path / "some.model", PIECES[:3])
    model = proto.ModelProto.FromString((tmp_path / "some.model").read_bytes())
    model.trainer_spec.byte_fallback, model.trainer_spec.unk_id = True, 2
    model.normalizer_spec.add_dummy_prefix, model.normalizer_spec.remove_extra_whitespaces = False, False
    model.normalizer_spec.precompiled_charsmap = b"not read here"
    found = SentencePieces.read(model.SerializeToString())
    assert (found.unknown, found.has_bytes, found.begins_with_blank, found.folds_blanks) == (2, True, False, False)
    assert found.charsmap == b"not read here"
    assert [(text, kind) for text, _score, kind in found.pieces] == [(item.piece, item.type) for item in model.pieces]
    assert [score for _text, score, _kind in found.pieces] == pytest.approx([item.score for item in model.pieces])


@given(st.binary(max_size=60))
def test_what_is_no_such_file_raises_nothing_but_a_value_error(content: bytes) -> None:
    with suppress(ValueError):
        SentencePieces.read(content).tokenizer()


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    write_spm(tmp_path / "some.model", PIECES[:3])
    content = (tmp_path / "some.model").read_bytes()
    for size in (0, 1, len(content) - 3):
        with pytest.raises(ValueError, match="ends too early|no pieces"):
            SentencePieces.read(content[:size])
