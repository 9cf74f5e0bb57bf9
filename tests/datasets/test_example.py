"""The example data sets: made on request, the same every time."""

import subprocess
import sys
import zipfile

from apps.recipes.catalogue import find_recipe
from apps.recipes.services import create_data
from tests.stack import ROOT


def test_the_example_goes_the_normal_way_and_is_ready(member, check):
    version = check(create_data(team=member.team, user=member.user, recipe=find_recipe("handwritten-digits")))
    assert (version.status, version.item_count, version.task) == ("ready", 1797, "image_classification")
    assert len(version.report["classes"]) == 10


def test_the_program_writes_the_same_bytes_every_time(tmp_path):
    for name in ("a.zip", "b.zip"):
        command = [sys.executable, "-m", "workers.examples", "digits", str(tmp_path / name)]
        subprocess.run(command, cwd=ROOT, check=True)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert len(archive.namelist()) == 1797
        assert {name.split("/")[1] for name in archive.namelist()} == set("0123456789")


def test_the_program_says_how_it_is_used(tmp_path):
    command = [sys.executable, "-m", "workers.examples", "cats", str(tmp_path / "x.zip")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "digits" in done.stderr
