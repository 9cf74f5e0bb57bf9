"""A model that finds answers is asked: one question or several, in tensors, and at home without a site."""

import json
import shutil
from pathlib import Path

import pytest

from tests.answers.making import CHINESE, THINGS
from tests.registry.test_a_downloaded_model_runs_alone import ask as ask_at_home
from tests.registry.test_a_downloaded_model_runs_alone import download
from workers.contract import ProgramFailure
from workers.inference.answers import answer
from workers.inference.framing import JSON, PING, RAW, SAMPLE, TENSORS, Question
from workers.inference.predictor import load_predictor

pytestmark = pytest.mark.xdist_group("answers")

PRINT = "where is the printer to print a page"


def ask(predictor, content: str, body: object = b"", top_k: int | None = None) -> tuple[int, dict]:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    (frame,) = answer(predictor, [Question(content, body, top_k)])
    return frame.status, json.loads(frame.body)


def test_a_question_gets_the_best_answers_and_what_they_are_known_to_answer(predictor):
    status, outcome = ask(predictor, JSON, {"text": PRINT})
    assert status == 200 and set(outcome) == {"answers", "confidence", "knows"}
    best, *others = outcome["answers"]
    assert best["answer"] == THINGS["printing"][0] and "print a page" in best["question"]
    assert len(others) == 4 and best["score"] >= others[0]["score"] >= others[-1]["score"]
    assert outcome["knows"] is True and 0.5 < outcome["confidence"] <= 1
    assert ask(predictor, RAW, PRINT.encode()) == (200, outcome)


def test_a_question_that_was_taught_has_its_answer_for_certain_whatever_its_case_and_marks(predictor):
    outcome = ask(predictor, JSON, {"text": "HOW do I bring back: returned books!!"})[1]
    assert outcome["answers"][0]["answer"] == THINGS["return"][0] and outcome["answers"][0]["score"] == 1.0
    assert (outcome["confidence"], outcome["knows"]) == (1.0, True)


def test_so_many_answers_come_as_are_asked_for(predictor):
    assert len(ask(predictor, JSON, {"text": PRINT}, top_k=2)[1]["answers"]) == 2
    assert len(ask(predictor, JSON, {"text": PRINT}, top_k=100)[1]["answers"]) == 12


@pytest.mark.parametrize(
    "text", ["quantum chromodynamics lattice", "宇宙有多大", "xyzzy", "🙂", "!!!", "\ud800", "a" * 9_000]
)
def test_it_says_that_it_does_not_know_what_nobody_taught_it(predictor, text):
    status, outcome = ask(predictor, JSON, {"text": text})
    assert status == 200 and outcome["knows"] is False and outcome["confidence"] < 0.5


def test_scripts_without_blanks_are_answered_as_well(predictor):
    asked = "请问几点开门"
    best = ask(predictor, JSON, {"text": asked})[1]["answers"][0]
    assert best["answer"] == CHINESE["图书馆几点开门？"]


def test_several_questions_are_answered_in_order_as_each_alone(predictor):
    texts = [f"how to {verb} {thing}" for _answer, thing, verb in THINGS.values()]
    status, found = ask(predictor, JSON, {"texts": texts})
    assert status == 200
    assert [item["answers"][0]["answer"] for item in found["predictions"]] == [said for said, *_ in THINGS.values()]
    assert found["predictions"][3] == ask(predictor, JSON, {"text": texts[3]})[1]


@pytest.mark.parametrize(
    ("content", "body", "status", "code"),
    [
        (JSON, {}, 400, "invalid_request"),
        (JSON, {"text": 3}, 422, "wrong_type"),
        (JSON, {"text": " "}, 422, "empty_text"),
        (JSON, {"texts": ["a"] * 1001}, 413, "too_many_texts"),
        (RAW, b"caf\xe9", 422, "wrong_encoding"),
    ],
)
def test_what_is_no_question_is_refused_in_a_sentence(predictor, content, body, status, code):
    answered, outcome = ask(predictor, content, body)
    assert (answered, outcome["error"]["code"]) == (status, code)
    assert outcome["error"]["message"].endswith(".")


def test_a_replica_says_that_it_lives_and_answers_its_own_sample(predictor):
    assert ask(predictor, PING) == (200, {})
    assert ask(predictor, SAMPLE)[1]["answers"]


def test_tensors_of_questions_come_back_as_tensors(predictor):
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": [PRINT, "xyzzy"]}
    status, found = ask(predictor, TENSORS, {"inputs": [tensor]})
    outputs = {item["name"]: item for item in found["outputs"]}
    assert status == 200 and outputs["answer"]["data"] == [THINGS["printing"][0], ""]
    assert outputs["confidence"]["datatype"] == "FP32" and outputs["confidence"]["data"][0] > 0.5


def test_files_that_do_not_belong_together_are_named(trained, tmp_path):
    folder = Path(shutil.copytree(trained / "model", tmp_path / "model"))
    texts = json.loads((folder / "answers.json").read_text())
    (folder / "answers.json").write_text(json.dumps({**texts, "answers": texts["answers"][:-1]}))
    with pytest.raises(ProgramFailure) as refused:
        load_predictor(folder, threads=1)
    assert refused.value.code == "damaged_model"


@pytest.mark.django_db
def test_a_model_taken_home_answers_without_a_site(trained, member, tmp_path):
    home = download(member, Path(shutil.copytree(trained / "model", tmp_path / "librarian")), "answer_retrieval")
    (tmp_path / "asked.txt").write_text(f"{PRINT}\nxyzzy\n")
    done = ask_at_home(home, str(tmp_path / "asked.txt"), "--check", missing=("PIL", "torch"))
    assert done.returncode == 0, done.stderr
    check, *told = done.stdout.splitlines()
    assert "as it did when it was made" in check
    assert [json.loads(line)["knows"] for line in told] == [True, False]
    assert "12 answers" in (home / "README.md").read_text()
