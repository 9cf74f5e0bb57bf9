"""A temperature fits certainty to accuracy, and what certainty was worth before and after stands in the result."""

import numpy as np
import pytest

from workers.training.calibration import (
    TEMPERATURES,
    best_temperature,
    calibration_of,
    reliability_of,
    temperature_that_helps,
)
from workers.training.metrics import expected_calibration_error, log_loss


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


def answers_of(sureness: float, rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Truths drawn from probabilities, and those probabilities with their logits times `sureness`."""
    random = np.random.default_rng(1)
    logits = random.normal(0, 1.5, (rows, 3))
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    return labels, softmax(logits * sureness)


@pytest.mark.parametrize("sureness", [0.5, 2.5])
def test_too_much_and_too_little_certainty_are_found(sureness):
    labels, said = answers_of(sureness)
    found = temperature_that_helps(said, labels)
    assert found == pytest.approx(sureness, rel=0.1)
    losses = [log_loss(labels, softmax(np.log(said) / value)) for value in TEMPERATURES]
    assert found == TEMPERATURES[np.argmin(losses)], "the one that trying all of them finds"


def test_what_fits_already_or_cannot_be_told_from_chance_stays():
    assert temperature_that_helps(*reversed(answers_of(1.0))) == 1.0
    labels, said = answers_of(1.2, rows=40)
    assert best_temperature(np.log(said), labels) != 1.0 and temperature_that_helps(said, labels) == 1.0


def test_answers_are_counted_by_how_sure_they_were():
    said = np.array([[0.55, 0.45], [0.41, 0.59], [0.9, 0.1], [0.0, 1.0]])
    found = reliability_of(np.array([0, 0, 0, 1]), said)
    assert found[5] == {"items": 2, "confidence": pytest.approx(0.57), "right": 0.5}
    assert found[9] == {"items": 2, "confidence": pytest.approx(0.95), "right": 1.0}
    assert found[0] == {"items": 0, "confidence": None, "right": None} and len(found) == 10
