"""A text becomes the same ids wherever it is read, in whatever script, and alike texts become alike ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.texts import PADDING, Runs, TextEncoder, form_of, normalise, pad, shapes_of, words_of

BOTH = TextEncoder(order_buckets=2**12, word_buckets=2**13, run_buckets=2**14, characters=400, tokens=6)
BAG = TextEncoder(order_buckets=0, word_buckets=2**13, run_buckets=2**14, characters=400)
ORDER = TextEncoder(order_buckets=2**12, word_buckets=0, run_buckets=0, characters=400, tokens=6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Where is it?", ["where", "is", "it", "?"]),
        ("我爱 你。", ["我", "爱", "你", "。"]),
        ("iPhone坏了", ["iphone", "坏", "了"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("ＦＲＥＥ  £100", ["free", "£", "100"]),
        ("Straße\tnaïve", ["strasse", "naïve"]),
        ("สวัสดี", ["ส", "ว", "ั", "ส", "ด", "ี"]),
        (" \n ", []),
    ],
)
def test_words_are_found_in_every_script(text, words):
    assert words_of(normalise(text, 100)) == words


def test_case_width_and_blanks_change_nothing():
    assert np.array_equal(ORDER.ids("Where  IS it\n"), ORDER.ids("where is it"))
    assert np.array_equal(BOTH.ids("ｆｒｅｅ"), BOTH.ids("free"))


def test_the_order_of_words_is_kept_in_front_and_the_bag_behind():
    ids = BOTH.ids("good not bad")
    words, bag = ids[:3], ids[3:]
    assert words.max() <= BOTH.order_buckets < bag.min()
    assert np.array_equal(BOTH.ids("bad not good")[:3], words[::-1])
    assert np.all(np.diff(bag) > 0)
    assert np.array_equal(words, ORDER.ids("good not bad"))
    assert np.array_equal(bag - BOTH.order_buckets, BAG.ids("good not bad"))


def test_a_bag_tells_pairs_of_words_and_parts_of_words_apart():
    together, apart = set(BAG.ids("not good").tolist()), set(BAG.ids("good not").tolist())
    assert together != apart
    assert len(together & apart) > len(together ^ apart)
    typo = set(BAG.ids("delivrey").tolist()) & set(BAG.ids("delivery").tolist())
    assert len(typo) >= 5


def test_chinese_sentences_share_what_their_words_share():
    ids = [set(BAG.ids(text).tolist()) for text in ("我要退货", "可以退货吗", "天气很好")]
    assert len(ids[0] & ids[1]) > len(ids[0] & ids[2]) == 0


def test_long_texts_are_cut():
    assert len(ORDER.ids("word " * 50)) == ORDER.tokens
    assert np.array_equal(BAG.ids("a b " * 100 + "unseen"), BAG.ids("a b " * 100))


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5))
def test_a_text_has_the_same_ids_whoever_stands_beside_it(texts):
    together = BOTH.encode(texts)
    assert together.dtype == np.int32
    assert together.min() >= PADDING and together.max() < BOTH.ids_in_all
    for text, row in zip(texts, together, strict=True):
        alone = BOTH.ids(text)
        assert np.array_equal(row[: len(alone)], alone)
        assert not row[len(alone) :].any()


@given(st.text(alphabet="ab 我", min_size=1, max_size=30), st.data())
def test_runs_of_the_same_characters_have_the_same_hash_wherever_they_stand(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    (here,) = Runs(text).hashes(np.array([start]), np.array([end]))
    (alone,) = Runs(text[start:end]).hashes(np.array([0]), np.array([end - start]))
    (other,) = Runs(text[start:end] + "x").hashes(np.array([0]), np.array([end - start + 1]))
    assert here == alone != other


def test_what_stands_in_meta_makes_the_same_encoder():
    assert TextEncoder.from_meta(BOTH.to_meta()) == BOTH
    for wrong in ({"word_buckets": 0, "run_buckets": 0}, {"tokens": -1}, {"characters": "many"}):
        with pytest.raises(ValueError, match="describes no text encoder"):
            TextEncoder.from_meta({**BAG.to_meta(), **wrong})
    with pytest.raises(TypeError):
        TextEncoder.from_meta({**BAG.to_meta(), "magic": 1})


def test_padding_makes_room_for_one_id_at_least():
    assert pad([np.zeros(0, dtype=np.int32)]).tolist() == [[0]]


def test_digits_and_capitals_show_in_the_shape_of_a_word():
    assert shapes_of("WIN £1000 now, McCoy 20p") == ["X", "0000", "XxXx", "00x"]
    assert shapes_of("nothing here 我爱你") == []
    assert set(BAG.ids("call 0845").tolist()) & set(BAG.ids("or 9911").tolist()) - set(BAG.ids("call or").tolist())
    assert not np.array_equal(BAG.ids("Hello"), BAG.ids("HELLO"))


def test_a_text_is_told_by_its_length_its_digits_and_its_capitals():
    assert form_of("") == (0, 0, 0)
    assert form_of("Call 08452810075 NOW") == (8, 9, 5)
    assert form_of("call now 8") == (6, 1, 0)
    seen = TextEncoder(**{**BAG.to_meta(), "form": 1})
    alike, short = seen.ids("buy this at 12"), seen.ids("12")
    added = set(alike.tolist()) - set(BAG.ids("buy this at 12").tolist())
    assert len(added) == 3 and max(added) <= seen.word_buckets
    assert len(added & set(seen.ids("see that by 34").tolist())) == 3
    assert len(added & set(short.tolist())) == 2  # as many digits and capitals


def test_a_model_from_before_reads_texts_as_it_did():
    meta = {name: value for name, value in BOTH.to_meta().items() if name != "form"}
    assert TextEncoder.from_meta(meta) == BOTH
    assert BAG.ids("WIN it")[:6].tolist() == [100, 770, 1375, 2378, 8652, 12881]  # kept models know these


def test_runs_of_characters_do_not_reach_into_the_next_word():
    assert len(Runs(" ab cd ").within_words(3)) == 4  # " ab", "ab ", " cd", "cd "
    assert len(Runs(" a ").within_words(9)) == 0
