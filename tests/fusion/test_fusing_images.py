"""Image versions become one: what is averaged, what is measured anew, and that what is kept serves like any other."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.fusion.making import BRIEFLY, load_digits, new_classifier, run, save, spec_for, trained_on
from tests.stack import ROOT
from workers.compression import recipes
from workers.compression.program import compress
from workers.contract import (
    EXIT_FAILED,
    CompressSpec,
    EventWriter,
    ProgramFailure,
    read_events,
    write_spec,
)
from workers.fusion.images import load_classifier, restore_statistics, training_batches
from workers.fusion.mixing import average_states, equal_weights
from workers.inference.parity import difference_from_record
from workers.inference.predictor import load_predictor
from workers.training.image_models import build_classifier
from workers.training.images import ImageData, predict
from workers.training.metrics import log_loss
from workers.training.stopping import Stop

pytestmark = pytest.mark.xdist_group("fusing images")  # what the module's fixtures train is trained once


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fusing")


@pytest.fixture(scope="module")
def data(place) -> ImageData:
    return load_digits(place / "data")


@pytest.fixture(scope="module")
def branches(place, data) -> list[Path]:
    """Two versions that went on from the same start, each with its own order of the images."""
    start = trained_on(new_classifier(data, 0), data, epochs=5, seed=0, rate=0.05)
    ends = (trained_on(start, data, epochs=3, seed=seed, rate=0.3) for seed in (1, 2))
    return [save(model, data, place / f"branch{number}") for number, model in enumerate(ends, 1)]


@pytest.fixture(scope="module")
def apart(place, data) -> Path:
    """A version from a start of its own."""
    model = trained_on(new_classifier(data, 11), data, epochs=6, seed=11, rate=0.05)
    return save(model, data, place / "apart")


def meta_of(folder: Path) -> dict:
    return json.loads((folder / "meta.json").read_text())


def pixels(data: ImageData, split: str = "test") -> np.ndarray:
    return np.asarray(data.store[data.splits[split]])


@pytest.fixture(scope="module")
def averaged(place, branches) -> tuple[Path, dict]:
    """(model folder, result) of a uniform fusion of the branches."""
    work = place / "averaged"
    return work / "output/model", run(spec_for(work, place / "data", branches, "uniform"))


def test_versions_from_one_start_average_to_something_better(averaged):
    _folder, result = averaged
    assert result["verdict"] == "improved" and [model["weight"] for model in result["models"]] == [0.5, 0.5]
    best = result["models"][result["best"]]
    assert result["fused"]["validation"]["accuracy"] > best["validation"]["accuracy"]
    assert result["fused"]["bytes"] == pytest.approx(best["bytes"], rel=0.01), "as small as one of them"
    low, high = result["fused"]["test_interval"]
    assert low < result["fused"]["test"]["accuracy"] < high
    assert result["rows"] == {"val": 60, "test": 60}


def test_its_weights_are_the_mean_of_theirs(averaged, branches):
    folder, _result = averaged
    fused, *parts = (load_file(path / "model.safetensors") for path in (folder, *branches))
    convolutions = [name for name in fused if name.startswith("features") and fused[name].ndim == 4]
    assert len(convolutions) > 4
    for name in convolutions:
        np.testing.assert_allclose(fused[name], (parts[0][name] + parts[1][name]) / 2, atol=1e-7)


def test_it_says_what_it_is_made_of_and_serves_alone(averaged, data, tmp_path):
    folder, result = averaged
    meta = meta_of(folder)
    assert meta["fusion"] == {
        "method": "uniform",
        "models": [{"name": "branch1", "weight": 0.5}, {"name": "branch2", "weight": 0.5}],
    }
    alone = tmp_path / "alone"
    folder.rename(alone)
    try:
        predicted = load_predictor(alone, 1).run(pixels(data))
    finally:
        alone.rename(folder)
    accuracy = np.mean(predicted.argmax(axis=1) == data.labels[data.splits["test"]])
    assert (
        accuracy
        == pytest.approx(result["fused"]["test"]["accuracy"])
        == pytest.approx(meta["metrics"]["test"]["accuracy"])
    )


def test_the_graph_answers_as_the_weights_do(averaged, data):
    folder, _result = averaged
    with torch.no_grad():
        expected = load_classifier(folder, meta_of(folder))(torch.from_numpy(pixels(data))).softmax(dim=1).numpy()
    np.testing.assert_allclose(load_predictor(folder, 1).run(pixels(data)), expected, atol=1e-4)


def test_statistics_of_batch_normalisation_must_be_measured_anew(branches, data):
    """With the mean of the branches' statistics the averaged network does badly; with its own, better than either."""
    meta = meta_of(branches[0])
    mixed = average_states([load_file(path / "model.safetensors") for path in branches], equal_weights(2))
    model = build_classifier(meta["architecture"], meta["architecture_args"])
    model.load_state_dict({name: torch.from_numpy(array) for name, array in mixed.items()})

    def loss(asked: torch.nn.Module) -> float:
        probabilities = predict(asked, data, "val", "cpu").softmax(dim=1).numpy()
        return log_loss(data.labels[data.splits["val"]], probabilities)

    parts = [loss(load_classifier(path, meta)) for path in branches]
    stale = loss(model)
    restore_statistics(model, training_batches(data), "cpu")
    assert loss(model) < min(parts) and loss(model) < 0.7 * stale


