"""Trees that did best are joined by those that err least like them, and by none where none makes them better."""

from dataclasses import dataclass

import numpy as np
import pytest

from workers.training.tables.search import Judged, _finalists, _joined, _partner

ROWS = np.arange(4_000)


class Values:
    """A regression of which every true value is 0, so that a prediction is its own error."""

    def losses(self, predicted: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return predicted**2

    def loss(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        return float(np.mean(self.losses(predicted, rows)))


@dataclass(frozen=True)
class Named:
    name: str
    family: str = "trees"


def judged(name: str, errors: np.ndarray, family: str = "trees") -> Judged:
    """A candidate that errs so, by one model which has seen none of the rows."""
    loss = float(np.mean(errors**2))
    return Judged(Named(name, family), [{}], ROWS, ROWS, errors, np.ones(len(ROWS)), loss)


@pytest.fixture
def errors() -> tuple[np.ndarray, np.ndarray]:
    """Of two models that have nothing to do with each other."""
    random = np.random.default_rng(0)
    return random.normal(0, 1.0, len(ROWS)), random.normal(0, 1.0, len(ROWS))


def test_the_partner_is_who_errs_otherwise_and_not_who_is_second(errors):
    own, other = errors
    best, second, third = judged("best", own), judged("second", 1.01 * own), judged("third", 1.05 * other)
    (partner,) = _partner(Values(), [best], [best, second, third])
    assert partner is third
    joined = _joined(Values(), best, [partner])
    assert joined.label == "best+third" and joined.loss < 0.6 * best.loss


def test_trees_have_a_partner_where_another_kind_did_best(errors):
    line, trees, shallow = judged("line", errors[0] / 2, "linear"), judged("trees", errors[0]), judged("low", errors[1])
    finalists = _finalists(Values(), [line, trees, shallow])
    assert finalists[0] is line
    assert _partner(Values(), [line, trees], [line, trees, shallow]) == [shallow]
    assert _joined(Values(), line, [shallow]) is line


def test_trees_that_only_make_it_worse_are_left_out(errors):
    best, worse = judged("best", errors[0]), judged("worse", 3 * errors[0])
    assert _partner(Values(), [best], [best, worse]) == []
    assert _joined(Values(), best, [worse]) is best


def test_a_single_shape_has_no_partner(errors):
    alone = judged("gradient_boosting", errors[0])
    assert _partner(Values(), [alone], [alone]) == []
