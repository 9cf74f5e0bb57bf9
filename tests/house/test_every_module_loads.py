"""Every module of the site, its workers and the SDK can be imported: none looks for what has moved where it was."""

import subprocess
import sys

from tests.stack import ROOT

LOAD = """
import importlib, os, pathlib, sys
import django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepton_site.settings")
django.setup()
failed = []
for package in ("apps", "leptonai", "lepton_site", "workers"):
    for path in sorted(pathlib.Path(package).rglob("*.py")):
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        try:
            importlib.import_module(name)
        except Exception as error:
            failed.append(f"{name}: {error!r}")
print("\\n".join(failed))
sys.exit(bool(failed))
"""


def test_every_module_loads():
    done = subprocess.run([sys.executable, "-c", LOAD], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
