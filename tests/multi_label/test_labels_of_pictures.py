"""Somebody uploads pictures with several labels each, trains, and asks the model; figures are worked out by hand."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.multi_label.making import MARKS, NAMES, draw, flags_of, table_of, zip_of
from tests.preprocessing.uploads import Workplace
from tests.training.images import QUICK
from workers.contract import MULTI_LABEL_IMAGES, EventWriter, TrainSpec
from workers.examples.files import encode_png
from workers.inference.answers import answer
from workers.inference.framing import RAW, TENSORS, Question
from workers.inference.predictor import load_predictor
from workers.inference.tensors import read_request
from workers.preprocessing.doctor.several_labels import find_odd
from workers.training.hyperparameters import resolve
from workers.training.losses import balanced_label_weights, make_label_loss
from workers.training.multi_label import train, unweighted
from workers.training.multi_label.figures import average_precision, best_thresholds, f1, measure, measure_labels
from workers.training.stopping import Stop

PICTURES = draw(240)


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


# Checking


@pytest.mark.parametrize("table", [table_of(PICTURES), table_of(PICTURES, ";"), flags_of(PICTURES),
                                   flags_of(PICTURES).replace(",0", ",False").replace(",1", ",True")],
                         ids=["bars", "semicolons", "flags", "words"])  # fmt: skip
def test_labels_are_read_from_a_table_in_every_usual_form(place, table):
    done = place.prepare({"marks.zip": zip_of(PICTURES, table)})
    assert (done.report["task"], done.report["items"]) == (MULTI_LABEL_IMAGES, 240)
    told = {row["source"].rpartition("/")[2]: row["label"] for row in done.images}
    assert told["0.png"] == "|".join(sorted(PICTURES[0][1]))
    assert done.classes == {name: sum(name in labels for _, labels in PICTURES) for name in NAMES}
    assert all(row["member"].startswith("images/") for row in done.images)


def test_every_part_has_some_pictures_of_the_rarest_label(place):
    done = place.prepare({"marks.zip": zip_of(PICTURES, table_of(PICTURES))})
    rare = next(row for row in done.report["classes"] if row["name"] == "cross stitch")
    assert min(rare["train"], rare["val"], rare["test"]) >= 2
    assert "no_label_at_all" in done.warnings


def test_blanks_stand_between_labels_where_the_column_says_that_there_may_be_several(place):
    lines = ["image,tags", *(f"img/{n}.png,{' '.join(name[:3] for name in labels)}" for n, (_, labels) in
                             enumerate(PICTURES[:60]))]  # fmt: skip
    done = place.prepare({"marks.zip": zip_of(PICTURES[:60], "\n".join(lines))})
    assert set(done.classes) == {"bar", "dot", "rin", "cro"}


def test_one_label_for_each_picture_is_a_class(place):
    lines = ["file,label", *(f"img/{n}.png,{'big cat' if n % 2 else 'dog'}" for n in range(30))]
    done = place.prepare({"pets.zip": zip_of(PICTURES[:30], "\n".join(lines))})
    assert done.report["task"] == "image_classification" and done.classes == {"big cat": 15, "dog": 15}


def test_a_loose_table_called_metadata_describes_an_archive(place):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, (body, _) in enumerate(PICTURES[:60]):
            archive.writestr(f"img/{number}.png", body)
    done = place.prepare({"a.zip": buffer.getvalue(), "metadata.csv": table_of(PICTURES[:60])})
    assert (done.report["task"], done.report["items"]) == (MULTI_LABEL_IMAGES, 60)


def test_what_the_table_and_the_archive_do_not_share_is_named(place):
    table = table_of(PICTURES[:40]) + "\nimg/900.png,bar\nimg/1.png,dot"
    done = place.prepare({"a.zip": zip_of(PICTURES[:41], table)})
    assert done.bad["a.zip/img/40.png"] == "no_label"
    assert {item["code"] for item in done.report["bad"]} == {"no_label", "missing_file", "described_twice"}


def test_a_table_in_an_archive_of_class_folders_is_only_a_stray_file(place):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("notes.csv", "a,b\n1,2")
        for number, (body, _) in enumerate(PICTURES[:30]):
            archive.writestr(f"{'cat' if number % 2 else 'dog'}/{number}.png", body)
    done = place.prepare({"a.zip": buffer.getvalue()})
    assert done.report["task"] == "image_classification" and done.bad["a.zip/notes.csv"] == "not_an_image"


@pytest.mark.parametrize(
    ("table", "code"),
    [("name_of_it,labels\n1,a", "missing_columns"), ("file,labels\nimg/0.png,\nimg/1.png,", "no_labels")],
)
def test_a_table_that_says_nothing_is_refused(place, table, code):
    assert place.refusal({"a.zip": zip_of(PICTURES[:20], table)}).code == code


# Formulas


def test_binary_cross_entropy_by_hand():
    loss = make_label_loss({"label_smoothing": 0.0}, torch.tensor([1.0, 3.0]))
    logits, targets = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 1.0]])
    expected = (np.log(2) + 3 * np.log(1 + np.exp(-2))) / 2
    assert loss(logits, targets).item() == pytest.approx(expected, rel=1e-6)
    smooth = make_label_loss({"label_smoothing": 0.2})(torch.tensor([[2.0]]), torch.tensor([[1.0]])).item()
    assert smooth == pytest.approx(0.9 * np.log(1 + np.exp(-2)) + 0.1 * np.log(1 + np.exp(2)), rel=1e-6)


def test_rare_labels_count_more_and_their_weight_is_taken_off_again():
    weights = balanced_label_weights(torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0]]))
    assert weights.tolist() == [3.0, 1.0]
    # The best constant for one positive in four under a weight of 3 says 1/2; without the weight it says 1/4.
    assert unweighted(torch.zeros(1, 2), weights).sigmoid()[0].tolist() == pytest.approx([0.25, 0.5])


def test_average_precision_by_hand():
    truths = np.array([True, False, True, False])
    assert average_precision(truths, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(truths, np.full(4, 0.5)) == 0.5
    assert np.isnan(average_precision(np.zeros(3, bool), np.ones(3)))


def test_figures_of_two_labels_by_hand():
    truths = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], dtype=bool)
    scores = np.array([[0.9, 0.2], [0.4, 0.9], [0.6, 0.1], [0.1, 0.8]])
    found = measure(truths, scores, np.array([0.5, 0.5]))
    # said: a on rows 0 and 2, b on rows 1 and 3: 3 hits, 4 said, 4 true
    assert found["micro_f1"] == pytest.approx(6 / 8) and found["exact_match"] == 0.5
    assert found["macro_f1"] == pytest.approx((2 * 1 / 4 + 1) / 2)
    assert found["mean_average_precision"] == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    first = measure_labels(["a", "b"], truths, scores, np.array([0.5, 0.5]))[0]
    assert (first["name"], first["precision"], first["recall"], first["auc"]) == ("a", 0.5, 0.5, 0.75)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=40))
def test_no_other_threshold_has_a_higher_f1(pairs):
    truths, scores = np.array([[one] for one, _ in pairs]), np.array([[value / 20] for _, value in pairs])
    (threshold,) = best_thresholds(truths, scores)

    def f1_from(least: float) -> float:
        said = scores >= least
        return f1(int((said & truths).sum()), int(said.sum()), int(truths.sum()))

    if truths.any():
        assert f1_from(threshold) >= max(f1_from(value / 20) for value in range(21)) - 1e-12
    else:
        assert threshold == 0.5


# Training and asking


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = Workplace(tmp_path_factory.mktemp("data")).prepare({"marks.zip": zip_of(PICTURES, table_of(PICTURES))})
    work = tmp_path_factory.mktemp("work")
    settings_ = resolve(
        MULTI_LABEL_IMAGES, "fast", QUICK | {"epochs": 8, "augmentation": "none", "class_weights": "balanced"}
    )
    paths = {"data_path": str(done.output / "data.zip"), "index_path": str(done.output / "index.jsonl")}
    train(TrainSpec(str(work), MULTI_LABEL_IMAGES, hyperparameters=settings_, **paths), EventWriter(work / "e"), Stop())
    return work / "output"


def test_every_label_is_learned_the_rare_one_too(output):
    result = json.loads((output / "result.json").read_text())
    test = result["metrics"]["test"]
    assert test["mean_average_precision"] > 0.9 > 2 * result["baseline"]["test"]["mean_average_precision"]
    assert test["micro_f1"] > 0.85 and test["exact_match"] > 0.6
    assert [row["name"] for row in result["labels"]][0] == "bar" and len(result["labels"]) == len(NAMES)


def picture_of(*labels: str) -> bytes:
    pixels = np.random.default_rng(5).integers(0, 90, (16, 16)).astype(np.uint8)
    for name in labels:
        pixels[MARKS[name]] = 230
    return encode_png(pixels)


def ask(predictor, body: bytes, top_k: int | None = None) -> dict:
    (frame,) = answer(predictor, [Question(RAW, body, top_k)])
    assert frame.status == 200
    return json.loads(frame.body)


@pytest.mark.parametrize("labels", [("bar", "dot"), ("ring",), ()])
def test_a_picture_gets_the_labels_it_shows(output, labels):
    predictor = load_predictor(output / "model", 1)
    found = ask(predictor, picture_of(*labels), top_k=10)
    assert {item["label"] for item in found["labels"]} == set(labels)
    assert {item["label"] for item in found["scores"]} == set(NAMES)
    said = {item["label"] for item in found["scores"] if item["is_said"]}
    assert said == set(labels) and "scores" not in ask(predictor, picture_of())


def test_a_tensor_of_pictures_gives_probabilities_and_what_is_said(output):
    predictor = load_predictor(output / "model", 1)
    pixels = predictor.encode([picture_of("bar"), picture_of()])
    request = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": list(pixels.shape),
                           "data": pixels.reshape(-1).tolist()}]}  # fmt: skip
    assert read_request(json.dumps(request).encode(), None)
    (frame,) = answer(predictor, [Question(TENSORS, json.dumps(request).encode())])
    outputs = {item["name"]: item for item in json.loads(frame.body)["outputs"]}
    assert outputs["probabilities"]["shape"] == outputs["is_said"]["shape"] == [2, 4]
    assert outputs["is_said"]["data"] == [1, 0, 0, 0, 0, 0, 0, 0]


def test_the_files_predict_alone(output, tmp_path):
    (tmp_path / "p.png").write_bytes(picture_of("dot"))
    command = [sys.executable, "-m", "workers.inference.predict", "--check", "--model", str(output / "model")]
    done = subprocess.run([*command, str(tmp_path / "p.png")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [item["label"] for item in json.loads(done.stdout.splitlines()[1])["labels"]] == ["dot"]


def test_labels_that_are_wrong_or_missing_are_found_and_mended(tmp_path):
    told = [(picture, list(labels)) for picture, labels in draw(200)]
    for number, name in ((3, "bar"), (50, "dot"), (90, "ring"), (120, "bar"), (170, "ring")):
        told[number] = (told[number][0], sorted({*told[number][1]} ^ {name}))
    place, files = Workplace(tmp_path), {"m.zip": zip_of(told, table_of(told))}
    first = place.prepare(files)
    remedy = json.loads((first.output / "findings.json").read_text())["label_errors"]
    truth = {f"m.zip/img/{number}.png": "|".join(sorted(labels)) for number, (_, labels) in enumerate(draw(200))}
    wrong = {f"m.zip/img/{number}.png" for number in (3, 50, 90, 120, 170)}
    found = set(remedy["leave_out"])
    assert found <= wrong and len(found) >= 4
    assert remedy["relabel"] == {item: truth[item] for item in found}
    steps = [{"id": "relabel_1", "step": "relabel", "finding": "label_errors", "items": remedy["relabel"]}]
    recipe = {"steps": steps, "without": [], "task": "multi_label_images", "split_source": first.report["split_source"]}
    mended = place.prepare(files, recipe=recipe, first_index=str(first.output / "index.jsonl"))
    assert {row["source"] for row in mended.images if row["label"] != truth[row["source"]]} == wrong - found


def test_labels_that_nothing_tells_are_not_suspected():
    draws = np.random.default_rng(0)
    sets = [frozenset(name for name in "ab" if draws.random() < 0.4) for _ in range(300)]
    assert find_odd(sets, draws.normal(size=(300, 20)).astype(np.float32)) == {}
