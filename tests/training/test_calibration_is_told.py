"""What certainty was worth before and after the temperature was fitted stands in the result."""

import numpy as np
import pytest

from workers.training.metrics import expected_calibration_error
from workers.training.results import calibration_of


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_before_is_the_error_of_the_logits_as_they_were(temperature):
    random = np.random.default_rng(0)
    logits, labels = random.normal(0, 4, (400, 3)), random.integers(0, 3, 400)
    found = calibration_of(labels, softmax(logits / temperature), temperature)
    assert found["before"] == pytest.approx(expected_calibration_error(labels, softmax(logits)), abs=1e-9)
    assert found["after"] == pytest.approx(expected_calibration_error(labels, softmax(logits / temperature)))


def test_a_probability_of_zero_is_no_error():
    found = calibration_of(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32), 2.0)
    assert np.isfinite([found["before"], found["after"]]).all()
