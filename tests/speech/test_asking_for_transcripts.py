"""A recogniser is asked: a file as it is, several in base64, tensors of samples, whole data sets, and at home."""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from apps.deployments.requests import to_question
from tests.audio.making import encoded
from tests.registry.test_a_downloaded_model_runs_alone import ask as ask_at_home
from tests.registry.test_a_downloaded_model_runs_alone import download
from tests.speech.making import say, sentences
from tests.training.here import read
from workers.contract import PredictSpec, write_spec
from workers.inference.answers import answer
from workers.inference.batching import best_size
from workers.inference.framing import JSON, PING, RAW, SAMPLE, TENSORS, Question
from workers.predicting.__main__ import main as predict

pytestmark = pytest.mark.xdist_group("speech")  # one training for all

CLIP = encoded(say("ma bo", seed=401))


def ask(predictor, content: str, body: object = b"") -> tuple[int, dict]:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    (frame,) = answer(predictor, [Question(content, body)])
    return frame.status, json.loads(frame.body)


def test_a_file_gets_its_text_how_sure_the_model_is_and_when_words_are_said(predictor):
    status, outcome = ask(predictor, RAW, CLIP)
    assert (status, outcome["text"], set(outcome)) == (200, "ma bo", {"text", "confidence", "words"})
    assert 0.3 < outcome["confidence"] <= 1
    assert [word["word"] for word in outcome["words"]] == ["ma", "bo"]
    assert ask(predictor, JSON, {"audio": base64.b64encode(CLIP).decode()}) == (200, outcome)


def test_several_are_answered_in_order_whatever_their_lengths(predictor):
    texts = ["ma", "bo ea ma", "ea bo"]
    bodies = [encoded(say(text, seed=500 + place)) for place, text in enumerate(texts)]
    asked = {"recordings": [base64.b64encode(body).decode() for body in bodies]}
    status, found = ask(predictor, JSON, asked)
    assert status == 200 and [item["text"] for item in found["predictions"]] == texts
    frames = answer(predictor, [Question(RAW, bodies[0]), Question(RAW, b"noise"), Question(RAW, bodies[1])], 4)
    assert [frame.status for frame in frames] == [200, 422, 200]
    assert json.loads(frames[2].body)["text"] == texts[1]
    assert best_size(predictor) == 1


@pytest.mark.parametrize(
    ("content", "body", "status", "code"),
    [
        (RAW, b"", 400, "empty_body"),
        (RAW, b"hello", 422, "undecodable_audio"),
        (RAW, encoded(np.zeros(601_000, np.float32), "FLAC", 1000), 413, "audio_too_long"),
        (JSON, {"sound": "x"}, 400, "invalid_request"),
    ],
)
def test_what_is_no_recording_is_refused_in_words(predictor, content, body, status, code):
    found, outcome = ask(predictor, content, body)
    assert (found, outcome["error"]["code"]) == (status, code)
    assert outcome["error"]["message"].endswith(".")


def test_a_wav_is_taken_for_a_file(predictor):
    assert to_question("speech_recognition", "application/x-www-form-urlencoded", CLIP, None).content == RAW
    assert ask(predictor, PING) == (200, {})
    assert ask(predictor, SAMPLE)[1]["text"] in sentences(160)


def test_tensors_of_samples_come_back_as_tensors(predictor):
    samples = say("bo ma", seed=77)
    tensor = {"name": "samples", "datatype": "FP32", "shape": [1, len(samples)], "data": samples.tolist()}
    status, found = ask(predictor, TENSORS, {"inputs": [tensor]})
    outputs = {item["name"]: item for item in found["outputs"]}
    assert status == 200 and outputs["text"]["data"] == ["bo ma"]
    assert outputs["confidence"]["datatype"] == "FP32" and 0.3 < outputs["confidence"]["data"][0] <= 1


def test_a_whole_data_set_is_written_down_and_judged(spoken, trained, tmp_path):
    spec = PredictSpec(
        str(tmp_path), str(trained / "model"), str(spoken / "data.zip"), "data.zip", str(spoken / "index.jsonl"), "test"
    )
    write_spec(spec, tmp_path / "spec.json")
    assert predict([str(tmp_path / "spec.json")]) == 0
    result = read(tmp_path / "output" / "result.json")
    judged = read(trained / "result.json")["metrics"]["test"]
    assert result["metrics"] == {name: judged[name] for name in ("wer", "cer", "all_right")}
    assert (result["rows"], result["judged"]) == (16, 16)
    first = json.loads((tmp_path / "output" / "predictions.jsonl").read_text().splitlines()[0])
    assert first["transcript"] == f"{sentences(160)[9].capitalize()}." and first["split"] == "test"
    assert isinstance(first["prediction"], str)


@pytest.mark.django_db
def test_a_model_taken_home_writes_without_a_site(trained, member, tmp_path):
    home = download(member, Path(shutil.copytree(trained / "model", tmp_path / "model")), "speech_recognition")
    (tmp_path / "clip.wav").write_bytes(CLIP)
    done = ask_at_home(home, str(tmp_path / "clip.wav"), "--check", missing=("PIL", "tokenizers", "jiwer"))
    assert done.returncode == 0, done.stderr
    check, told = done.stdout.splitlines()
    assert "as it did when it was made" in check and json.loads(told)["text"] == "ma bo"
    readme = (home / "README.md").read_text()
    assert "numpy soundfile onnxruntime" in readme and "what is said, how sure it is" in readme
