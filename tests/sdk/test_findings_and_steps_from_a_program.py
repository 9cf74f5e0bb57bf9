"""Read what the data doctor found, act on it, and undo a step, from a program, against the whole running site."""

import pytest

import leptonai
from tests.preprocessing.uploads import csv_text

HEADER = ["age", "country", "note", "bought"]


def test_a_program_acts_on_a_finding_and_undoes_it(sdk, tmp_path):
    rows = [[20 + n % 50, "NA" if n % 3 else "DE", "same", "yes" if n % 2 else "no"] for n in range(60)]
    path = tmp_path / "shop.csv"
    path.write_text(csv_text([HEADER, *rows]))
    first = sdk.datasets.wait(sdk.datasets.create("Shop", path, target="bought"), timeout=60).latest_version
    found = {finding.key: finding for finding in sdk.datasets.findings("Shop")}
    assert found["constant_column"].actions == {"drop": 1} and found["constant_column"].cost

    assert sdk.datasets.act("Shop", "constant_column", "drop").made_from == 1
    dropped = sdk.datasets.wait("Shop", timeout=60).latest_version
    assert [column.name for column in dropped.report.columns] == ["age", "country", "bought"]
    assert [step.id for step in sdk.datasets.steps("Shop") if step.is_optional] == ["missing_words", "drop_1"]

    sdk.datasets.redo("Shop", without=["drop_1"])
    undone = sdk.datasets.wait("Shop", timeout=60).latest_version
    assert (undone.number, undone.content_hash) == (3, first.content_hash)
    with pytest.raises(leptonai.InvalidRequest, match="no step") as caught:
        sdk.datasets.redo("Shop", without=["read"])
    assert caught.value.code == "unknown_step"
    assert sdk.datasets.act("Shop", "constant_column", "keep", version=1).kept == ["constant_column"]
