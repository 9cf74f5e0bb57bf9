"""A process that hangs is told from one that computes."""

import pytest

from workers.pulse import BUSY_SECONDS, STILL_SECONDS, Pulse

EVERY = 3.0


def hangs_after(answers: bool, cpu_for_each: float, most: float = 10 * BUSY_SECONDS) -> float | None:
    """In how many seconds it is said to hang, where it takes so much processor time between two looks."""
    pulse, now = Pulse.begin(100.0, 5.0), 100.0
    while now < 100.0 + most:
        now += EVERY
        pulse.note(now, is_answered=answers, cpu_seconds=pulse.cpu_seconds + cpu_for_each)
        if pulse.hangs():
            return now - 100.0
    return None


@pytest.mark.parametrize("cpu_for_each", [0.0, 0.01, 3.0])
def test_one_that_answers_does_not_hang(cpu_for_each):
    assert hangs_after(True, cpu_for_each) is None


def test_one_that_neither_answers_nor_computes_is_found_in_ten_seconds():
    assert hangs_after(False, 0.0) == STILL_SECONDS <= 10


@pytest.mark.parametrize("cpu_for_each", [0.01, 3.0])
def test_one_that_computes_is_given_minutes(cpu_for_each):
    assert hangs_after(False, cpu_for_each) == BUSY_SECONDS


def test_an_answer_or_some_computing_starts_the_time_anew():
    pulse = Pulse.begin(0.0, 1.0)
    pulse.note(6.0, is_answered=False, cpu_seconds=1.0)
    pulse.note(8.0, is_answered=False, cpu_seconds=1.1)
    pulse.note(16.0, is_answered=False, cpu_seconds=1.1)
    assert not pulse.hangs()
    pulse.note(16.5, is_answered=True, cpu_seconds=1.1)
    pulse.note(25.0, is_answered=False, cpu_seconds=1.1)
    assert not pulse.hangs()
    pulse.note(25.5, is_answered=False, cpu_seconds=1.1)
    assert pulse.hangs()
