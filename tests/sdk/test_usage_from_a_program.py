"""A program asks what its team used and what it cost."""

from datetime import date, timedelta

import pytest

import leptonai


def test_a_training_is_counted_with_the_time_in_which_it_was_at_work(sdk, trained):
    today = date.today()
    usage = sdk.usage(group="job", first=today - timedelta(days=1), last=(today + timedelta(days=1)).isoformat())
    row = next(row for row in usage.rows if row.name == trained.name)
    assert 0 < row.busy_device_hours <= row.device_hours < 1
    assert usage.total.device_hours >= row.device_hours and usage.currency == "€"


def test_predictions_and_downloads_are_counted_as_they_leave(sdk, trained, deployment, tmp_path):
    before = sdk.usage().total.network_out_bytes
    files = sdk.models.download("three", tmp_path)
    sent = sum(path.stat().st_size for path in files)
    for _look in range(100):
        if sdk.usage().total.network_out_bytes >= before + sent:
            return
    pytest.fail("what was sent was not written down")


def test_a_wrong_question_is_refused_with_its_field(sdk):
    with pytest.raises(leptonai.InvalidRequest) as caught:
        sdk.usage(group="planet")
    assert (caught.value.code, caught.value.field) == ("unknown_group", "group")
    with pytest.raises(leptonai.InvalidRequest, match="2030-01-31"):
        sdk.usage(first="yesterday")
