"""People see how far a classifier's percentages can be trusted: on the job's page, and on the model version's."""

import json

import pytest

from apps.registry.calibration import read_calibration
from tests.jobs.making import make_node, make_version, run, submit, succeed
from workers.training.calibration import RELIABILITY_BINS


def bins(**filled: tuple[int, float, float]) -> list[dict]:
    """Ten ranges of confidence, empty but for those that are named, as in `at_9=(answers, confidence, right)`."""
    empty = {"items": 0, "confidence": None, "right": None}
    named = {name: dict(zip(empty, values, strict=True)) for name, values in filled.items()}
    return [named.get(f"at_{place}", empty) for place in range(RELIABILITY_BINS)]


FITTED = {
    "temperature": 1.6,
    "before": 0.12,
    "after": 0.034,
    "reliability": {
        "before": bins(at_9=(100, 0.98, 0.86)),
        "after": bins(at_6=(3, 0.65, 1.0), at_8=(97, 0.86, 0.85)),
    },
}


@pytest.fixture
def pages(member, tmp_path):
    """What the two pages say of a training with such a result."""
    job = succeed(run(submit(member.team, member.user, make_version(member.team)), make_node()), tmp_path)
    version = job.output_version

    def open_both(calibration: dict | None) -> list[str]:
        job.result = job.result | {"calibration": calibration}
        job.save(update_fields=["result"])
        paths = (f"/jobs/{job.pk}/", f"/models/{version.model_id}/versions/{version.number}/")
        return [member.page.get(path).content.decode() for path in paths]

    return open_both


def test_both_pages_tell_the_error_before_and_after_and_draw_it(pages):
    for page in pages(FITTED):
        assert "3.4 %" in page and "12.0 % before fitting" in page and "it was too sure" in page
        assert "js/chart.js" in page and "data-chart" in page and "80 % – 90 %" in page


def test_what_needed_no_fitting_is_not_drawn_twice(pages):
    same = bins(at_9=(100, 0.98, 0.97))
    told = {"temperature": 1.0, "before": 0.01, "after": 0.01, "reliability": {"before": same, "after": same}}
    for page in pages(told):
        assert "nothing had to be fitted" in page and "before fitting" not in page
    assert [series["label"] for series in read_calibration({"calibration": told}).chart["series"]] == [
        "This model",
        "Right as often as it says",
    ]


def test_a_result_from_before_shows_its_figures_without_a_chart(pages):
    for page in pages({"temperature": 0.8, "before": 0.12, "after": 0.034}):
        assert "3.4 %" in page and "it was not sure enough" in page and "data-chart" not in page


def test_a_regression_says_nothing_of_it(pages):
    for page in pages(None):
        assert 'id="calibration"' not in page


def test_ranges_of_few_answers_stand_in_the_table_and_not_in_the_chart():
    found = read_calibration({"calibration": FITTED})
    assert [(row.low, row.after.items) for row in found.rows] == [(0.6, 3), (0.8, 97), (0.9, 0)]
    after, before, ideal = found.chart["series"]
    assert found.chart["x"] == ideal["values"] == [86.0, 98.0, 100.0]
    assert after["values"] == [85.0, None, None] and before["values"] == [None, 86.0, None]
    assert found.chart["yRange"] == [80.0, 100]
    assert json.loads(json.dumps(found.chart)) == found.chart
