"""What was measured becomes problems with a stable code, and each problem ends in what to do. No clock, no machine."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.resources.health import WORDS, Problem, advise, find_problems, from_dicts, site_problems
from workers.measuring import NVIDIA_FIELDS, DeviceUse, Measured, nvidia_uses

GB = 10**9
GPU = DeviceUse("cuda", 3, 0.5, 40 * GB, 61.0, 0)
WELL = Measured(
    load_per_core=0.6,
    memory_bytes=64 * GB,
    memory_available_bytes=30 * GB,
    storage_bytes=1000 * GB,
    storage_free_bytes=400 * GB,
    devices=(GPU,),
)


def codes(measured: Measured = WELL, **more) -> list[str]:
    return [problem.code for problem in find_problems(measured, **more)]


def with_gpu(**changes) -> Measured:
    return replace(WELL, devices=(replace(GPU, **changes),))


def test_a_machine_that_is_well_has_no_problem():
    assert codes(expected={("cuda", 3)}, clock_skew_seconds=0.4) == []


@pytest.mark.parametrize(
    ("measured", "code"),
    [
        (replace(WELL, storage_free_bytes=19 * GB), "disk_almost_full"),
        (replace(WELL, memory_available_bytes=3 * GB), "memory_pressure"),
        (replace(WELL, load_per_core=3.5), "overloaded"),
        (replace(WELL, driver_error="Unable to determine the device handle"), "driver_silent"),
        (with_gpu(errors=2), "device_errors"),
        (with_gpu(temperature=90.0), "device_hot"),
    ],
)
def test_each_measurement_has_its_limit(measured, code):
    assert codes(measured) == [code]


def test_a_large_disk_is_not_almost_full_while_much_is_free_and_a_small_one_not_while_a_tenth_is():
    assert codes(replace(WELL, storage_bytes=100_000 * GB, storage_free_bytes=50 * GB)) == []
    assert codes(replace(WELL, storage_bytes=20 * GB, storage_free_bytes=3 * GB)) == []


def test_a_full_disk_is_serious_and_an_almost_full_one_is_not_yet():
    (low,) = find_problems(replace(WELL, storage_free_bytes=15 * GB), folder="/srv/lepton")
    (full,) = find_problems(replace(WELL, storage_free_bytes=GB // 2), folder="/srv/lepton")
    assert (low.is_serious, full.is_serious) == (False, True)
    assert "/srv/lepton" in advise(full).action and "500.0 MB of 1.0 TB" in advise(full).message


def test_a_device_that_was_there_and_is_not_is_lost():
    (lost,) = find_problems(WELL, expected={("cuda", 3), ("cuda", 4)})
    assert (lost.code, lost.numbers) == ("device_lost", {"kind": "cuda", "index": 4})
    assert advise(lost).message.startswith("GPU 4 is gone")


def test_no_device_is_called_lost_while_the_driver_is_silent():
    assert codes(replace(WELL, devices=(), driver_error="timed out"), expected={("cuda", 3)}) == ["driver_silent"]


@pytest.mark.parametrize(("skew", "word"), [(31.0, "ahead of"), (-31.0, "behind")])
def test_a_clock_that_is_wrong_says_which_way(skew, word):
    (problem,) = find_problems(WELL, clock_skew_seconds=skew)
    assert f"31 s {word} the database's" in advise(problem).message
    assert codes(clock_skew_seconds=4.0) == []


def test_storage_that_is_away_says_why():
    (problem,) = find_problems(WELL, storage_error="there is no folder /mnt/lepton")
    assert "no folder /mnt/lepton" in advise(problem).message and problem.is_serious


def test_the_worst_comes_first():
    found = find_problems(replace(with_gpu(errors=1), load_per_core=9.0), clock_skew_seconds=60.0)
    assert [problem.is_serious for problem in found] == [True, False, False]


def test_the_site_adds_silence_and_another_version():
    known = {"offline_after": 15.0, "version": "0.1.0+aaa", "site_version": "0.1.0+bbb"}
    found = site_problems(silent_seconds=40.0, is_online=False, **known)
    assert [problem.code for problem in found] == ["heartbeat_stale", "version_differs"]
    assert "40 s" in advise(found[0]).message
    assert [problem.code for problem in site_problems(silent_seconds=2.0, is_online=True, **known)] == [
        "version_differs"
    ]


@given(
    st.builds(
        Measured,
        load_per_core=st.floats(0, 1e4),
        memory_bytes=st.integers(0, 2**50),
        memory_available_bytes=st.integers(0, 2**50),
        storage_bytes=st.integers(0, 2**60),
        storage_free_bytes=st.integers(0, 2**60),
        devices=st.lists(
            st.builds(
                DeviceUse,
                st.sampled_from(["cpu", "cuda", "mps"]),
                st.integers(0, 8),
                temperature=st.none() | st.floats(-50, 500),
                errors=st.none() | st.integers(0, 10**6),
            ),
            max_size=4,
        ).map(tuple),
    ),
    st.floats(-1e6, 1e6),
)
def test_whatever_is_measured_every_problem_ends_in_what_to_do(measured, skew):
    for problem in find_problems(measured, expected={("cuda", 0)}, clock_skew_seconds=skew, storage_error="gone"):
        advice = advise(problem)
        assert advice.message.endswith(".") and advice.action.endswith(".")
        assert from_dicts([problem.as_dict()]) == [problem]


def test_a_code_of_a_newer_agent_is_left_out_and_every_known_code_has_words_without_numbers():
    assert from_dicts([{"code": "of_tomorrow"}, {"code": "overloaded"}]) == [Problem("overloaded")]
    for code in WORDS:
        assert all((advise(Problem(code)).message, advise(Problem(code)).action))


def test_what_nvidia_smi_answers_is_read_and_what_it_does_not_know_is_none():
    assert len(NVIDIA_FIELDS) == 5
    known, unknown = nvidia_uses([["0", "97", "40536", "64", "1"], ["1", "[N/A]", "12", "[N/A]", "[N/A]"]])
    assert known == DeviceUse("cuda", 0, 0.97, 40536 * 2**20, 64.0, 1)
    assert unknown == DeviceUse("cuda", 1, 0.0, 12 * 2**20, None, None)
