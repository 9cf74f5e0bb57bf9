"""Every test of data has its own folder, and somebody who uploads."""

from collections.abc import Callable
from pathlib import Path

import pytest

from apps.datasets.models import DatasetVersion
from tests.datasets.making import Uploader, run_check
from tests.people import Person


@pytest.fixture(autouse=True)
def home(settings, tmp_path) -> Path:
    """Uploads and storage of each test lie in a folder of its own."""
    settings.LEPTON_HOME = tmp_path / "home"
    settings.LEPTON_HOME.mkdir()
    settings.LEPTON_STORAGE_URL = f"file://{tmp_path}/storage"
    settings.LEPTON_UPLOAD_CHUNK_BYTES = 1000
    return settings.LEPTON_HOME


@pytest.fixture
def uploader(member: Person) -> Uploader:
    return Uploader(member.api)


@pytest.fixture
def check(tmp_path) -> Callable[[DatasetVersion], DatasetVersion]:
    return lambda version: run_check(version, tmp_path / f"check-{version.pk}")
