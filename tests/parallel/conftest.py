"""One start of torchrun for each number of processes; it runs every case, and the tests read what came out."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parallel.torchrun import free_port, start_node

SECONDS = 240


@dataclass(frozen=True)
class Gang:
    """What the processes left: the work folder of each case, and facts that they gathered."""

    folder: Path

    def read(self, name: str) -> dict:
        return json.loads((self.folder / name).read_text())


@pytest.fixture(scope="session")
def gang_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Gang]:
    """All cases run by so many processes, the first time that they are asked for."""
    gangs: dict[int, Gang | None] = {}

    def run(processes: int) -> Gang:
        if processes not in gangs:
            gangs[processes] = None  # what failed once is not tried for every test again
            folder = tmp_path_factory.mktemp(f"gang-of-{processes}")
            process = start_node("tests.parallel.cases", folder, processes=processes, port=free_port())
            try:
                assert process.wait(SECONDS) == 0, (folder / "output.txt").read_text()[-4000:]
            finally:
                process.kill()
            gangs[processes] = Gang(folder)
        assert gangs[processes], "The processes have failed; see the first test."
        return gangs[processes]

    return run
