"""Checks and requests import the parts of the REST framework in no fixed order; whichever comes first must load."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "apps.core.api",
    "apps.core.pagination",
    "apps.core.parsers",
    "apps.accounts.authentication",
    "drf_spectacular.openapi",
    "rest_framework.generics",
    "rest_framework.pagination",
    "rest_framework.parsers",
    "rest_framework.views",
)


@pytest.mark.parametrize("module", MODULES)
def test_each_part_may_be_the_first(module):
    script = f"import django; django.setup(); import {module}; from apps.core.api import exception_handler"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "lepton_site.settings"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
