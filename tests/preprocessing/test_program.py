"""The program as the node runs it: spec in, events and output out, exit codes of the contract."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.preprocessing.uploads import Workplace, csv_text, folders, people, picture, zip_bytes
from workers.contract import EVENTS_FILE, EXIT_FAILED, EXIT_STOPPED, read_events, write_spec
from workers.preprocessing import __main__ as program

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


def start(spec) -> subprocess.Popen:
    path = Path(spec.work_dir) / "spec.json"
    write_spec(spec, path)
    command = [sys.executable, "-m", "workers.preprocessing", str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process) -> tuple[int, str]:
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def events_of(spec) -> list[dict]:
    return [event for event, _ in read_events(Path(spec.work_dir) / EVENTS_FILE)]


def names_in(spec) -> set[str]:
    return {path.name for path in Path(spec.work_dir).iterdir() if not path.name.startswith("upload")}


def test_a_good_upload_ends_with_a_result_and_code_zero(place):
    spec = place.spec({"pets.zip": zip_bytes(folders() | {"cats/bad.png": b"text"})})
    code, errors = finish(start(spec))
    assert (code, errors) == (0, "")
    events = events_of(spec)
    assert events[-1]["type"] == "result"
    assert events[-1]["summary"]["items"] == 20
    fractions = [event["fraction"] for event in events if event["type"] == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert any(event["type"] == "log" and event["level"] == "warning" for event in events)
    assert names_in(spec) == {"output", "spec.json", EVENTS_FILE}
    left = {path.name for path in (Path(spec.work_dir) / "output").iterdir()}
    assert left == {"report.json", "findings.json", "index.jsonl", "data.zip", "thumbs"}


def test_a_table_leaves_its_files(place):
    spec = place.spec({"people.csv": csv_text(people())})
    assert finish(start(spec))[0] == 0
    assert {path.name for path in (Path(spec.work_dir) / "output").iterdir()} == {
        "report.json",
        "findings.json",
        "index.json",
        "data.csv",
    }


def test_a_bad_upload_ends_with_a_failure_and_no_output(place):
    spec = place.spec({"pets.zip": zip_bytes(folders(classes=["cats"]))})
    code, errors = finish(start(spec))
    assert (code, errors) == (EXIT_FAILED, "")
    last = events_of(spec)[-1]
    assert (last["type"], last["code"], last["blame"]) == ("failure", "one_class", "data")
    assert names_in(spec) == {"spec.json", EVENTS_FILE}


def test_an_unexpected_error_crashes_with_a_traceback(place):
    spec = place.spec({"people.csv": csv_text(people())})
    os.unlink(spec.files[0].path)
    code, errors = finish(start(spec))
    assert code not in (0, EXIT_FAILED, EXIT_STOPPED)
    assert "FileNotFoundError" in errors
    assert names_in(spec) == {"spec.json", EVENTS_FILE}


def test_a_second_run_replaces_the_output_of_the_first(place):
    spec = place.spec({"people.csv": csv_text(people())})
    output = Path(spec.work_dir) / "output"
    output.mkdir()
    (output / "stale.txt").write_text("old")
    (Path(spec.work_dir) / "output.partial").mkdir()
    assert finish(start(spec))[0] == 0
    assert finish(start(spec))[0] == 0
    assert json.loads((output / "report.json").read_text())["items"] == 60
    assert not (output / "stale.txt").exists()


def test_a_failed_second_run_leaves_the_first_output_whole(place):
    spec = place.spec({"people.csv": csv_text(people())})
    assert finish(start(spec))[0] == 0
    Path(spec.files[0].path).write_text("")
    assert finish(start(spec))[0] == EXIT_FAILED
    assert (Path(spec.work_dir) / "output" / "report.json").exists()


def wait_for(condition, seconds: float = 30.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)
    return value


def test_sigterm_stops_it_quickly_with_its_children_and_without_output(place):
    pictures = [picture(n, (120, 120)) for n in range(4)]
    entries = {f"{'ab'[n % 2]}/{n}.png": pictures[n % 4] for n in range(1500)}
    spec = place.spec({"pets.zip": zip_bytes(entries, compression=0)})
    process = start(spec)
    children = wait_for(psutil.Process(process.pid).children)
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code, errors = finish(process)
    assert (code, errors) == (EXIT_STOPPED, "")
    assert time.monotonic() - sent < 5
    wait_for(lambda: not any(child.is_running() for child in children))
    assert names_in(spec) == {"spec.json", EVENTS_FILE}


def test_a_full_disk_is_the_machines_fault(place, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    spec = place.spec({"people.csv": csv_text(people())})
    path = Path(spec.work_dir) / "spec.json"
    write_spec(spec, path)
    monkeypatch.setattr(program, "write_json", full)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert program.main([str(path)]) == EXIT_FAILED
    finally:
        signal.signal(signal.SIGTERM, before)
    last = events_of(spec)[-1]
    assert (last["code"], last["blame"]) == ("disk_full", "machine")
    assert not (Path(spec.work_dir) / "output").exists()


def test_it_says_how_it_is_used(capsys):
    assert program.main([]) == 2
    assert "spec.json" in capsys.readouterr().err


def test_it_imports_neither_django_nor_torch_nor_pandas():
    code = "import sys, workers.preprocessing.__main__; print(*sorted(m for m in sys.modules if '.' not in m))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"django", "torch", "pandas", "celery", "PIL"} & set(found.stdout.split())