def test_versions_that_started_apart_do_not_average_and_nothing_is_kept(place, branches, apart, tmp_path):
    result = run(spec_for(tmp_path, place / "data", [branches[0], apart], "uniform"))
    assert result["verdict"] == "not_improved"
    assert result["fused"]["validation"]["accuracy"] < result["models"][0]["validation"]["accuracy"]
    assert "ensemble" in " ".join(result["reasons"])
    assert not (tmp_path / "output/model").exists()


def test_a_greedy_soup_leaves_out_what_hurts(place, branches, apart, tmp_path):
    result = run(spec_for(tmp_path, place / "data", [apart, *branches], "greedy"))
    assert [model["weight"] for model in result["models"]] == [0, 0.5, 0.5]
    assert result["verdict"] == "improved"


def test_a_greedy_soup_of_one_is_no_improvement(place, branches, apart, tmp_path):
    result = run(spec_for(tmp_path, place / "data", [apart, branches[0]], "greedy"))
    assert sorted(model["weight"] for model in result["models"]) == [0, 1]
    assert result["verdict"] == "not_improved" and "alone" in result["reasons"][0]


@pytest.fixture(scope="module")
def ensemble(place, branches, apart) -> tuple[Path, dict]:
    """(model folder, result) of an ensemble of all three."""
    work = place / "ensemble"
    return work / "output/model", run(spec_for(work, place / "data", [*branches, apart], "ensemble"))


def test_an_ensemble_answers_with_the_mean_of_the_probabilities(ensemble, branches, apart, data):
    folder, result = ensemble
    assert result["verdict"] == "improved"
    expected = np.mean([load_predictor(path, 1).run(pixels(data)) for path in (*branches, apart)], axis=0)
    np.testing.assert_allclose(load_predictor(folder, 1).run(pixels(data)), expected, atol=1e-5)
    assert difference_from_record(load_predictor(folder, 1), folder)[0] < 1e-6


def test_an_ensemble_is_one_graph_and_one_file_of_weights_that_load_again(ensemble, data):
    folder, _result = ensemble
    graph = onnx.load(folder / "model.onnx").graph
    assert [item.name for item in graph.input] == ["image"] and len(graph.output) == 1
    assert {name.split(".")[1] for name in load_file(folder / "model.safetensors")} == {"0", "1", "2"}
    meta = meta_of(folder)
    assert meta["architecture"] == "ensemble" and len(meta["architecture_args"]["members"]) == 3
    again = predict(load_classifier(folder, meta), data, "test", "cpu").softmax(dim=1).numpy()
    np.testing.assert_allclose(load_predictor(folder, 1).run(pixels(data)), again, atol=1e-4)


