"""What was started is found again and ended whole, also when a child has left its session."""

import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from tests.stack import wait_until
from workers.artifacts import SECRETS
from workers.launcher import end_tree, find_by_token, is_alive, launch, log_tail

STUBBORN = textwrap.dedent(
    """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if len(sys.argv) == 1:
        subprocess.Popen([sys.executable, __file__, "child"], start_new_session=True)
    print("up", flush=True)
    time.sleep(60)
    """
)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "stubborn.py"
    path.write_text(STUBBORN)
    return path


def test_a_tree_that_ignores_term_and_leaves_its_session_is_ended_whole(program, tmp_path):
    token = f"test-{tmp_path.name}-"
    log = tmp_path / "log" / "program.log"
    process = launch([sys.executable, str(program)], token=token, log_path=log, cwd=tmp_path)
    wait_until(lambda: log_tail(log).count("up") == 2, seconds=20, what="both processes are up")
    assert len(find_by_token(token)) == 2
    assert end_tree(token, grace_seconds=0.2)
    assert find_by_token(token) == []
    assert process.wait(5) == -9


def test_a_process_is_recognised_by_number_and_start_time(program, tmp_path):
    process = launch(
        [sys.executable, str(program), "child"], token="test-alive-", log_path=tmp_path / "l", cwd=tmp_path
    )
    began = psutil.Process(process.pid).create_time()
    assert is_alive(process.pid, began)
    assert not is_alive(process.pid, began - 3600), "a later process with the same number is another one"
    assert end_tree("test-alive-", grace_seconds=0)
    assert not is_alive(process.pid, began)
    assert not is_alive(None, None)


def test_the_end_of_a_log_is_short(tmp_path):
    path = tmp_path / "log"
    path.write_text("x" * 100_000 + "the end\n")
    assert log_tail(path, 100).endswith("the end")
    assert len(log_tail(path, 100)) <= 100
    assert log_tail(tmp_path / "none") == ""


def test_a_program_does_not_see_what_is_withheld_from_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("LEPTON_TEST_KEPT", "kept")
    script = "import os; print(os.environ.get('DATABASE_URL'), os.environ['LEPTON_TEST_KEPT'])"
    log = tmp_path / "log"
    launch([sys.executable, "-c", script], token="test-env-", log_path=log, cwd=tmp_path, withheld=SECRETS).wait(20)
    assert log_tail(log) == "None kept"
