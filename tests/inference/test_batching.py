"""How many questions are answered together: as many as pay, and never otherwise than alone."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inference.models import image_model, png, table_model
from workers.inference.answers import answer
from workers.inference.batching import SIZES, Trial, best_size, choose, try_sizes
from workers.inference.framing import JSON, PING, RAW, SAMPLE, Frame, Question
from workers.inference.predictor import load_predictor


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return load_predictor(image_model(tmp_path_factory.mktemp("images") / "model"), 1)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return load_predictor(table_model(tmp_path_factory.mktemp("table") / "model"), 1)


# How many at once


def trials(*seconds: float, is_same: bool = True) -> list[Trial]:
    return [Trial(size, each, is_same) for size, each in zip(SIZES, seconds, strict=False)]


@pytest.mark.parametrize(
    ("seconds", "size"),
    [
        ((1.0, 1.0, 1.0, 1.0, 1.0), 1),
        ((1.0, 0.95, 0.92, 1.3, 1.5), 1),  # a tenth at least, or the wait is not worth it
        ((1.0, 0.6, 0.4, 0.39, 0.41), 4),
        ((1.0, 0.5, 0.25, 0.12, 0.06), 16),
        ((1.0,), 1),
    ],
)
def test_the_smallest_size_that_is_about_as_cheap_as_any_is_chosen(seconds, size):
    assert choose(trials(*seconds)) == size


def test_a_batch_that_changes_an_answer_is_never_chosen():
    assert choose([*trials(1.0), *trials(0, 0.1, 0.1, 0.1, 0.1, is_same=False)[1:]]) == 1
    mixed = [Trial(1, 1.0, True), Trial(2, 0.5, True), Trial(4, 0.1, False)]
    assert choose(mixed) == 2


class Clock:
    """Each call of a model takes what the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def timed(clock: Clock, cost: dict[int, float], shift: float = 0.0):
    def run(items: Sequence[float]) -> np.ndarray:
        clock.now += cost.get(len(items), 0.0)
        return np.array([[item + (shift if len(items) > 2 else 0.0)] for item in items])

    return run


def test_sizes_are_tried_by_their_time_and_by_their_answers():
    clock = Clock()
    found = try_sizes(timed(clock, {1: 0.010, 2: 0.012, 4: 0.016}, shift=1e-9), list(range(16)), clock)
    assert [trial.size for trial in found][:3] == [1, 2, 4]
    assert [round(trial.seconds, 6) for trial in found[:3]] == [0.010, 0.006, 0.004]
    assert [trial.is_same for trial in found[:3]] == [True, True, False]
    assert choose(found[:3]) == 2


def test_a_slow_model_is_not_tried_for_long():
    clock = Clock()
    try_sizes(timed(clock, {size: 0.2 * size for size in SIZES}), list(range(16)), clock)
    assert clock.now < 2


def test_rows_of_a_table_are_asked_together(table):
    assert best_size(table) > 1


def test_a_model_of_pictures_gets_the_size_that_its_trials_show(images):
    assert best_size(images) in SIZES


# Answers


@given(st.lists(st.sampled_from([0, 90, 140, 255, -1, -2]), min_size=1, max_size=12), st.sampled_from([1, 2, 16]))
def test_pictures_asked_together_get_what_they_get_alone(images, levels, at_once):
    bodies = {-1: Question(RAW, b"no picture"), -2: Question(PING)}
    questions = [bodies.get(level) or Question(RAW, png(level), top_k=2) for level in levels]
    assert said(answer(images, questions, at_once)) == said([answer(images, [one])[0] for one in questions])


ROWS = [{"age": 55, "city": "Oslo"}, {"age": "25", "city": None}, {"age": "many"}, {"city": "Oslo"}]


@given(st.lists(st.sampled_from([*ROWS, "sample", "ping", "several"]), min_size=1, max_size=12))
def test_rows_asked_together_get_what_they_get_alone(table, asked):
    named = {
        "sample": Question(SAMPLE),
        "ping": Question(PING),
        "several": Question(JSON, json.dumps({"rows": ROWS[:2]}).encode()),
    }
    questions = [
        named[item] if isinstance(item, str) else Question(JSON, json.dumps({"row": item}).encode()) for item in asked
    ]
    assert said(answer(table, questions, 16)) == said([answer(table, [one])[0] for one in questions])


def said(frames: list[Frame]) -> list[tuple[int, bytes]]:
    return [(frame.status, frame.body) for frame in frames]
