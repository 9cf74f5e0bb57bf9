"""How two models are mixed: as equally as chance allows, and not at all where one is worse beyond doubt."""

import numpy as np
import pytest

from workers.training.tables.search import REPEATED_ROWS, _is_worth_it, _mix


class Values:
    """A regression of which every true value is 0, so that a prediction is its own error."""

    def losses(self, predicted: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return predicted**2

    def loss(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        return float(np.mean(self.losses(predicted, rows)))


def errors(rows: int, first: float, second: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Independent errors of two models with these standard deviations, and row numbers."""
    random = np.random.default_rng(0)
    return random.normal(0, first, rows), random.normal(0, second, rows), np.arange(rows)


def test_on_few_rows_models_that_are_about_as_good_get_equal_shares():
    assert _mix(Values(), *errors(100, 1.0, 1.2))[0] == 0.5


def test_on_many_rows_the_better_model_gets_more():
    share, mixture = _mix(Values(), *errors(20_000, 1.0, 1.5))
    assert share == pytest.approx(1.5**2 / (1 + 1.5**2), abs=0.1)  # the best one: in proportion to 1 / variance
    assert mixture.std() < 1.0


def test_a_far_better_model_keeps_nearly_all_on_few_rows_too():
    assert _mix(Values(), *errors(100, 0.1, 3.0))[0] == 0.9


def test_few_rows_take_a_mixture_unless_it_is_worse_beyond_chance():
    alone, noise, rows = errors(100, 1.0, 0.3)
    assert _is_worth_it(Values(), alone, alone + 0.1 * noise, rows)
    assert not _is_worth_it(Values(), alone, 2 * alone, rows)


def test_many_rows_take_a_mixture_only_where_it_gains():
    alone, _, rows = errors(REPEATED_ROWS, 1.0, 1.0)
    assert not _is_worth_it(Values(), alone, 0.9999 * alone, rows)
    assert _is_worth_it(Values(), alone, 0.99 * alone, rows)
