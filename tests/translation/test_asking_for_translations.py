"""A translator is asked: one text or several, with other beams, in tensors, and at home without a site."""

import json
import shutil
from pathlib import Path

import pytest

from tests.registry.test_a_downloaded_model_runs_alone import ask as ask_at_home
from tests.registry.test_a_downloaded_model_runs_alone import download
from tests.translation.making import toy
from workers.domains import TASKS
from workers.inference.answers import answer
from workers.inference.framing import JSON, PING, RAW, SAMPLE, TENSORS, Question
from workers.inference.questions.translations import MAX_CHARACTERS, MAX_TEXTS

pytestmark = pytest.mark.xdist_group("translation")  # one training for all

ENGLISH, TOY = toy()[0]


def ask(predictor, content: str, body: object = b"") -> tuple[int, dict]:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    (frame,) = answer(predictor, [Question(content, body)])
    return frame.status, json.loads(frame.body)


def test_a_text_gets_its_translation_and_how_sure_the_model_is(predictor):
    status, outcome = ask(predictor, JSON, {"text": ENGLISH})
    assert (status, outcome["translation"], set(outcome)) == (200, TOY, {"translation", "score"})
    assert 0.8 < outcome["score"] <= 1
    assert ask(predictor, RAW, ENGLISH.encode()) == (200, outcome)
    assert ask(predictor, JSON, {"text": ENGLISH, "beam_size": 4})[1]["translation"] == TOY


def test_several_texts_are_answered_in_order(predictor):
    rows = toy()[:7]
    status, found = ask(predictor, JSON, {"texts": [source for source, _ in rows], "beam_size": 2})
    assert status == 200
    assert [item["translation"] for item in found["predictions"]] == [target for _, target in rows]


@pytest.mark.parametrize(
    ("content", "body", "status", "code", "field"),
    [
        (JSON, b"", 400, "empty_body", None),
        (JSON, {}, 400, "invalid_request", "text"),
        (JSON, {"text": 3}, 422, "wrong_type", "text"),
        (JSON, {"text": " \n "}, 422, "empty_text", "text"),
        (JSON, {"text": "a", "beam_size": "many"}, 422, "wrong_type", "beam_size"),
        (JSON, {"text": "a", "beam_size": True}, 422, "wrong_type", "beam_size"),
        (JSON, {"text": "a", "beam_size": 0}, 422, "out_of_range", "beam_size"),
        (JSON, {"text": "a", "beam_size": 11}, 422, "out_of_range", "beam_size"),
        (JSON, {"texts": ["a"] * (MAX_TEXTS + 1)}, 413, "too_many_texts", "texts"),
        (JSON, {"text": "a" * (MAX_CHARACTERS + 1)}, 413, "text_too_long", "text"),
        (RAW, b"caf\xe9", 422, "wrong_encoding", None),
    ],
)
def test_what_cannot_be_translated_is_refused_in_a_sentence(predictor, content, body, status, code, field):
    answered, outcome = ask(predictor, content, body)
    assert (answered, outcome["error"]["code"], outcome["error"].get("field")) == (status, code, field)
    assert outcome["error"]["message"].endswith(".")


@pytest.mark.parametrize("text", ["\ud800", "🙂", "\u0301", "\x00", "a" * 10_000, "天" * 3000, "a\n\n\nb", "</s>"])
def test_odd_texts_get_an_answer_like_others(predictor, text):
    status, outcome = ask(predictor, JSON, {"text": text})
    assert status == 200 and outcome["translation"].count("\n") == text.count("\n")


def test_a_replica_says_that_it_lives_and_translates_its_own_sample(predictor):
    assert ask(predictor, PING) == (200, {})
    assert ask(predictor, SAMPLE)[1]["translation"] == dict(toy())[predictor.sample.text]


def test_tensors_of_texts_come_back_as_tensors(predictor):
    rows = toy()[:3]
    tensor = {"name": "text", "datatype": "BYTES", "shape": [3], "data": [source for source, _ in rows]}
    status, found = ask(predictor, TENSORS, {"inputs": [tensor]})
    outputs = {item["name"]: item for item in found["outputs"]}
    assert status == 200 and outputs["translation"]["data"] == [target for _, target in rows]
    assert outputs["score"]["datatype"] == "FP32" and all(0.8 < value <= 1 for value in outputs["score"]["data"])
    assert TASKS["translation"].load("questions").describe({}) == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]


@pytest.mark.django_db
def test_a_model_taken_home_translates_without_a_site(trained, member, tmp_path):
    home = download(member, Path(shutil.copytree(trained / "model", tmp_path / "translator")), "translation")
    (tmp_path / "asked.txt").write_text("".join(f"{source}\n" for source, _ in toy()[:3]))
    done = ask_at_home(home, str(tmp_path / "asked.txt"), "--check", missing=("PIL",))
    assert done.returncode == 0, done.stderr
    check, *told = done.stdout.splitlines()
    assert "as it did when it was made" in check
    assert [json.loads(line)["translation"] for line in told] == [target for _, target in toy()[:3]]
    readme = (home / "README.md").read_text()
    assert "onnxruntime tokenizers" in readme and "a translation of each" in readme
