"""From the probabilities of each moment to a text: what is found is what the sum over all paths says."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.inference.characters import EDGE, ORDER, Characters
from workers.inference.ctc import MOST_LETTERS, STEP, Decoding, align, greedy, log_probability, search
from workers.inference.hearing import Spectra, parts_of

ALPHABET = ["a", "b"]
WIDE = Decoding(beams=1000)


def logs_of(*frames: list[float]) -> np.ndarray:
    return np.log(np.array(frames))


def text_of(path: tuple[int, ...]) -> tuple[int, ...]:
    """Repeated characters made one, and then blanks dropped."""
    return tuple(letter for letter, _run in itertools.groupby(path) if letter)


def all_texts(logs: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of every text, path by path."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(logs.shape[1]), repeat=len(logs)):
        chance = math.exp(sum(frame[letter] for frame, letter in zip(logs, path, strict=True)))
        found[text_of(path)] = found.get(text_of(path), 0.0) + chance
    return found


@st.composite
def frames(draw) -> np.ndarray:
    """A few frames over the blank and two characters, none of them impossible."""
    count = draw(st.integers(1, 5))
    weights = draw(st.lists(st.lists(st.floats(0.05, 1), min_size=3, max_size=3), min_size=count, max_size=count))
    return np.log(np.array(weights) / np.sum(weights, axis=1, keepdims=True))


def test_the_sum_over_paths_is_the_one_worked_out_by_hand():
    logs = logs_of([0.4, 0.6], [0.3, 0.7])
    # "aa", "a-" and "-a" all become "a": 0.6 * 0.7 + 0.6 * 0.3 + 0.4 * 0.7
    assert math.exp(log_probability(logs, [1])) == pytest.approx(0.88)
    assert math.exp(log_probability(logs, [])) == pytest.approx(0.12)
    three = logs_of([0.4, 0.6], [0.3, 0.7], [0.5, 0.5])
    # Twice the same character takes a blank between: "a-a" alone.
    assert math.exp(log_probability(three, [1, 1])) == pytest.approx(0.6 * 0.3 * 0.5)


def test_the_most_probable_text_is_not_that_of_the_most_probable_path():
    logs = logs_of([0.6, 0.4], [0.6, 0.4])
    assert greedy(logs) == ()
    assert search(logs, Decoding(beams=4), ["a"]) == (1,)  # 0.64 against 0.36


@given(frames())
@settings(max_examples=60)
def test_a_search_with_room_for_all_finds_the_most_probable_text(logs):
    known = all_texts(logs)
    found = search(logs, WIDE, ALPHABET)
    assert known[found] == pytest.approx(max(known.values()))
    for text, chance in known.items():
        assert math.exp(log_probability(logs, text)) == pytest.approx(chance, abs=1e-9)


@given(frames())
@settings(max_examples=60)
def test_characters_are_placed_where_the_most_probable_path_says_them(logs):
    text = search(logs, WIDE, ALPHABET)
    places = align(logs, text)
    assert len(places) == len(text)
    path = np.zeros(len(logs), dtype=int)
    for letter, (first, last) in zip(text, places, strict=True):
        assert not path[first : last + 1].any()
        path[first : last + 1] = letter
    assert text_of(tuple(path.tolist())) == text
    chance = logs[np.arange(len(logs)), path].sum()
    paths = itertools.product(range(3), repeat=len(logs))
    same = [sum(logs[t, c] for t, c in enumerate(other)) for other in paths if text_of(other) == text]
    assert chance == pytest.approx(max(same))


def test_a_language_model_decides_what_is_heard_alike():
    language = Characters.learn(["ab"] * 30 + ["bb"])
    logs = logs_of([0.01, 0.48, 0.51], [0.98, 0.01, 0.01], [0.01, 0.01, 0.98])
    assert search(logs, Decoding(beams=8), ALPHABET) == (2, 2)
    assert search(logs, Decoding(beams=8, weight=1.0), ALPHABET, language) == (1, 2)


def test_noise_in_a_large_alphabet_keeps_no_more_than_some_letters_of_each_moment():
    draw = np.random.default_rng(0)
    logs = np.log(draw.dirichlet(np.ones(201), size=60))
    alphabet = [chr(0x4E00 + place) for place in range(200)]
    asked = []

    class Heard(Characters):
        def log_probability(self, text, letter):
            asked.append((text, letter))
            return super().log_probability(text, letter)

    search(logs, Decoding(beams=4, weight=0.5), alphabet, Heard.learn(["".join(alphabet)]))
    assert 0 < len(asked) <= 60 * 4 * MOST_LETTERS + 4
    assert max(len(text) for text, _letter in asked) == ORDER - 1  # it is told no more than it looks at


def test_what_a_language_model_keeps_for_speed_does_not_grow_with_what_it_is_asked(monkeypatch):
    monkeypatch.setattr("workers.inference.characters.MOST_KNOWN", 10)
    language, fresh = Characters.learn(["abba"] * 3), Characters.learn(["abba"] * 3)
    for number in range(50):
        assert language.log_probability(f"{number}", "a") == fresh.log_probability(f"{number}", "a")
        assert len(language._known) <= 10


def test_a_bonus_makes_texts_longer():
    logs = logs_of([0.6, 0.4], [0.99, 0.01], [0.6, 0.4])
    texts = [search(logs, Decoding(beams=8, bonus=bonus), ["a"]) for bonus in (-1.0, 0.0, 2.0)]
    assert [len(text) for text in texts] == [0, 1, 2]


@given(st.lists(st.text("abc ", max_size=8), min_size=1, max_size=6), st.text("abc ", max_size=7))
@settings(max_examples=60)
def test_what_may_follow_has_a_probability_of_one_in_all(texts, before):
    model = Characters.learn(texts)
    known = {EDGE, *"".join(texts)}
    total = sum(math.exp(model.log_probability(before, letter)) for letter in known)
    unseen = math.exp(model.log_probability(before, "#"))
    assert total + unseen == pytest.approx(1)
    assert unseen > 0


def test_longer_contexts_say_more():
    model = Characters.learn(["abab", "abab", "acac"])
    assert model.log_probability("aba", "b") > model.log_probability("a", "b") > model.log_probability("aca", "b")


def test_a_language_model_is_the_same_when_it_is_read_again(tmp_path):
    model = Characters.learn(["où est-il", "你好", "ab"])
    model.save(tmp_path / "language.json")
    again = Characters.load(tmp_path / "language.json")
    for before, letter in (("", "a"), ("a", "b"), ("你", "好"), ("xy", "z")):
        assert again.log_probability(before, letter) == model.log_probability(before, letter)


@given(st.integers(1, 300), st.integers(1, 30), st.integers(0, 9))
@settings(max_examples=60)
def test_parts_of_a_long_recording_are_the_whole_of_it(frames, pairs, seed):
    sound = np.random.default_rng(seed).integers(0, 256, (frames, 8), dtype=np.uint8)
    parts = parts_of(sound, STEP * pairs, Spectra(8000))
    assert np.array_equal(np.concatenate(parts), sound)
    assert all(0 < len(part) <= STEP * pairs for part in parts)
    assert all(len(part) % STEP == 0 for part in parts[:-1])
