"""Texts are cut into pieces that are learned from texts, and come back as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translation.making import toy
from workers.subwords import BYTES, END, SPECIAL, Subwords, tidy

LEAST = BYTES + len(SPECIAL)


@pytest.fixture(scope="module")
def pieces() -> Subwords:
    return Subwords.learn([source for source, _target in toy()] + ["你好吗？", "你好。"] * 3, 600)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_every_text_comes_back_whatever_it_is_written_in(pieces, text):
    ids = pieces.ids(text)
    assert ids[-1] == END and (ids[:-1] >= len(SPECIAL)).all() and (ids < len(pieces)).all()
    assert pieces.text(ids) == tidy(text).replace("\ufffd", "").strip()


def test_a_word_is_one_piece_wherever_it_stands(pieces):
    first, middle = pieces.ids("dog"), pieces.ids("the dog sees")
    assert len(first) == 2 and first[0] in middle
    assert len(pieces.ids("the dog sees the tree today")) == 7


def test_characters_of_scripts_without_blanks_stand_alone(pieces):
    """Each is a piece where it was seen often enough, and two of them never become one."""
    assert len(pieces.ids("你好")) == 3
    assert set(pieces.ids("好你").tolist()) == set(pieces.ids("你好").tolist())


def test_no_text_can_write_the_end(pieces):
    for text in ("</s>", "<pad>", "[SEP]", "\x02"):
        assert END not in pieces.ids(text)[:-1]


def test_what_was_never_learned_is_written_in_bytes(pieces):
    assert len(pieces.ids("ж")) == 4  # a blank, and two bytes
    assert pieces.text(pieces.ids("ж")[1:2]) == ""  # half a letter is none


def test_a_table_is_read_again_as_it_was_written(pieces, tmp_path):
    pieces.save(tmp_path / "pieces.json")
    again = Subwords.load(tmp_path / "pieces.json")
    assert len(again) == len(pieces)
    assert again.ids("the dog sees 你好").tolist() == pieces.ids("the dog sees 你好").tolist()
    (tmp_path / "pieces.json").write_text("{}")
    with pytest.raises(ValueError, match=r"pieces\.json"):
        Subwords.load(tmp_path / "pieces.json")


def test_the_size_is_kept_to_and_the_same_texts_give_the_same_table():
    texts = [source for source, _target in toy()]
    assert len(Subwords.learn(texts, 300)) == 300
    assert len(Subwords.learn(texts, 10)) == LEAST
    assert Subwords.learn(texts, 300).ids(texts[0]).tolist() == Subwords.learn(texts, 300).ids(texts[0]).tolist()
