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
def sdk(live_stack: Stack, api_key: str) -> Iterator[leptonai.Client]:
    with leptonai.Client(api_key, live_stack.base_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def dataset(sdk: leptonai.Client, tmp_path_factory: pytest.TempPathFactory) -> leptonai.Record:
    """Three classes of handwritten digits, checked and frozen."""
    archive: Path = write_zip(tmp_path_factory.mktemp("sdk") / "three.zip", digits("027", 80))
    return sdk.datasets.wait(sdk.datasets.create("Three digits", archive), timeout=60)


@pytest.fixture(scope="session")
def trained(sdk: leptonai.Client, dataset: leptonai.Record) -> leptonai.Record:
    """A short training that has succeeded."""
    job = sdk.jobs.train(dataset["id"], model_name="three", preset="fast", hyperparameters=QUICK)
    return sdk.jobs.wait(job, timeout=120)


@pytest.fixture(scope="session")
def deployment(sdk: leptonai.Client, trained: leptonai.Record) -> leptonai.Record:
    return sdk.deployments.wait(sdk.deployments.create("three"), timeout=60)
