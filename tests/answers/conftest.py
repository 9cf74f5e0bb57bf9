"""A model that answers for the library, trained once for all tests of this folder that run in one process."""

from pathlib import Path

import pytest

from tests.answers.making import library, train_here, write_questions
from workers.inference.predictor import load_predictor
from workers.inference.retrieval_predictor import RetrievalPredictor


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_questions(tmp_path_factory.mktemp("questions"), library())


@pytest.fixture(scope="session")
def trained(questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``output/`` of a finished training."""
    return train_here(tmp_path_factory.mktemp("librarian"), questions)


@pytest.fixture(scope="session")
def predictor(trained: Path) -> RetrievalPredictor:
    return load_predictor(trained / "model", threads=1)
