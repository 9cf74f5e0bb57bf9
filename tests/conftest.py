"""What every test stands on: a real PostgreSQL and a real Valkey in a folder of this run, settings from a clean
environment, and a Valkey database per worker.

pytest-django reads the settings only after this file has been imported, so the environment is set at the top.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
import hypothesis
import pytest
import redis
from django.conf import settings
from django.utils import translation

from lepton_site import embedded, guard
from lepton_site.processes import STACK_VARIABLE, end_stack

pytest_plugins = ["tests.people", "tests.stack", "tests.browsing", "tests.client"]

hypothesis.settings.register_profile("lepton", deadline=None)  # a busy machine is no mistake
hypothesis.settings.load_profile("lepton")

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
ROOT = Path(__file__).resolve().parent.parent


def _prepare_environment() -> Path:
    """Forget the shell's settings, so that a run never touches anybody's data; return the folder of this run's servers.

    The servers are shared by all workers; data folder, test database and Valkey database are each worker's own.
    """
    servers = Path(os.environ["LEPTON_TEST_SERVERS"] if WORKER else tempfile.mkdtemp(prefix="lepton-test-"))
    for name in [name for name in os.environ if name.startswith("LEPTON_")]:
        del os.environ[name]
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "lepton_site.settings",
        "LEPTON_TEST_SERVERS": str(servers),
        STACK_VARIABLE: str(servers),  # by this the guard finds all that a killed run has left
        "LEPTON_HOME": str(servers / (WORKER or "main")),
        "DATABASE_URL": embedded.database_url(servers),
        "REDIS_URL": embedded.redis_url(servers, database=int(WORKER.removeprefix("gw") or "-1") + 1),
    }
    return servers


SERVERS = _prepare_environment()
django.setup()  # the plugins below and the test modules import models
settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # without it every test client warns that there is none
# A worker inherits this process's environment, and pytest-django would load the settings there before this file has set
# the worker's own data folder and Valkey database.
del os.environ["DJANGO_SETTINGS_MODULE"]
_guard: subprocess.Popen | None = None


def pytest_configure(config: pytest.Config) -> None:
    """The first process starts the servers for all workers; the guard ends them should this process be killed."""
    global _guard
    if WORKER or config.option.collectonly or config.option.help:
        return
    command = [sys.executable, "-m", guard.__name__, str(SERVERS), "--remove"]
    others = {name: value for name, value in os.environ.items() if name != STACK_VARIABLE}
    _guard = subprocess.Popen(command, cwd=ROOT, env=others, stdin=subprocess.PIPE, start_new_session=True)
    embedded.start(SERVERS, is_durable=False)


def pytest_unconfigure() -> None:
    if WORKER:
        return
    if _guard is not None:
        end_stack(SERVERS, grace_seconds=guard.GRACE_SECONDS)
        embedded.stop(SERVERS)
        _guard.communicate(guard.DONE, timeout=30)
    shutil.rmtree(SERVERS, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests that need the whole site share one worker, so that it is started once."""
    for item in items:
        if "live_stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("stack"))


@pytest.fixture(scope="session")
def _valkey() -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(settings.REDIS_URL)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def _back_to_english() -> Iterator[None]:
    """A request leaves its language behind in the thread that answered it, which in tests is the next test's."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def _empty_valkey(_valkey: redis.Redis) -> None:
    """No test sees what another one cached or queued."""
    _valkey.flushdb()
