"""No feature knows the future; figures, ranges and baselines are those of hand-worked examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.series.features import Recipe, build
from workers.series.frequency import SECOND, Frequency
from workers.series.model import Asked, Linear, Ranges, correct, mix
from workers.series.regular import Series
from workers.training.forecasting.measures import drift, measure, naive_scale, seasonal_naive, smape
from workers.training.metrics import pinball_loss

DAILY = Frequency(SECOND, 86_400)
RECIPE = Recipe(DAILY, (7, 52), number_count=2, numbers_ahead=(True, False), names=("a", "b"))


def series_of(values, further=None):
    values = np.asarray(values, dtype=float)
    numbers = np.zeros((len(values), 2), np.float32) if further is None else further
    return Series("a", 19_000, values, np.ones(len(values), bool), numbers, np.zeros((len(numbers), 0), np.int64))


@settings(max_examples=60)
@given(st.integers(8, 90), st.integers(0, 10**6))
def test_a_feature_never_depends_on_what_comes_after_its_origin(origin, seed):
    random = np.random.default_rng(seed)
    values, further = random.normal(50, 10, 130), random.normal(size=(130, 2)).astype(np.float32)
    changed, changed_further = values.copy(), further.copy()
    changed[origin + 1 :] = random.normal(-900, 400, 130 - origin - 1)
    changed_further[origin + 1 :, 1] = -7  # the second column is not known beforehand
    asked = (np.full(60, origin), np.arange(1, 61))  # further than a season of 52
    (before, frame), (after, other) = (
        build(RECIPE, series_of(each, more), *asked) for each, more in ((values, further), (changed, changed_further))
    )
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal([frame.level, frame.spread], [other.level, other.spread])


def test_a_column_that_is_known_beforehand_is_read_at_the_time_that_is_forecast():
    further = np.arange(40, dtype=np.float32).reshape(20, 2)
    matrix, _ = build(RECIPE, series_of(np.arange(20.0), further), np.array([10, 18]), np.array([3, 5]))
    place = len(RECIPE.numeric_names)
    assert matrix[0, place : place + 2].tolist() == [26.0, 21.0]  # rows 13 and 10
    assert np.isnan(matrix[1, place]) and matrix[1, place + 1] == 37.0  # row 23 is not there


def test_seasons_are_read_at_the_same_place_of_the_week():
    values = np.tile(np.arange(7.0), 6)
    matrix, frame = build(RECIPE, series_of(values), np.array([20]), np.array([3]))
    column = RECIPE.numeric_names.index("season 7, once before")
    assert frame.outwards(matrix[0, column]) == pytest.approx(values[16])
    assert values[16] == values[23]


def test_pinball_loss_by_hand():
    targets, said = np.array([10.0, 10.0]), np.array([8.0, 13.0])
    assert pinball_loss(targets, said, 0.9) == pytest.approx((0.9 * 2 + 0.1 * 3) / 2)
    assert pinball_loss(targets, said, 0.5) == pytest.approx((0.5 * 2 + 0.5 * 3) / 2)


def test_scaled_and_symmetric_errors_by_hand():
    values = np.array([1.0, 2.0, 3.0, 5.0])
    known = np.array([True, True, True, True])
    assert naive_scale(values, known, 2) == pytest.approx((2 + 3) / 2)
    assert naive_scale(values, np.array([True, False, True, True]), 2) == pytest.approx(2.0)
    assert np.isnan(naive_scale(np.ones(5), np.ones(5, bool), 1))
    assert smape(np.array([100.0, 0.0]), np.array([80.0, 0.0])) == pytest.approx((2 * 20 / 180) / 2)
    targets, middle = np.array([10.0, 20.0]), np.array([12.0, 17.0])
    found = measure(targets, np.array([2.0, 2.0]), Ranges(np.array([9.0, 18.0]), middle, np.array([14.0, 19.0])))
    assert found["mae"] == 2.5 and found["mase"] == 1.25
    assert found["rmse"] == pytest.approx(np.sqrt((4 + 9) / 2))
    assert (found["coverage_80"], found["width_80"]) == (0.5, 3.0)


def test_forecasts_without_learning_by_hand():
    asked = Asked(series_of([1, 2, 3, 4, 5, 9]), np.array([5, 5, 5]), np.array([1, 3, 4]))
    assert seasonal_naive(asked, 3).tolist() == [4.0, 9.0, 4.0]
    assert drift(asked).tolist() == pytest.approx([9 + 8 / 5, 9 + 3 * 8 / 5, 9 + 4 * 8 / 5])


def test_the_correction_is_the_score_of_the_right_rank():
    scores, steps = np.arange(1.0, 11.0), np.ones(10, int)
    assert correct(scores, steps, 1, 0.8).tolist() == [9.0]  # ceil(11 * 0.8) = 9
    assert correct(np.array([np.nan]), np.array([1]), 3).tolist() == [0.0, 0.0, 0.0]


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(20, 400), st.integers(0, 10**6))
def test_a_corrected_range_holds_its_share_of_what_it_was_corrected_by(horizon, count, seed):
    random = np.random.default_rng(seed)
    scores, steps = random.normal(size=count), random.integers(1, horizon + 1, count)
    wider = correct(scores, steps, horizon, 0.8, fewest=count)
    assert (scores <= wider[steps - 1]).mean() >= 0.8


def test_both_parts_move_the_range_together():
    trees = {"q10": np.array([1.0]), "q50": np.array([2.0]), "q90": np.array([4.0])}
    found = mix(trees, np.array([6.0]), 0.25)
    assert (found.low[0], found.middle[0], found.high[0]) == (2.0, 3.0, 5.0)


def test_the_linear_part_reads_the_newest_value_first():
    weights = np.zeros((4, 2))
    weights[0, 0], weights[2, 1] = 1.0, 1.0
    asked = Asked(series_of(np.arange(30.0) ** 1.5), np.array([20, 25]), np.array([1, 2]))
    scaled = Linear(weights).predict(RECIPE, asked)
    _, frame = build(RECIPE, asked.series, asked.origins, asked.steps)
    assert frame.outwards(scaled).tolist() == pytest.approx([20**1.5, 23**1.5])
