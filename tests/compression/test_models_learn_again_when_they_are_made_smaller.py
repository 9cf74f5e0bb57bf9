"""Trained networks for images and texts are taken apart, learn again, and stay what their files say they are."""

import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.stack import ROOT
from tests.texts.making import english, train_here, write_texts
from workers.compression.recipes import resolve
from workers.contract import CompressSpec, TrainSpec, read_events, write_spec
from workers.examples.pictures import digit_images
from workers.inference.files import read_meta
from workers.inference.predictor import load_predictor
from workers.parallel.plan import DDP, ParallelPlan
from workers.training.subjects import load_classifier

pytestmark = pytest.mark.xdist_group("compression")  # what the module's fixtures train is trained once

SPLITS = ("train", "train", "train", "train", "val", "test")
BRIEFLY = 0.1  # how fast it is depends on what else the machine does
KEPT = ("within", "no_gain")
INT8 = {"method": "quantise"}
RECIPES = [
    [{"method": "prune_channels", "amount": 0.4, "epochs": 2}, INT8],
    [{"method": "prune_channels", "amount": 0.4, "epochs": 2}, {"method": "quantise", "epochs": 1}],
    [{"method": "low_rank", "energy": 0.8, "epochs": 1}],
    [
        {"method": "prune_weights", "amount": 0.5, "pattern": "2:4", "epochs": 1},
        INT8,
        {"method": "share", "values": 32},
    ],
    [{"method": "distil", "width": 0.5, "epochs": 8}, INT8],
]


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """A folder with data.zip, index.jsonl, and model/: a residual network for 900 handwritten digits."""
    folder = tmp_path_factory.mktemp("digits")
    items = list(digit_images())
    random.Random(0).shuffle(items)
    with zipfile.ZipFile(folder / "data.zip", "w") as archive, open(folder / "index.jsonl", "w") as index:
        for number, (name, body) in enumerate(items[:900]):
            archive.writestr(name, body)
            row = {"member": name, "label": name.split("/")[1], "split": SPLITS[number % len(SPLITS)]}
            index.write(json.dumps(row | {"width": 8, "height": 8, "source": name}) + "\n")
    settings = {"model": "resnet_tiny", "epochs": 4, "learning_rate": 0.01, "image_size": 16}
    spec = TrainSpec(
        str(folder), "image_classification", str(folder / "data.zip"), str(folder / "index.jsonl"), settings
    )
    write_spec(spec, folder / "train.json")
    subprocess.run([sys.executable, "-m", "workers.training", str(folder / "train.json")], cwd=ROOT, check=True)
    (folder / "output/model").rename(folder / "model")
    return folder


def compress(
    source: Path, model: Path, work: Path, names: tuple[str, str], task: str, recipes: list, **changes
) -> Path:
    settings = resolve(task, {"recipes": recipes, "limit_points": 50.0})
    paths = [str(source / name) for name in names]
    work.mkdir(parents=True, exist_ok=True)
    spec = CompressSpec(str(work), task, str(model), *paths, settings, speed_seconds=BRIEFLY, **changes)
    write_spec(spec, work / "spec.json")
    subprocess.run([sys.executable, "-m", "workers.compression", str(work / "spec.json")], cwd=ROOT, check=True)
    return work


def candidates(work: Path) -> list[dict]:
    return [event for event, _ in read_events(work / "events.jsonl") if event["type"] == "candidate"]


@pytest.fixture(scope="module")
def made(digits, tmp_path_factory) -> Path:
    """The work folder of a compression by all of RECIPES."""
    names = ("data.zip", "index.jsonl")
    return compress(digits, digits / "model", tmp_path_factory.mktemp("made"), names, "image_classification", RECIPES)


def test_every_recipe_gives_a_smaller_model_that_still_knows_digits(made):
    original, *others = candidates(made)
    for event in others:
        assert event["verdict"] in KEPT, event["reason"]
        figures = event["figures"]
        assert figures["size_ratio"] > 1.2, event["name"]
        assert figures["metrics"]["accuracy"] > original["figures"]["metrics"]["accuracy"] - 0.35, event["name"]


