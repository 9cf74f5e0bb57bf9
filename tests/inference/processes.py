"""The inference program as a process of a test."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.stack import ROOT, wait_until
from workers.contract import ServeSpec, write_spec

START_SECONDS = 30


def launch(folder: Path, model_dir: Path, lanes: int = 1) -> tuple[subprocess.Popen, str]:
    path = folder / "s" / "r.sock"
    write_spec(ServeSpec(str(folder), str(model_dir), str(path), lanes=lanes), folder / "spec.json")
    return subprocess.Popen([sys.executable, "-m", "workers.inference", str(folder / "spec.json")], cwd=ROOT), str(path)


def serve(folder: Path, make_model: Callable[[Path], Path]) -> Iterator[str]:
    """Yields the socket's path once the process listens; ends it afterwards."""
    process, path = launch(folder, make_model(folder / "model"))
    wait_until(lambda: os.path.exists(path) or process.poll(), seconds=START_SECONDS, what="the socket is there")
    yield path
    process.terminate()
    assert process.wait(20) == 0
    assert not os.path.exists(path)