def test_an_ensemble_can_be_compressed(ensemble, place, tmp_path):
    folder, fused = ensemble
    spec = CompressSpec(
        str(tmp_path),
        "image_classification",
        str(folder),
        str(place / "data/data.zip"),
        str(place / "data/index.jsonl"),
        recipes.resolve("image_classification", {"recipes": [[{"method": "quantise"}]], "limit_points": 20.0}),
        speed_seconds=BRIEFLY,
    )
    compress(spec, EventWriter(tmp_path / "events.jsonl"), Stop())
    told = [event for event, _ in read_events(tmp_path / "events.jsonl") if event["type"] == "candidate"]
    figures = told[1]["figures"]
    assert figures["size_ratio"] > 2
    assert figures["metrics"]["accuracy"] > fused["fused"]["test"]["accuracy"] - 0.1
    small = load_predictor(tmp_path / told[1]["folder"], 1)
    sums = small.run(small.encode([small.sample])).sum(axis=1)
    assert sums == pytest.approx(1, abs=1e-5), "each member's probabilities stay exact"


def test_a_version_of_other_data_is_told_of(place, branches, tmp_path):
    spec = spec_for(tmp_path, place / "data", branches, "uniform")
    elsewhere = replace(spec.models[1], is_same_data=False)
    result = run(replace(spec, models=(spec.models[0], elsewhere)))
    assert len(result["notes"]) == 1 and result["notes"][0].startswith("branch2: trained on other data")


def refusal(spec) -> ProgramFailure:
    with pytest.raises(ProgramFailure) as caught:
        run(spec)
    return caught.value


def test_what_does_not_go_together_is_refused_by_name(place, branches, data, tmp_path):
    def changed(name: str, **changes) -> list[Path]:
        folder = tmp_path / name
        folder.mkdir()
        for file in branches[1].iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "meta.json").write_text(json.dumps(meta_of(folder) | changes))
        return [branches[0], folder]

    source = place / "data"
    other = refusal(spec_for(tmp_path / "1", source, changed("renamed", classes=[*"abcdefghij"]), "ensemble"))
    assert other.code == "different_models" and "renamed has another list of classes than branch1" in other.message
    size = meta_of(branches[0])["input"] | {"height": 16}
    assert (
        refusal(spec_for(tmp_path / "2", source, changed("larger", input=size), "ensemble")).code == "different_models"
    )
    wide = meta_of(branches[0])["architecture_args"] | {"widths": [8, 32]}
    found = refusal(spec_for(tmp_path / "3", source, changed("wide", architecture_args=wide), "uniform"))
    assert "another architecture" in found.message
    small = refusal(spec_for(tmp_path / "4", source, changed("small", compression={"method": "int8"}), "ensemble"))
    assert small.code == "compressed_version"
    assert refusal(spec_for(tmp_path / "5", source, branches[:1], "uniform")).code == "too_few_versions"


def test_damaged_weights_are_a_sentence(place, branches, tmp_path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for file in branches[1].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if not name.startswith("head")}, folder / "model.safetensors"
    )
    failure = refusal(spec_for(tmp_path / "work", place / "data", [branches[0], folder], "ensemble"))
    assert failure.code == "damaged_model" and "head" in failure.message


def test_without_a_validation_split_only_the_same_seed_can_be_judged(place, data, branches, tmp_path):
    source = tmp_path / "data"
    source.mkdir()
    (source / "data.zip").write_bytes((place / "data/data.zip").read_bytes())
    index = (place / "data/index.jsonl").read_text().replace('"split": "val"', '"split": "train"')
    (source / "index.jsonl").write_text(index)
    other = save(load_classifier(branches[1], meta_of(branches[1])), data, tmp_path / "other", seed=5)
    failure = refusal(spec_for(tmp_path / "work", source, [branches[0], other], "ensemble"))
    assert failure.code == "no_validation_data"
    assert run(spec_for(tmp_path / "again", source, branches, "ensemble"))["rows"]["val"] > 30


def test_the_program_says_why_it_failed(place, branches, tmp_path):
    spec = replace(spec_for(tmp_path, place / "data", branches, "uniform"), method="magic")
    write_spec(spec, tmp_path / "spec.json")
    assert json.loads((tmp_path / "spec.json").read_text())["models"][0]["name"] == "branch1"
    done = subprocess.run([sys.executable, "-m", "workers.fusion", str(tmp_path / "spec.json")], cwd=ROOT)
    assert done.returncode == EXIT_FAILED
    (failure,) = (event for event, _ in read_events(tmp_path / "events.jsonl") if event["type"] == "failure")
    assert failure["code"] == "unknown_method" and "greedy" in failure["hint"]
