"""How much of the time that devices are held they are at work."""

import subprocess
import sys
import time

import pytest

from workers import busy
from workers.busy import SAMPLE_SECONDS, BusyMeter, nvidia_busy

BURN = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n"


def test_a_program_that_ended_before_the_first_sample_is_counted_by_what_it_used():
    meter = BusyMeter([("cpu", 0)], threads=1, now=0.0)
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert meter.sample(1, now=SAMPLE_SECONDS - 1) == 0
    assert 0.35 < meter.finish(now=10.0) < 2


def test_children_count_and_a_sample_is_not_counted_again_at_the_end():
    meter = BusyMeter([("cpu", 0)], threads=1, now=0.0)
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}]); sys.stdin.read()"
    program = subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE)
    deadline, seen, now = time.monotonic() + 30, 0.0, 0.0
    while seen < 0.35 and time.monotonic() < deadline:
        now += SAMPLE_SECONDS
        seen += meter.sample(program.pid, now=now)
    program.communicate()
    rest = meter.finish(now=now + 1)
    assert seen >= 0.35 and seen + rest < 2


def test_cpu_time_is_shared_by_the_threads_and_never_more_than_was_held(monkeypatch):
    used = iter([10.0, 14.0, 1000.0])
    monkeypatch.setattr(busy, "tree_cpu_seconds", lambda _pid: next(used))
    meter = BusyMeter([("cpu", 0), ("cpu", 1)], threads=4, now=0.0)
    assert [meter.sample(1, now=now) for now in (5.0, 10.0, 15.0)] == [2.5, 1.0, 10.0]


def test_an_nvidia_device_is_as_busy_as_its_driver_says(monkeypatch):
    monkeypatch.setattr(busy, "nvidia_busy", lambda indexes: 1.3 if indexes == [2, 3] else 0)
    meter = BusyMeter([("cuda", 2), ("cuda", 3)], threads=8, now=0.0)
    assert meter.sample(1, now=10.0) == 13.0
    assert meter.finish(now=12.0) == pytest.approx(2.6), "the last that was seen holds to the end"


def test_the_answer_of_nvidia_smi_is_added_up(monkeypatch):
    def answer(command, **_options):
        assert command[-2:] == ["-i", "0,3"]
        return subprocess.CompletedProcess(command, 0, stdout="87\n [N/A]\n45\n")

    monkeypatch.setattr(subprocess, "run", answer)
    assert nvidia_busy([0, 3]) == pytest.approx(1.32)


def test_where_nvidia_smi_is_not_there_nothing_is_claimed(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert nvidia_busy([0]) == 0


def test_a_device_that_tells_nothing_counts_as_busy_and_no_device_as_nothing():
    assert BusyMeter([("mps", 0)], threads=1, now=0.0).sample(1, now=6.0) == 6.0
    light = BusyMeter([], threads=1, now=0.0)
    assert (light.sample(1, now=60.0), light.finish(now=60.0)) == (0.0, 0.0)
