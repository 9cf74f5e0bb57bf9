"""How much of each version goes into a fused one, and what counts as better."""

import math

import numpy as np
import pytest

from workers.fusion.mixing import average_states, choose_greedily, equal_weights, vote_weights, weights_of
from workers.fusion.verdict import Measured, best_of, is_better
from workers.training.intervals import accuracy_interval, rmse_interval


def test_a_uniform_fusion_is_the_plain_mean():
    states = [{"a": np.array([1.0, 5.0], dtype=np.float32)}, {"a": np.array([3.0, 1.0], dtype=np.float32)}]
    mixed = average_states(states, equal_weights(2))
    assert mixed["a"].tolist() == [2.0, 3.0] and mixed["a"].dtype == np.float32


def test_a_weighted_fusion_counts_each_by_its_weight_and_leaves_counters_alone():
    states = [{"a": np.array([1.0]), "seen": np.array(7)}, {"a": np.array([5.0]), "seen": np.array(9)}]
    mixed = average_states(states, np.array([0.75, 0.25]))
    assert mixed["a"].tolist() == [2.0] and mixed["seen"] == 7


def test_weights_are_the_logarithms_of_the_odds_of_being_right():
    """Of 9 of two classes, 8 and 6 right: with half an item on either side the odds are 8.5 : 1.5 and 6.5 : 3.5."""
    weights = vote_weights([8 / 9, 6 / 9], examples=9, classes=2)
    says = math.log(8.5 / 1.5), math.log(6.5 / 3.5)
    assert weights == pytest.approx([says[0] / sum(says), says[1] / sum(says)])


def test_who_guesses_has_no_say_among_four_classes():
    assert vote_weights([0.9, 0.25, 0.1], examples=10**6, classes=4) == pytest.approx([1, 0, 0], abs=1e-5)
    assert vote_weights([0.25, 0.2], examples=1000, classes=5).tolist() == pytest.approx([1, 0], abs=0.01)
    assert vote_weights([0.1, 0.2], examples=1000, classes=2).tolist() == [0.5, 0.5]


def test_no_mistake_at_all_does_not_silence_the_others():
    weights = vote_weights([1.0, 0.9], examples=100, classes=10)
    assert 0.5 < weights[0] < 0.8 and weights.sum() == pytest.approx(1)


def test_a_greedy_soup_starts_with_the_best_and_adds_what_does_not_hurt():
    together = {(2, 0): 0.91, (2, 0, 3): 0.90, (2, 0, 1): 0.91}
    asked = []

    def score(chosen: list[int]) -> float:
        asked.append(tuple(chosen))
        return together[tuple(chosen)]

    assert choose_greedily([0.88, 0.5, 0.9, 0.7], score) == [2, 0, 1]
    assert asked == [(2, 0), (2, 0, 3), (2, 0, 1)], "from the best to the worst; what hurt is left out again"


def test_a_greedy_soup_may_stay_alone():
    chosen = choose_greedily([0.9, 0.8], lambda _chosen: 0.85)
    assert chosen == [0] and weights_of(chosen, 2).tolist() == [1.0, 0.0]


def test_more_right_answers_are_better_and_of_as_many_the_surer():
    base = {"accuracy": 0.9, "log_loss": 0.3}
    assert is_better({"accuracy": 0.91, "log_loss": 0.9}, base)
    assert not is_better({"accuracy": 0.89, "log_loss": 0.1}, base)
    assert is_better({"accuracy": 0.9, "log_loss": 0.29}, base)
    assert not is_better({"accuracy": 0.9, "log_loss": 0.2999}, base), "that little is chance"
    assert not is_better(base, base)
    assert is_better({"rmse": 1.9}, {"rmse": 2.0}) and not is_better({"rmse": 1.9999}, {"rmse": 2.0})


def test_the_best_is_found_by_validation_alone():
    def measured(accuracy: float, loss: float, test: float) -> Measured:
        return Measured({"accuracy": accuracy, "log_loss": loss}, {"accuracy": test}, None, 1, 1.0)

    assert best_of([measured(0.8, 0.1, 0.9), measured(0.9, 0.4, 0.1), measured(0.9, 0.3, 0.1)]) == 2


def test_the_interval_of_an_accuracy_is_wilsons():
    """Values of Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20."""
    assert accuracy_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert accuracy_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert accuracy_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_the_interval_of_an_error_holds_the_truth_about_95_times_of_100():
    generator = np.random.default_rng(0)
    held = [low < 2.0 < high for low, high in (rmse_interval(generator.normal(0, 2.0, 300)) for _ in range(400))]
    assert 0.92 < np.mean(held) < 0.975