def test_weights_load_again_into_the_form_that_the_meta_describes(made, digits):
    """And that module answers as the graph does; of what was rounded afterwards, nearly."""
    pixels = load_predictor(digits / "model", 1).encode([load_predictor(digits / "model", 1).sample])
    for event in candidates(made)[1:]:
        folder = made / event["folder"]
        model = load_classifier(folder, read_meta(folder))
        with torch.no_grad():
            ours = model(torch.from_numpy(pixels)).softmax(dim=1).numpy()
        tolerance = 1e-4 if event["recipe"][-1]["method"] == "low_rank" else 0.25
        np.testing.assert_allclose(load_predictor(folder, 1).run(pixels), ours, atol=tolerance, err_msg=event["name"])


def test_channels_are_really_gone(made, digits):
    plain = load_classifier(digits / "model", read_meta(digits / "model"))
    folder = made / candidates(made)[1]["folder"]
    narrow = load_classifier(folder, read_meta(folder))
    assert read_meta(folder)["structure"]
    sizes = [sum(value.numel() for value in model.parameters()) for model in (narrow, plain)]
    assert sizes[0] < 0.6 * sizes[1]


def test_weights_that_were_removed_stay_removed_through_all_that_follows(made):
    folder = made / candidates(made)[4]["folder"]
    weights = load_classifier(folder, read_meta(folder)).features[1].first[0].weight
    fours = weights.detach().unflatten(1, (-1, 4))  # neighbours along the inputs
    assert ((fours != 0).sum(dim=2) <= 2).all()


def test_what_two_recipes_begin_with_is_trained_once(made):
    notes = list((made / "stages").glob("*/notes.json"))
    assert len(notes) == 5, "two recipes share their first step"


def test_two_processes_tune_one_model(digits, tmp_path):
    plan = ParallelPlan(DDP, world_size=2).as_dict()
    names, recipes = ("data.zip", "index.jsonl"), [RECIPES[0]]
    work = compress(digits, digits / "model", tmp_path, names, "image_classification", recipes, plan=plan)
    _original, pruned = candidates(work)
    assert pruned["verdict"] in KEPT, pruned["reason"]
    assert pruned["figures"]["metrics"]["accuracy"] > 0.6


@pytest.mark.parametrize("network", ["hashed_ngrams", "text_transformer", "text_gru"])
def test_models_of_texts_are_made_smaller_too(network, tmp_path):
    data = write_texts(tmp_path / "data", english())
    model = train_here(tmp_path / "train", data, model=network) / "model"
    recipes = [[INT8], [{"method": "distil", "width": 0.5, "epochs": 12}, INT8]]
    work = compress(
        data, model, tmp_path / "work", ("data.csv", "index.json"), "text_classification", recipes, target="topic"
    )
    for event in candidates(work)[1:]:
        assert event["verdict"] in KEPT, event["reason"]
        assert event["figures"]["size_ratio"] > 1.5, event["name"]
        load_predictor(work / event["folder"], 1).predict(["where is my parcel"])


def test_a_blend_is_distilled_to_its_bag_alone_and_answers_faster(tmp_path):
    data = write_texts(tmp_path / "data", english())
    model = train_here(tmp_path / "train", data, model="blend") / "model"
    recipes = [[{"method": "distil", "width": 0.5, "kind": "simplest", "epochs": 12}, INT8]]
    names = ("data.csv", "index.json")
    work = compress(data, model, tmp_path / "work", names, "text_classification", recipes, target="topic")
    original, alone = candidates(work)
    assert alone["figures"]["size_ratio"] > 4
    assert alone["figures"]["metrics"]["accuracy"] >= original["figures"]["metrics"]["accuracy"] - 0.1
    folder = work / alone["folder"]
    kept = load_classifier(folder, read_meta(folder)).state_dict()
    assert all(name.startswith("ngrams.") for name in kept)
    load_predictor(folder, 1).predict(["where is my parcel"])


def test_a_network_of_the_simplest_kind_has_no_simpler_one(digits, tmp_path):
    names, simplest = ("data.zip", "index.jsonl"), {"method": "distil", "width": 0.5, "kind": "simplest", "epochs": 1}
    work = compress(digits, digits / "model", tmp_path, names, "image_classification", [[INT8], [simplest]])
    assert "no simpler kind" in candidates(work)[2]["reason"]
