"""A translator of the toy language, trained once for all tests of this folder that run in one process."""

from pathlib import Path

import pytest

from tests.translation.making import toy, train_here, write_pairs
from workers.inference.predictor import load_predictor
from workers.inference.translation_predictor import TranslationPredictor


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"), toy())


@pytest.fixture(scope="session")
def trained(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``output/`` of a finished training."""
    return train_here(tmp_path_factory.mktemp("translator"), pairs)


@pytest.fixture(scope="session")
def predictor(trained: Path) -> TranslationPredictor:
    return load_predictor(trained / "model", threads=1)
