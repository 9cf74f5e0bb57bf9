"""How often a training writes a checkpoint: what a crash costs is little, and writing costs little."""

import pytest

from workers.training.pacing import LONGEST_SECONDS, Pace

HOUR = 3600.0


def written_within(trained: float, write_seconds: float, step_seconds: float = 0.5) -> list[float]:
    """When a training of so many seconds writes, where a checkpoint takes `write_seconds`."""
    now, pace, moments = 0.0, Pace(0.0), []
    while now < trained:
        now += step_seconds
        if pace.is_due(now, now):
            moments.append(now)
            pace.tried(now, now + write_seconds)
            now += write_seconds
    return moments


def test_the_first_comes_after_five_seconds_and_no_crash_costs_more_than_a_hundredth():
    moments = written_within(5 * HOUR, write_seconds=0.02)
    gaps = [(later - earlier, earlier) for earlier, later in zip([0.0, *moments], moments, strict=False)]
    assert moments[0] == pytest.approx(5.0, abs=0.5)
    assert all(gap <= max(5.0, 0.0102 * earlier) + 1 for gap, earlier in gaps)
    assert len(moments) < 500, "a long training does not fill the storage"


@pytest.mark.parametrize("write_seconds", [0.01, 0.3, 2.0, 20.0])
def test_writing_takes_less_than_a_fiftieth_of_the_time(write_seconds: float):
    trained = 3 * HOUR
    spent = write_seconds * len(written_within(trained, write_seconds))
    assert 0 < spent <= trained / 50 + write_seconds


def test_an_interval_is_never_longer_than_ten_minutes_for_a_checkpoint_that_is_cheap():
    pace = Pace(0.0)
    pace.tried(0.0, 1.0)
    assert pace.interval(1000 * HOUR) == LONGEST_SECONDS


def test_the_best_epoch_is_written_sooner_but_never_at_any_price():
    pace = Pace(0.0)
    assert not pace.is_due(1.0, trained=1.0) and pace.is_due_for_best(1.0, trained=1.0)
    pace.tried(1.0, 2.0)
    assert not pace.is_due_for_best(2.0 + 49, trained=51) and pace.is_due_for_best(2.0 + 50, trained=52)
