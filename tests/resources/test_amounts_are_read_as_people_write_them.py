"""Cores, gigabytes and hours: what is written is read again as the same amount, and nonsense is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.resources.units import MOST, UNITS, UnitError, read_amount, write_amount

AMOUNTS = st.one_of(st.none(), st.integers(0, 10**6), st.integers(0, MOST - 1))


@given(resource=st.sampled_from(sorted(UNITS)), amount=AMOUNTS)
def test_what_is_written_is_read_as_the_same_amount(resource, amount):
    assert read_amount(resource, write_amount(resource, amount)) == amount


@given(resource=st.sampled_from(sorted(UNITS)), text=st.text(max_size=40))
def test_any_text_is_an_amount_or_refused(resource, text):
    try:
        amount = read_amount(resource, text)
    except UnitError:
        return
    assert amount is None or 0 <= amount < MOST


@pytest.mark.parametrize(
    ("resource", "text", "amount"),
    [
        ("devices", " 8 ", 8),
        ("devices", "8.0", 8),
        ("cpu", "2.5", 2500),
        ("cpu", "250m", 250),
        ("memory", "64", 64 * 10**9),
        ("memory", "1.5 TB", 1500 * 10**9),
        ("memory", "16GiB", 16 * 2**30),
        ("storage", "500 mb", 500 * 10**6),
        ("device_time", "100", 360_000),
        ("device_time", "2 d", 172_800),
        ("jobs", "", None),
        ("jobs", "unlimited", None),
    ],
)
def test_usual_ways_of_writing(resource, text, amount):
    assert read_amount(resource, text) == amount


@pytest.mark.parametrize(
    ("resource", "text", "code"),
    [
        ("devices", "half", "not_a_number"),
        ("devices", "-1", "not_a_number"),
        ("devices", "1e9", "not_a_number"),
        ("devices", "1,000", "not_a_number"),
        ("devices", "٣", "not_a_number"),
        ("devices", "1\x00", "not_a_number"),
        ("devices", "1.5", "not_whole"),
        ("memory", "3 apples", "unknown_unit"),
        ("cpu", "3 GB", "unknown_unit"),
        ("storage", "9999999999 PB", "too_large"),
    ],
)
def test_nonsense_is_refused(resource, text, code):
    with pytest.raises(UnitError) as caught:
        read_amount(resource, text)
    assert caught.value.code == code
