"""A model of recordings is asked: a file as it is, base64, tensors; and what it says to what is no recording."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from apps.deployments.requests import to_question
from tests.audio.making import PITCHES, encoded, tone, train_here, write_data
from workers.compression.measuring import measure_quality
from workers.compression.samples import load_samples
from workers.contract import CompressSpec
from workers.inference.answers import answer
from workers.inference.audio_predictor import AudioPredictor
from workers.inference.framing import JSON, PING, RAW, SAMPLE, Question
from workers.inference.predictor import load_predictor
from workers.inference.questions import audio as questions
from workers.inference.tensors import BYTES, Request, Tensor, Wanted

CLIP = encoded(tone(PITCHES["high"], seed=3))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_here(tmp_path_factory.mktemp("work"), data) / "model"


@pytest.fixture(scope="module")
def predictor(model: Path) -> AudioPredictor:
    return load_predictor(model, threads=1)


def ask(predictor: AudioPredictor, content: str, body: object = b"", top_k: int | None = None) -> tuple[int, dict]:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    (frame,) = answer(predictor, [Question(content, body, top_k)])
    return frame.status, json.loads(frame.body)


def test_a_file_gets_its_class_and_probability_as_it_is_or_in_base64(predictor):
    status, outcome = ask(predictor, RAW, CLIP)
    assert (status, outcome["class"], set(outcome)) == (200, "high", {"class", "probability"})
    text = base64.b64encode(CLIP).decode()
    assert ask(predictor, JSON, {"audio": text}) == ask(predictor, JSON, {"audio": f"data:audio/wav;base64,{text}"})
    assert ask(predictor, JSON, {"audio": text}) == (200, outcome)


def test_questions_that_wait_together_are_answered_each_as_if_alone(predictor):
    bodies = [encoded(tone(pitch, seed=5)) for pitch in PITCHES.values()]
    asked = [Question(RAW, bodies[0]), Question(RAW, b"noise"), Question(PING), Question(RAW, bodies[2])]
    frames = answer(predictor, asked)
    assert [frame.status for frame in frames] == [200, 422, 200, 200]
    assert [json.loads(frames[place].body)["class"] for place in (0, 3)] == ["low", "high"]


def test_the_sample_is_answered(predictor):
    assert ask(predictor, SAMPLE, top_k=3)[1]["class"] in PITCHES


@pytest.mark.parametrize(
    ("content", "body", "status", "code"),
    [
        (RAW, b"", 400, "empty_body"),
        (RAW, b"hello", 422, "undecodable_audio"),
        (RAW, b"\x1aE\xdf\xa3" + b"webm" * 50, 422, "undecodable_audio"),
        (RAW, encoded(np.zeros(601_000, np.float32), "FLAC", 1000), 413, "audio_too_long"),
        (JSON, {"audio": "%%%"}, 422, "invalid_base64"),
        (JSON, {"sound": "x"}, 400, "invalid_request"),
    ],
)
def test_what_is_no_recording_is_refused_in_words(predictor, content, body, status, code):
    found, outcome = ask(predictor, content, body)
    assert (found, outcome["error"]["code"]) == (status, code)
    assert outcome["error"]["message"].endswith(".")


def test_silence_is_answered_and_not_refused(predictor):
    assert ask(predictor, RAW, encoded(np.zeros(100, np.float32)))[0] == 200


def test_tensors_of_samples_are_answered_as_files_are(predictor):
    samples = np.stack([tone(pitch, seed=5) for pitch in PITCHES.values()])
    by_samples = questions.predict_tensors(predictor, request(Tensor("samples", "FP32", samples)))
    files = np.array([encoded(each) for each in samples], dtype=object)
    by_files = questions.predict_tensors(predictor, request(Tensor("samples", BYTES, files)))
    np.testing.assert_allclose(by_samples, by_files, atol=0.02)
    assert [predictor.classes[place] for place in by_samples.argmax(axis=1)] == list(PITCHES)


def request(tensor: Tensor) -> Request:
    return Request("", {tensor.name: tensor}, Wanted(None, {}, False))


def test_a_wav_is_taken_for_a_file_and_an_object_for_json():
    assert to_question("audio_classification", "application/x-www-form-urlencoded", CLIP, None).content == RAW
    assert to_question("audio_classification", "text/plain", b'{"audio": ""}', None).content == JSON


def test_a_compression_measures_it_on_the_recordings_it_was_trained_on(data, model, predictor, tmp_path):
    spec = CompressSpec(
        work_dir=str(tmp_path), task="audio_classification", model_dir=str(model),
        data_path=str(data / "data.zip"), index_path=str(data / "index.jsonl"), settings={},
    )  # fmt: skip
    samples = load_samples(spec, predictor.meta)
    assert {split: len(found) for split, found in samples.items()} == {"train": 42, "val": 6, "test": 12}
    measured = measure_quality(predictor, samples["test"], lambda share: None)
    assert measured["accuracy"] == predictor.meta["metrics"]["test"]["accuracy"]
