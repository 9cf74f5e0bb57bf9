"""The training program on texts: a model that learned, answers alike as a graph, and goes on where it was stopped."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from tests.texts.making import chinese, english, make_spec, train_here, write_texts
from tests.training.here import read, run_training
from tests.training.images import events_of
from tests.training.stopping import StopAfter
from workers.contract import EventWriter, ProgramFailure, TrainSpec, read_spec
from workers.texts import TextEncoder
from workers.training.batches import parts_by_length
from workers.training.hyperparameters import resolve
from workers.training.stopping import Stop, Stopped
from workers.training.text_data import Ragged, choose_encoder, settle_splits, weights_of
from workers.training.text_models import build_text_classifier
from workers.training.text_networks import TEXT_NETWORKS
from workers.training.texts import EVALUATED_IDS, train

pytestmark = pytest.mark.xdist_group("training on texts")  # what the module's fixtures train is trained once


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("english"), english())


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``output/`` of a finished training."""
    return train_here(tmp_path_factory.mktemp("trained"), data, model="blend", epochs=16)


def probabilities(output: Path, texts: list[str]) -> np.ndarray:
    """As served: the encoder of meta.json, and the graph."""
    encoder = TextEncoder.from_meta(read(output / "model" / "meta.json")["encoder"])
    session = onnxruntime.InferenceSession(str(output / "model" / "model.onnx"))
    return session.run(["probabilities"], {"ids": encoder.encode(texts)})[0]


@pytest.mark.parametrize("model", TEXT_NETWORKS)
def test_every_network_learns_what_texts_are_about(data: Path, tmp_path: Path, model: str) -> None:
    output = train_here(tmp_path, data, model=model, epochs=16)
    result = read(output / "result.json")
    assert result["architecture"] == model
    assert result["metrics"]["test"]["accuracy"] >= 0.9
    assert np.array(result["confusion"]["matrix"]).sum() == 24
    assert result["model_bytes"] == (output / "model" / "model.onnx").stat().st_size


def test_chinese_is_learned_like_any_other_language(tmp_path: Path) -> None:
    output = train_here(tmp_path / "work", write_texts(tmp_path / "data", chinese()), epochs=16)
    assert read(output / "result.json")["metrics"]["test"]["accuracy"] >= 0.9
    classes = read(output / "model" / "meta.json")["classes"]
    found = probabilities(output, ["电视机要退货", "快递什么时候到", "很喜欢"])
    assert [classes[place] for place in found.argmax(axis=1)] == ["退款", "物流", "好评"]


def test_the_graph_and_the_weights_answer_alike_for_texts_of_any_number_and_length(trained: Path) -> None:
    meta = read(trained / "model" / "meta.json")
    model = build_text_classifier(meta["architecture"], meta["architecture_args"])
    model.load_state_dict(load_file(trained / "model" / "model.safetensors"))
    encoder = TextEncoder.from_meta(meta["encoder"])
    for texts in (["hi"], ["where is it", ""], ["refund " * 500, "a", "天气"]):
        with torch.no_grad():
            expected = model.eval()(torch.from_numpy(encoder.encode(texts))).softmax(dim=1).numpy()
        answers = probabilities(trained, texts)
        assert np.abs(answers - expected).max() < 1e-4
        assert answers.sum(axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)


def test_meta_says_how_to_use_the_model_and_the_sample_and_the_examples_are_held_out(trained: Path, data: Path) -> None:
    meta = read(trained / "model" / "meta.json")
    assert (meta["format"], meta["runtime"], meta["architecture"], meta["target"]) == (1, "onnx", "blend", "topic")
    assert (meta["input"]["kind"], meta["input"]["column"]) == ("text", "text")
    assert meta["metrics"] == read(trained / "result.json")["metrics"]
    held_out = {text for number, (text, _label) in enumerate(english()) if number % 10 > 7}
    assert len(meta["input"]["examples"]) == 3 and set(meta["input"]["examples"]) <= held_out
    assert read(trained / "model" / meta["sample"])["text"] in held_out


def test_mistakes_are_texts_with_the_surest_first(data: Path, tmp_path: Path) -> None:
    output = train_here(tmp_path, data, model="text_gru", epochs=1, learning_rate=1e-6)
    result = read(output / "result.json")
    wrong = 24 - np.trace(np.array(result["confusion"]["matrix"]))
    assert len(result["mistakes"]) == wrong > 0
    labels = dict(english())
    assert all(labels[item["text"]] == item["true"] != item["predicted"] for item in result["mistakes"])
    assert [item["probability"] for item in result["mistakes"]] == sorted(
        (item["probability"] for item in result["mistakes"]), reverse=True
    )


def test_certainty_fits_accuracy_better_after_training(trained: Path) -> None:
    test = read(trained / "result.json")["metrics"]["test"]
    assert test["log_loss"] < 0.5


