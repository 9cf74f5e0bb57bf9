"""What is done with data and models stays on the site: no library tells its makers of it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.inference.models import image_model
from tests.stack import ROOT

PREDICT = """
import sys
from pathlib import Path
from workers.inference.__main__ import warm_up
from workers.inference.predictor import load_predictor
import os
warm_up(load_predictor(Path(sys.argv[1]), threads=1))
print(len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1)
"""
SUPPRESSING = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK")


def test_a_model_that_is_asked_starts_no_thread_that_reports_and_leaves_no_mark_at_home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in SUPPRESSING}
    environment = {name: value for name, value in environment.items() if not name.startswith("XDG_")}
    environment |= {"HOME": str(home), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PREDICT, str(image_model(tmp_path / "model"))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"], "a fork of it is to be whole"
    assert not list(Path(home).rglob("*"))
