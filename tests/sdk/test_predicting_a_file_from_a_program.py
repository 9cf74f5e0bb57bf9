"""A program sends a file, waits, and has the answers on its disk."""

import csv

from tests.site_helpers import digits, write_zip


def test_a_zip_of_images_is_predicted_and_downloaded(sdk, trained, tmp_path):
    archive = write_zip(tmp_path / "some.zip", digits("027", 6))
    job = sdk.jobs.wait(sdk.jobs.predict("three", file=archive, class_columns=True), timeout=120)
    assert job.result.rows == 18 and job.result.errors == 0 and job.result.metrics.accuracy > 0.5
    assert job.base_model.name == "three"
    paths = sdk.jobs.download(job, tmp_path / "answers")
    assert [path.name for path in paths] == ["predictions.csv", "predictions.jsonl"]
    with open(paths[0], newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18 and {"file", "prediction", "probability", "probability 7", "error"} <= set(rows[0])


def test_a_split_of_a_data_set_is_predicted(sdk, trained, dataset):
    job = sdk.jobs.wait(sdk.jobs.predict("three", dataset=dataset["id"], split="test"), timeout=120)
    assert job.result.rows == dataset.latest_version.report.splits.test
    assert job.result.judged == job.result.rows and job.result.metrics.accuracy > 0.5
