"""A model of texts that answers, trained once for all that ask it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.deployments.models import Deployment
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.processes import serve
from tests.people import Person
from tests.texts.making import english, train_here, write_texts


@pytest.fixture(scope="session")
def served_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = write_texts(tmp_path_factory.mktemp("data"), english())
    return train_here(tmp_path_factory.mktemp("work"), data, epochs=16) / "model"


@pytest.fixture(scope="session")
def socket_path(tmp_path_factory: pytest.TempPathFactory, served_model: Path) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("replica"), lambda folder: served_model)


@pytest.fixture
def topics(owner: Person, served_model: Path, socket_path: str) -> Deployment:
    return served(owner, store_model(owner, served_model, "topics"), socket_path, "topics")
