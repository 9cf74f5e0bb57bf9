"""Speed is not what these tests are about, so it is measured in the shortest way."""

from collections.abc import Iterator

import pytest

from workers.compression import measuring


@pytest.fixture(scope="module", autouse=True)
def _brief_measuring() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "ROUNDS", 1)
        patch.setattr(measuring, "SINGLES_SECONDS", 0.0)
        patch.setattr(measuring, "BATCHES_SECONDS", 0.001)
        yield
