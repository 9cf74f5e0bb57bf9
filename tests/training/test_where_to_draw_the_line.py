"""Sensitivity, specificity, gain and lift for every threshold are those that counting gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.registry.operating import read_operating, row_at
from workers.training.operating import MOST_CLASSES, STEPS, operating_points


def entry_of(targets: list[int], scores: list[float]) -> dict:
    probabilities = np.stack([1 - np.array(scores), scores], axis=1)
    return operating_points(("well", "ill"), np.array(targets), probabilities)[1]


def test_the_figures_are_those_worked_out_by_hand():
    entry = entry_of([0, 0, 0, 0, 0, 0, 1, 1, 0, 1], [0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.6, 0.7, 0.9])
    row = row_at(entry, 50)
    assert (entry["items"], entry["positives"]) == (10, 3)
    assert (row.flagged, row.sensitivity) == (0.3, pytest.approx(2 / 3))
    assert row.specificity == pytest.approx(6 / 7) and row.precision == pytest.approx(2 / 3)
    assert row.lift == pytest.approx((2 / 3) / 0.3)
    assert row_at(entry, 45).sensitivity == 1, "a probability of exactly the threshold is flagged"
    nothing = row_at(entry, 100)
    assert (nothing.sensitivity, nothing.specificity, nothing.precision, nothing.lift) == (0, 1, None, None)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=2, max_size=60))
def test_counting_agrees_and_a_higher_line_never_finds_more(items):
    targets, scores = [int(is_ill) for is_ill, _score in items], [score for _is_ill, score in items]
    if len(set(targets)) < 2:
        assert operating_points(("well", "ill"), np.array(targets), np.stack([1 - np.array(scores), scores], 1)) == []
        return
    entry = entry_of(targets, scores)
    for place in (0, 1, 33, 50, 99, STEPS):
        chosen = [target for target, score in zip(targets, scores, strict=True) if score >= place / STEPS]
        assert (entry["flagged"][place], entry["found"][place]) == (len(chosen), sum(chosen))
    assert all(np.diff(entry["found"]) <= 0) and all(np.diff(entry["flagged"]) <= 0)
    assert (entry["flagged"][0], entry["found"][0]) == (entry["items"], entry["positives"])


def test_the_rarest_class_comes_first_and_many_classes_have_none():
    targets = np.array([0] * 6 + [1] * 3 + [2])
    found = operating_points(("a", "b", "c"), targets, np.eye(3)[targets])
    assert [item.name for item in read_operating({"operating": found})] == ["c", "b", "a"]
    many = MOST_CLASSES + 1
    assert operating_points(tuple(map(str, range(many))), np.arange(many), np.eye(many)) == []


def test_a_model_from_before_has_none():
    assert read_operating({}) == []
