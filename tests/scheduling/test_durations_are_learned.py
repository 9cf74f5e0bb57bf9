"""The duration model: its ranges hold, it tells people and siblings apart, and its state survives as JSON."""

import json
import random

import pytest

from apps.resources.scheduling.policies.shortest_predicted import seconds_per_completion
from apps.resources.scheduling.prediction import DurationModel, Features


def log_normal(rng, middle, spread):
    return middle * rng.lognormvariate(0.0, spread)


def test_ranges_hold_eight_times_of_ten():
    rng = random.Random(1)
    model, inside, asked = DurationModel(), 0, 0
    for n in range(1_200):
        user = f"u{n % 3}"
        features = Features(n * 50_000.0, devices=1 << n % 2, user=user)
        duration = log_normal(rng, 600.0 * 10 ** (n % 3), 0.8)
        if n >= 300:
            estimate = model.estimate(features)
            inside += estimate.low_seconds <= duration <= estimate.high_seconds
            asked += 1
        model.observe(features, duration)
    assert 0.75 <= inside / asked <= 0.9


def test_people_are_told_apart():
    model = DurationModel()
    for n in range(40):
        model.observe(Features(n * 1e5, devices=1, user="quick"), 60.0)
        model.observe(Features(n * 1e5, devices=1, user="slow"), 36_000.0)
    assert model.estimate(Features(9e6, devices=1, user="quick")).median_seconds < 200.0
    assert model.estimate(Features(9e6, devices=1, user="slow")).median_seconds > 10_000.0


def test_siblings_run_equally_long_once_one_has_ended():
    rng = random.Random(2)
    model = DurationModel()
    for burst in range(60):
        duration = log_normal(rng, 5_000.0, 1.2)
        for n in range(4):
            model.observe(Features(burst * 1e6 + n, devices=8), duration * rng.uniform(0.98, 1.02))
    at = 61e6
    before = model.estimate(Features(at, devices=8))
    model.observe(Features(at, devices=8), 77_000.0)
    after = model.estimate(Features(at + 2.0, devices=8))
    assert before.median_seconds < 30_000.0
    assert after.median_seconds == pytest.approx(77_000.0, rel=0.15)


def test_an_unfinished_sibling_says_that_it_takes_longer():
    model = DurationModel()
    for burst in range(50):
        for n in range(3):
            model.observe(Features(burst * 1e6 + n, devices=8), 600.0 if burst % 2 else 60_000.0)
    fresh = model.estimate(Features(51e6, devices=8))
    warned = model.estimate(Features(51e6, devices=8), unfinished=[(51e6 + 1.0, 5_000.0)])
    assert fresh.low_seconds < 1_000.0 < warned.low_seconds


@pytest.mark.parametrize("attained", [0.0, 30.0, 5_000.0, 1e7, 1e9])
def test_estimates_lie_beyond_what_was_attained(attained):
    model = DurationModel()
    for n in range(30):
        model.observe(Features(n * 1e5, devices=2), 4_000.0)
    estimate = model.estimate(Features(1e7, devices=2), attained)
    assert list(estimate.durations) == sorted(estimate.durations)
    assert attained < estimate.durations[0] <= estimate.low_seconds <= estimate.median_seconds <= estimate.high_seconds


def test_a_persons_own_estimate_is_a_cap():
    assert DurationModel().estimate(Features(0.0, limit_seconds=300.0)).high_seconds <= 300.0


def test_the_state_survives_as_json():
    model = DurationModel()
    for n in range(50):
        model.observe(Features(n * 100.0, devices=n % 3, user=f"u{n % 4}", kind=f"train-{n}"), 100.0 + n * n)
    again = DurationModel.from_dict(json.loads(json.dumps(model.to_dict())))
    for user in ("u0", "u3", "stranger"):
        ours, theirs = (m.estimate(Features(6_000.0, devices=1, user=user)) for m in (model, again))
        assert theirs.durations == pytest.approx(ours.durations, rel=1e-3)


def test_the_index_of_a_known_duration_is_what_is_left():
    assert seconds_per_completion((1_000.0,), 400.0) == pytest.approx(600.0)


def test_the_index_bets_on_an_early_end():
    """Half of such work ends after 100 seconds: it is worth trying before work of 1,000 seconds for certain."""
    gamble = tuple([100.0] * 10 + [50_000.0] * 10)
    assert seconds_per_completion(gamble, 0.0) < seconds_per_completion((1_000.0,), 0.0)
    assert seconds_per_completion(gamble, 150.0) > 40_000.0
