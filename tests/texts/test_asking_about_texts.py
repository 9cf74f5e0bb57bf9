"""A model of texts is asked: one text or several, as JSON or as plain text, and what it says to what it cannot read."""

import json
from pathlib import Path

import pytest

from apps.deployments.requests import to_question
from tests.texts.making import english, train_here, write_texts
from workers.compression.measuring import measure_quality
from workers.compression.samples import load_samples
from workers.contract import CompressSpec
from workers.inference.answers import answer
from workers.inference.framing import JSON, PING, RAW, SAMPLE, Question
from workers.inference.predictor import load_predictor
from workers.inference.questions.texts import MAX_TEXTS
from workers.inference.text_predictor import TextPredictor


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("data"), english())


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_here(tmp_path_factory.mktemp("work"), data, epochs=16) / "model"


@pytest.fixture(scope="module")
def predictor(model: Path) -> TextPredictor:
    return load_predictor(model, threads=1)


def ask(predictor: TextPredictor, content: str, body: object = b"", top_k: int | None = None) -> tuple[int, dict]:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    (frame,) = answer(predictor, [Question(content, body, top_k)])
    return frame.status, json.loads(frame.body)


def test_a_text_gets_its_class_and_probability(predictor):
    status, outcome = ask(predictor, JSON, {"text": "where is my new sofa"})
    assert (status, outcome["class"], set(outcome)) == (200, "delivery", {"class", "probability"})
    assert ask(predictor, RAW, b"where is my new sofa") == (200, outcome)


def test_several_texts_are_answered_in_order_and_each_as_if_alone(predictor):
    texts = ["refund the sofa", "hello " * 300, "i love this sofa so much"] * 20
    status, found = ask(predictor, JSON, {"texts": texts}, top_k=2)
    assert status == 200 and len(found["predictions"]) == 60
    for text, outcome in list(zip(texts, found["predictions"], strict=True))[:3]:
        alone = ask(predictor, JSON, {"text": text}, top_k=2)[1]
        assert outcome["class"] == alone["class"]
        assert outcome["probability"] == pytest.approx(alone["probability"], abs=2e-5)
    assert [item["class"] for item in found["predictions"][:3:2]] == ["refund", "praise"]


@pytest.mark.parametrize(
    ("content", "body", "status", "code"),
    [
        (JSON, b"", 400, "empty_body"),
        (JSON, b"{", 400, "invalid_json"),
        (JSON, {}, 400, "invalid_request"),
        (JSON, {"texts": []}, 400, "invalid_request"),
        (JSON, {"texts": "a"}, 400, "invalid_request"),
        (JSON, {"text": 3}, 422, "wrong_type"),
        (JSON, {"text": "  "}, 422, "empty_text"),
        (JSON, {"texts": ["a", None]}, 422, "wrong_type"),
        (JSON, {"texts": ["a"] * (MAX_TEXTS + 1)}, 413, "too_many_texts"),
        (RAW, b"", 400, "empty_body"),
        (RAW, b"caf\xe9", 422, "wrong_encoding"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(predictor, content, body, status, code):
    answered, outcome = ask(predictor, content, body)
    assert (answered, outcome["error"]["code"]) == (status, code)
    assert outcome["error"]["message"].endswith(".")


@pytest.mark.parametrize("text", ["\ud800", "🙂", "\u0301", "\x00", "a" * 10_000, "天" * 3000])
def test_odd_texts_get_an_answer_like_others(predictor, text):
    assert ask(predictor, JSON, {"text": text})[0] == 200


def test_a_replica_says_that_it_lives_and_answers_its_own_sample(predictor):
    assert ask(predictor, PING) == (200, {})
    assert ask(predictor, SAMPLE)[0] == 200


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/plain; charset=utf-8", b"hello", RAW),
        ("text/plain", b'{"text": 1}', RAW),
        ("application/json", b"[]", JSON),
        ("application/x-www-form-urlencoded", b'{"text": "a"}', JSON),
        ("", b"hello", RAW),
    ],
)
def test_plain_text_and_json_are_told_apart(content_type, body, expected):
    assert to_question("text_classification", content_type, body, None) == Question(expected, body, None)


def test_quality_is_measured_as_the_model_is_served(predictor, data, model):
    spec = CompressSpec("w", "text_classification", str(model), str(data / "data.csv"), str(data / "index.json"), {})
    samples = load_samples(spec, predictor.meta)
    assert {split: len(found) for split, found in samples.items()} == {"train": 84, "val": 12, "test": 24}
    measured = measure_quality(predictor, samples["test"], lambda share: None)
    assert measured["accuracy"] == predictor.meta["metrics"]["test"]["accuracy"]
    assert measured["log_loss"] == pytest.approx(predictor.meta["metrics"]["test"]["log_loss"], abs=1e-4)
