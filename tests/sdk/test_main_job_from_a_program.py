"""Upload, train, compress, deploy and predict from a program, against the whole running site."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import leptonai
from tests.site_helpers import digits, write_iris


@pytest.fixture(scope="module")
def seven() -> bytes:
    return digits("7", 80)["digits/7/0007.png"]


def test_a_data_set_is_checked_and_split(dataset):
    version = dataset.latest_version
    assert (version.status, version.kind, version.task) == ("ready", "image_folder", "image_classification")
    assert version.report.splits == {"train": 192, "val": 24, "test": 24}
    assert [item.name for item in version.report.classes] == ["0", "2", "7"]


def test_the_frozen_data_and_its_index_can_be_downloaded(sdk, dataset, tmp_path):
    data, index = sdk.datasets.download(dataset, tmp_path)
    items = [json.loads(line) for line in index.read_text().splitlines()]
    with zipfile.ZipFile(data) as archive:
        assert sorted(archive.namelist()) == sorted(item["member"] for item in items)
    assert sum(item["split"] == "test" for item in items) == 24


def test_a_training_can_be_followed_to_its_end(sdk, trained):
    assert trained.progress.fraction == 1.0
    assert trained.result.metrics.test.accuracy > 0.8
    assert trained.model.name == "three"
    metrics = sdk.jobs.metrics(trained)["results"]
    assert {"loss", "accuracy"} <= {point.name for point in metrics}
    assert sdk.jobs.logs(trained)["results"]


def test_the_files_of_a_version_can_be_downloaded(sdk, trained, tmp_path):
    names = {path.name for path in sdk.models.download("three", tmp_path, version=trained.model.version)}
    assert {"model.safetensors", "model.onnx", "meta.json"} <= names
    assert (tmp_path / "model.safetensors").stat().st_size > 1000


@pytest.mark.parametrize("form", ["path", "bytes", "picture", "array", "open file"])
def test_an_image_may_come_in_any_usual_form(sdk, deployment, seven, tmp_path, form):
    path = tmp_path / "7.png"
    path.write_bytes(seven)
    picture = Image.open(io.BytesIO(seven))
    item = {
        "path": str(path),
        "bytes": seven,
        "picture": picture,
        "array": np.asarray(picture),
        "open file": io.BytesIO(seven),
    }[form]
    model = sdk.load_model(deployment.name)
    answer = model.predict(item)
    assert set(answer) == {"class", "probability"}
    assert answer == model.predict(seven)
    assert answer["class"] == "7"


def test_the_best_classes_can_be_asked_for(sdk, deployment, seven):
    answer = sdk.load_model("three").predict(seven, top_k=3)
    probabilities = [item.probability for item in answer.classes]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)


def test_a_task_finds_its_newest_deployment(sdk, deployment):
    model = sdk.load_model("image_classification")
    assert (model.task, model.classes) == ("image_classification", ["0", "2", "7"])


def test_a_compressed_version_says_what_it_cost(sdk, trained):
    job = sdk.jobs.compress("three", version=trained.model.version, limit_points=5, recipes=[[{"method": "quantise"}]])
    job = sdk.jobs.wait(job, timeout=120)
    before, after = job.result.before, job.result.after
    assert after.bytes < before.bytes
    assert before.metrics.accuracy == pytest.approx(trained.result.metrics.test.accuracy)
    assert job.model.version > trained.model.version


def test_a_table_goes_the_same_way(sdk, tmp_path):
    dataset = sdk.datasets.create("Irises", write_iris(tmp_path / "iris.csv"))
    assert sdk.datasets.wait(dataset, timeout=60).latest_version.target == "species"
    job = sdk.jobs.wait(sdk.jobs.train("Irises", model_name="irises", preset="fast"), timeout=120)
    assert job.result.metrics.test.accuracy >= 0.8
    deployment = sdk.deployments.create("irises")
    sdk.deployments.wait(deployment, timeout=60)
    model = sdk.load_model("irises")
    row = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
    assert model.predict(row)["class"] == "setosa"
    answers = model.predict([row, {**row, "petal_length": 5.9, "petal_width": 2.3}])["predictions"]
    assert [answer["class"] for answer in answers] == ["setosa", "virginica"]
    with pytest.raises(leptonai.InvalidRequest) as caught:
        model.predict({"sepal_length": 5.1})
    assert caught.value.code == "missing_column"
    assert "sepal_width" in caught.value.message


def test_several_files_may_say_themselves_which_part_they_are(sdk, tmp_path):
    lines = write_iris(tmp_path / "all.csv").read_text().splitlines()
    for name, rows in {"train": lines[1::2], "test": lines[2::2]}.items():
        (tmp_path / f"{name}.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    files: dict[str, Path] = {name: tmp_path / f"{name}.csv" for name in ("train", "test")}
    version = sdk.datasets.wait(sdk.datasets.create("Split irises", files), timeout=60).latest_version
    assert version.report.splits["test"] == 75
    assert version.report.split_source == "user"
