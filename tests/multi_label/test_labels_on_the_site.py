"""Several labels of one picture on the site: the page of the model, the demo, and what data can be trained for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from apps.deployments.models import Deployment
from apps.jobs.results import read as read_results
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.processes import serve
from tests.jobs.making import make_version
from tests.multi_label.making import NAMES, draw, table_of, zip_of
from tests.people import Person
from tests.preprocessing.uploads import Workplace
from tests.training.images import QUICK
from workers.contract import MULTI_LABEL_IMAGES, EventWriter, PredictSpec, TrainSpec
from workers.predicting.judging import judge_for
from workers.predicting.program import predict
from workers.training.hyperparameters import resolve
from workers.training.multi_label import train
from workers.training.stopping import Stop

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("labels")]

PICTURES = draw(120)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    place = Workplace(tmp_path_factory.mktemp("data"))
    return place.prepare({"marks.zip": zip_of(PICTURES, table_of(PICTURES))}).output


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data) -> Path:
    work = tmp_path_factory.mktemp("work")
    settings = resolve(MULTI_LABEL_IMAGES, "fast", QUICK | {"epochs": 2})
    paths = {"data_path": str(data / "data.zip"), "index_path": str(data / "index.jsonl")}
    train(TrainSpec(str(work), MULTI_LABEL_IMAGES, hyperparameters=settings, **paths), EventWriter(work / "e"), Stop())
    return work / "output"


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory, trained) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("replica"), lambda folder: trained / "model")


@pytest.fixture
def marks(owner: Person, trained, socket_path) -> Deployment:
    return served(owner, store_model(owner, trained / "model", "marks"), socket_path, "marks")


def test_the_demo_shows_every_label_and_marks_those_that_are_said(owner, marks):
    url = reverse("deployments:demo", args=[marks.team.slug, marks.name])
    assert "says everything that it shows" in owner.page.get(url).content.decode()
    body, _labels = PICTURES[0]
    done = owner.page.post(url, {"file": SimpleUploadedFile("p.png", body)}, headers={"HX-Request": "true"})
    assert done.status_code == 200
    page, outcome = done.content.decode(), done.context["outcome"]
    assert [item["label"] for item in outcome["scores"] if item["is_said"]] == [
        item["label"] for item in outcome["labels"]
    ]
    assert page.count("<progress") == len(NAMES) and page.count("ti-check") == len(outcome["labels"])
    assert all(name in page for name in NAMES)


def test_the_page_of_the_model_and_of_the_job_say_how_good_each_label_is(owner, trained):
    version = store_model(owner, trained / "model", "marks")
    page = owner.page.get(reverse("registry:version", args=[version.model_id, version.number])).content.decode()
    assert "Label by label" in page and "any of 4 labels" in page and "jobs/compress" not in page
    found = read_results(json.loads((trained / "result.json").read_text()), {})
    assert {row.name for row in found.labels} == set(NAMES) and found.confusion is None
    assert found.test[0].name == "mean_average_precision" and found.test[0].baseline


def test_pictures_of_several_labels_are_trained_as_such_and_those_of_classes_as_classes(member, team):
    classes = [{"name": name, "count": 30, "train": 24, "val": 3, "test": 3} for name in NAMES]
    report = {"classes": classes, "splits": {"train": 96, "val": 12, "test": 12}}
    make_version(team, "Marks", kind="image_folder", task=MULTI_LABEL_IMAGES, report=report)
    body = {"kind": "train", "dataset": "Marks"}
    wrong = member.api.post("/api/v1/jobs/", json.dumps(body | {"task": "image_classification"}), "application/json")
    assert wrong.status_code == 422 and wrong.json()["error"]["code"] == "unknown_task"
    done = member.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    assert done.status_code == 201 and done.json()["task"] == MULTI_LABEL_IMAGES
    assert done.json()["hyperparameters"]["loss"] == "binary_cross_entropy"


def test_every_picture_of_a_split_gets_its_labels_in_one_cell(tmp_path, data, trained):
    paths = (str(trained / "model"), str(data / "data.zip"), "data.zip", str(data / "index.jsonl"))
    spec = PredictSpec(str(tmp_path), *paths, split="test", has_class_columns=True)
    predict(spec, EventWriter(tmp_path / "events.jsonl"), Stop())
    lines = (tmp_path / "output" / "predictions.csv").read_text().splitlines()
    count = (data / "index.jsonl").read_text().count('"split": "test"')
    assert lines[0].startswith("file,label,split,prediction,probability bar,") and len(lines) == 1 + count
    first = json.loads((tmp_path / "output" / "predictions.jsonl").read_text().splitlines()[0])
    assert set(first["probabilities"]) == set(NAMES) and "probability" not in first
    assert set(first["prediction"].split("|")) <= {*NAMES, ""}


def test_pictures_whose_labels_are_known_are_judged_as_training_judged_them(tmp_path, data, trained):
    paths = (str(trained / "model"), str(data / "data.zip"), "data.zip", str(data / "index.jsonl"))
    predict(PredictSpec(str(tmp_path), *paths, split="test"), EventWriter(tmp_path / "events.jsonl"), Stop())
    found = json.loads((tmp_path / "output" / "result.json").read_text())
    told = json.loads((trained / "result.json").read_text())["metrics"]["test"]
    assert set(found["metrics"]) == {"mean_average_precision", "micro_f1", "macro_f1", "exact_match"}
    assert found["metrics"] == pytest.approx({name: told[name] for name in found["metrics"]}, abs=0.02)
    assert (found["judged"], found["unknown_classes"]) == (found["rows"], 0)


def test_a_picture_with_a_label_that_the_model_does_not_know_is_never_just_right():
    def answered(*probabilities: float) -> dict:
        scores = [
            {"label": name, "probability": chance, "threshold": 0.5, "is_said": chance > 0.5}
            for name, chance in zip("ab", probabilities, strict=True)
        ]
        return {"labels": [score for score in scores if score["is_said"]], "scores": scores}

    records = [("a", answered(0.9, 0.5)), ("", answered(0.1, 0.2)), ("a|b", answered(0.7, 0.8))]
    judge = judge_for({"classes": ["a", "b"]}, records[0][1])
    for truth, answer in records:
        judge.add({"cells": {}, "answer": answer, "truth": truth, "error": None})
    # 0.5 is rounded and was not said, so it reaches no threshold
    assert judge.result()["metrics"] == {
        "mean_average_precision": 1.0, "micro_f1": 1.0, "macro_f1": 1.0, "exact_match": 1.0,
    }  # fmt: skip
    judge.add({"cells": {}, "answer": answered(0.9, 0.1), "truth": "a|zebra", "error": None})
    assert judge.result() == {"metrics": {"exact_match": 0.75}, "judged": 4, "unknown_classes": 1}
