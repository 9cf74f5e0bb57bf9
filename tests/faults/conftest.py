"""One site for all tests that strike at trainings: to start it takes as long as one of them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.site import Site, may_be_apart

CHOSEN = [name for name in os.environ.get("FAULT", "").split(",") if name]
IS_LONG = bool(CHOSEN) or os.environ.get("FAULTS") == "all"


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="lepton-faults-") as folder:
        made = Site(Path(folder).resolve(), epochs=8 if IS_LONG else 4, is_apart=IS_LONG and may_be_apart())
        yield made
        made.stop()
