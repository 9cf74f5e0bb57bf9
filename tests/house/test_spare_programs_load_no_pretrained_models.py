"""What pretrained models need takes seconds to load, so that nothing loads it but a training that starts from one."""

import subprocess
import sys

import pytest

from tests.stack import ROOT

LOOK = "import sys; print([name for name in ('transformers', 'peft', 'huggingface_hub') if name in sys.modules])"
SITE = """
import os, django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepton_site.settings")
django.setup()
import lepton_site.urls
"""
PROGRAMS = {
    "the site": SITE,
    "a spare interpreter": "from workers.training.warming import warm_up; warm_up()",
    "compression": "import workers.compression.program, workers.compression.torch_steps",
    "serving": "import workers.inference.server",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_is_not_loaded_by(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{PROGRAMS[program]}\n{LOOK}"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip().splitlines()[-1:]) == (0, ["[]"]), done.stderr
