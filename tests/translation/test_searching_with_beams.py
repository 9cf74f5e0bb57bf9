"""The search for the most probable output: greedy, with beams, alone and together, and where it ends."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.inference.beams import Search, length_penalty, search
from workers.subwords import BEGIN, END, PADDING

A, B = 3, 4


class Language:
    """A made-up model: what comes next depends on the sentence and on all that is written."""

    def __init__(self, seeds: list[int], vocabulary: int = 6) -> None:
        self.vocabulary = vocabulary
        self.rows = [(seed, ()) for seed in seeds]

    def step(self, tokens: np.ndarray) -> np.ndarray:
        self.rows = [(seed, (*row, int(token))) for (seed, row), token in zip(self.rows, tokens, strict=True)]
        return np.stack([self.scores(seed, row) for seed, row in self.rows])

    def scores(self, seed: int, row: tuple[int, ...]) -> np.ndarray:
        draws = np.random.default_rng([seed, *row]).normal(0, 2, self.vocabulary)
        draws[[PADDING, BEGIN]] = -40.0
        return (draws - np.log(np.exp(draws).sum())).astype(np.float32)

    def keep(self, rows: np.ndarray) -> None:
        self.rows = [self.rows[row] for row in rows]


class Table:
    """A model for one sentence with given probabilities of what follows what is written."""

    def __init__(self, table: dict[tuple[int, ...], dict[int, float]]) -> None:
        self.table, self.rows = table, [()]

    def step(self, tokens: np.ndarray) -> np.ndarray:
        self.rows = [
            row if token == BEGIN else (*row, int(token)) for row, token in zip(self.rows, tokens, strict=True)
        ]
        scores = np.full((len(self.rows), 5), -30.0, dtype=np.float32)
        for number, row in enumerate(self.rows):
            for token, probability in self.table.get(row, {END: 1.0}).items():
                scores[number, token] = math.log(probability)
        return scores

    def keep(self, rows: np.ndarray) -> None:
        self.rows = [self.rows[row] for row in rows]


def greedy(seed: int, limit: int) -> tuple[int, ...]:
    language, row, written = Language([seed]), (), [BEGIN]
    while len(row) < limit:
        token = int(language.scores(seed, tuple(written)).argmax())
        if token == END:
            break
        row, written = (*row, token), [*written, token]
    return row


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4), st.integers(1, 6))
def test_one_beam_is_greedy(seeds, limit):
    found = search(Language(seeds), [limit] * len(seeds), Search(beams=1))
    assert [item.tokens for item in found] == [greedy(seed, limit) for seed in seeds]


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=5), st.integers(1, 4), st.data())
def test_sentences_that_are_searched_together_get_what_each_gets_alone(seeds, beams, data):
    limits = [data.draw(st.integers(1, 6)) for _seed in seeds]
    together = search(Language(seeds), limits, Search(beams))
    alone = [search(Language([seed]), [limit], Search(beams))[0] for seed, limit in zip(seeds, limits, strict=True)]
    assert together == alone


@given(st.integers(0, 10**6))
def test_as_many_beams_as_there_are_outputs_find_the_best_of_all(seed):
    """Of two words and the end, up to two words: seven outputs that end."""
    language = Language([seed], vocabulary=5)
    outputs = [row for length in range(3) for row in product((A, B), repeat=length)]

    def total(row: tuple[int, ...]) -> float:
        written = [(BEGIN, *row[:place]) for place in range(len(row) + 1)]
        said = [*row, END]
        return sum(float(language.scores(seed, w)[token]) for w, token in zip(written, said, strict=True))

    (found,) = search(Language([seed], vocabulary=5), [3], Search(beams=10, penalty=0.0))
    best = max(outputs, key=total)
    if len(found.tokens) <= 2:
        assert found.tokens == best
        assert found.log_probability == pytest.approx(total(best), abs=1e-5)
    else:
        assert found.log_probability >= total(best)


def test_a_beam_sees_past_a_first_word_that_greedy_falls_for():
    table = {(): {A: 0.6, B: 0.4}, (A,): {END: 0.5, A: 0.5}, (B,): {END: 0.99, A: 0.01}, (A, A): {END: 1.0}}
    assert search(Table(table), [5], Search(beams=1))[0].tokens in {(A,), (A, A)}
    (found,) = search(Table(table), [5], Search(beams=2))
    assert found.tokens == (B,)
    assert found.score == pytest.approx(math.sqrt(0.4 * 0.99), abs=1e-5)


def test_the_penalty_decides_between_short_and_long():
    table = {(): {A: 1.0}, (A,): {END: 0.55, B: 0.45}, (A, B): {B: 1.0}, (A, B, B): {END: 1.0}}
    short, long = (search(Table(table), [5], Search(beams=2, penalty=alpha))[0].tokens for alpha in (0.0, 2.0))
    assert (short, long) == ((A,), (A, B, B))
    assert length_penalty(1, 0.6) == pytest.approx(1.0)
    assert length_penalty(7, 1.0) == pytest.approx(2.0)


def test_what_never_ends_is_cut_off():
    table = {(A,) * count: {A: 0.9, B: 0.1} for count in range(10)}
    (found,) = search(Table(table), [3], Search(beams=1))
    assert found.tokens == (A, A, A)
    assert found.log_probability == pytest.approx(3 * math.log(0.9), abs=1e-5)


def test_padding_and_the_beginning_are_never_written():
    class Odd(Language):
        def scores(self, seed: int, row: tuple[int, ...]) -> np.ndarray:
            return np.array([0.0, 0.0, -9.0, -1.0, -2.0, -3.0], dtype=np.float32)

    assert search(Odd([1]), [2], Search(beams=1))[0].tokens == (A, A)
