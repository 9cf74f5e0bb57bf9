"""A client of the running site, for every test that talks to it as a program does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import leptonai
from tests.site_helpers import digits, make_key, write_zip
from tests.stack import Stack

QUICK = {"epochs": 10, "batch_size": 16, "image_size": 16}


@pytest.fixture(scope="session")
def api_key(live_stack: Stack) -> str:
    return make_key(live_stack)


@pytest.fixture(scope="session")
def client(live_stack: Stack, api_key: str) -> Iterator[leptonai.Client]:
    with leptonai.Client(api_key, live_stack.base_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def dataset(client: leptonai.Client, tmp_path_factory: pytest.TempPathFactory) -> leptonai.Record:
    """Three classes of handwritten digits, checked and frozen."""
    archive: Path = write_zip(tmp_path_factory.mktemp("sdk") / "three.zip", digits("027", 80))
    return client.datasets.wait(client.datasets.create("Three digits", archive), timeout=60)


@pytest.fixture(scope="session")
def trained(client: leptonai.Client, dataset: leptonai.Record) -> leptonai.Record:
    """A short training that has succeeded."""
    job = client.jobs.train(dataset["id"], model_name="three", preset="fast", hyperparameters=QUICK)
    return client.jobs.wait(job, timeout=120)


@pytest.fixture(scope="session")
def deployment(client: leptonai.Client, trained: leptonai.Record) -> leptonai.Record:
    return client.deployments.wait(client.deployments.create("three"), timeout=60)
