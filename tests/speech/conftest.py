"""A recogniser of the toy speech, trained once for all tests of this folder that run in one process."""

from pathlib import Path

import pytest

from tests.speech.making import train_here, write_data
from workers.inference.predictor import load_predictor
from workers.inference.speech_predictor import SpeechPredictor


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("spoken"))


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough to train on, and too few to learn from."""
    return write_data(tmp_path_factory.mktemp("few"), 40)


@pytest.fixture(scope="session")
def trained(spoken: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``output/`` of a finished training."""
    return train_here(tmp_path_factory.mktemp("recogniser"), spoken)


@pytest.fixture(scope="session")
def predictor(trained: Path) -> SpeechPredictor:
    return load_predictor(trained / "model", threads=1)