def test_the_same_seed_gives_the_same_model_and_another_seed_another(data: Path, tmp_path: Path) -> None:
    outputs = [train_here(tmp_path / name, data, epochs=2, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    files = [(output / "model" / "model.safetensors").read_bytes() for output in outputs]
    assert files[0] == files[1] != files[2]


def test_a_training_that_was_stopped_ends_as_if_nothing_had_happened(data: Path, tmp_path: Path) -> None:
    choices = {"epochs": 10, "model": "blend", "embedding_size": 32}
    with pytest.raises(Stopped):
        run_training(make_spec(tmp_path / "stopped", data, **choices), StopAfter(30))
    run_training(make_spec(tmp_path / "stopped", data, resume=True, **choices))
    train_here(tmp_path / "whole", data, **choices)
    results = [read(tmp_path / name / "output" / "result.json") for name in ("stopped", "whole")]
    assert results[0]["history"] == results[1]["history"]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert any("Going on from step" in event.get("message", "") for event in events_of(tmp_path / "stopped"))


def failure_of(work: Path, data: Path, **overrides: object) -> ProgramFailure:
    with pytest.raises(ProgramFailure) as caught:
        train(read_spec(TrainSpec, make_spec(work, data, **overrides)), EventWriter(work / "events.jsonl"), Stop())
    return caught.value


def test_one_class_is_refused(tmp_path: Path) -> None:
    data = write_texts(tmp_path / "data", [(f"text {number}", "only") for number in range(20)])
    assert failure_of(tmp_path, data).code == "one_class"


def test_another_column_of_texts_can_be_chosen_and_an_unknown_one_is_named(data: Path, tmp_path: Path) -> None:
    failure = failure_of(tmp_path, data, text_column="body")
    assert (failure.code, failure.field) == ("unknown_column", "text_column")
    assert "'body'" in failure.message and "text, topic" in failure.hint
    assert failure_of(tmp_path, data, text_column="topic").code == "no_text_column"
    index = read(data / "index.json") | {"text_column": None}
    other = write_texts(tmp_path / "other", english())
    (other / "index.json").write_text(json.dumps(index))
    assert failure_of(tmp_path, other).code == "no_text_column"
    assert read(train_here(tmp_path / "w", other, text_column="text", epochs=1) / "model" / "meta.json")


def test_rows_without_a_text_or_of_a_class_that_is_never_trained_are_left_out(tmp_path: Path) -> None:
    rows = english()
    rows[0], rows[9] = ("", rows[0][1]), (rows[9][0], "never trained")
    output = train_here(tmp_path / "work", write_texts(tmp_path / "data", rows), epochs=1)
    assert np.array(read(output / "result.json")["confusion"]["matrix"]).sum() == 23
    said = " ".join(event.get("message", "") for event in events_of(tmp_path / "work"))
    assert "1 rows have no text or no label" in said and "1 test rows have a class that no training row has" in said


def test_without_validation_texts_a_tenth_of_each_class_takes_their_place() -> None:
    names = ["a"] * 60 + ["b"] * 20
    splits = settle_splits(np.array(["train"] * 80), names, seed=0)
    assert [names[number] for number in splits["val"]].count("a") == 6
    assert len(splits["val"]) == 8 and not set(splits["val"]) & set(splits["train"])
    assert np.array_equal(splits["val"], settle_splits(np.array(["train"] * 80), names, seed=0)["val"])


def test_the_tables_are_as_large_as_the_texts_need() -> None:
    settings = resolve("text_classification")
    few, many = (choose_encoder("blend", settings, texts) for texts in (["a b"] * 9, [text for text, _ in english()]))
    assert few.run_buckets <= many.run_buckets and few.word_buckets <= many.word_buckets
    assert choose_encoder("text_gru", settings, ["a b"]).run_buckets == 0
    assert choose_encoder("hashed_ngrams", settings | {"buckets": 777}, ["a b"]).word_buckets == 777


def test_what_many_texts_have_counts_less_and_what_one_alone_has_nothing() -> None:
    encoder = TextEncoder(0, 2**16, 2**16, 100)
    store = Ragged([encoder.ids(text) for text in ("the lamp", "the book", "the lamp", "unseen")])
    weights = weights_of(encoder, store, np.arange(3))
    word = {name: int(encoder.ids(name)[0]) for name in ("the", "lamp", "book")}
    ids = {name: set(encoder.ids(name).tolist()) for name in word}
    only = {name: next(iter(ids[name] - set().union(*(ids[other] for other in ids if other != name)))) for name in ids}
    assert weights[only["the"]] == pytest.approx(np.log(4 / 4) + 1)
    assert weights[only["lamp"]] == pytest.approx(np.log(4 / 3) + 1)
    assert weights[only["book"]] == 0 == weights[0]


def test_short_texts_are_judged_with_short_ones_and_each_once() -> None:
    lengths = np.array([5, 200_000, 1, 7, 90_000, 60_000])
    parts = list(parts_by_length(lengths, EVALUATED_IDS))
    assert sorted(np.concatenate(parts).tolist()) == list(range(6))
    assert [sorted(part.tolist()) for part in parts[:1]] == [[0, 2, 3]]
    assert all(len(part) == 1 or len(part) * lengths[part].max() <= 2**17 for part in parts)
