"""A model learns to find answers: it is measured on questions it has not seen, beside words alone, and goes on where it
was stopped."""

import numpy as np
import pytest

from tests.answers.making import THINGS, library, make_spec, train_here, usual_splits, write_questions
from tests.training.here import read
from workers.arrays import read_arrays
from workers.contract import EventWriter, ProgramFailure, TrainSpec, read_spec
from workers.inference.predictor import load_predictor
from workers.training.retrieval.data import Judged, read_answered
from workers.training.retrieval.judging import figures_of, ranks_of
from workers.training.stopping import Stop, Stopped

pytestmark = pytest.mark.xdist_group("answers")  # one training for all


def test_held_out_questions_find_their_answers_and_stand_beside_words_alone(trained):
    result = read(trained / "result.json")
    test = result["metrics"]["test"]
    assert test["recall_at_1"] >= 0.9 and test["recall_at_10"] == 1.0 and 0.9 <= test["mrr"] <= 1.0
    assert result["judged"] == {"split": "test", "questions": 10, "answers": 12}
    assert set(result["baselines"]) == {"bm25", "tfidf"}
    assert all(set(figures) == {"recall_at_1", "recall_at_5", "recall_at_10", "mrr"}
               for figures in result["baselines"].values())  # fmt: skip
    assert {"answered", "refused_without_answer"} <= set(test)


def test_what_is_written_holds_the_answers_and_only_the_questions_of_training(trained):
    model = trained / "model"
    texts, meta = read(model / "answers.json"), read(model / "meta.json")
    assert set(texts["answers"]) == {answer for _question, answer in library()}
    held_out = {question for question, _answer in library()[20:40]}
    assert len(texts["questions"]) == 22 and not held_out & set(texts["questions"])
    assert meta["input"]["column"] == "question" and meta["target"] == "answer" and meta["runtime"] == "numpy"
    assert set(meta["input"]["examples"]) <= {question for question, _answer in library()[30:40]}
    assert {path.suffix for path in model.iterdir()} == {".safetensors", ".json"}


def test_the_encoder_learns_to_tell_answers_apart(trained):
    history = read(trained / "result.json")["history"]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["val_loss"] <= history[0]["val_loss"]


class StopLater(Stop):
    """Asks to stop when it was looked at so many times, which is before each step."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_the_same_seed_trains_the_same_model_also_where_it_was_interrupted(questions, trained, tmp_path):
    with pytest.raises(Stopped):
        train_here(tmp_path / "again", questions, stop=StopLater(4))
    output = train_here(tmp_path / "again", questions, resume=True)
    assert "Going on from step" in (tmp_path / "again" / "events.jsonl").read_text()
    once, again = (read_arrays(folder / "model" / "model.safetensors") for folder in (trained, output))
    assert set(once) == set(again)
    assert all(np.array_equal(once[name], again[name]) for name in once)


def test_rows_that_judge_with_a_question_that_is_trained_on_are_left_out(tmp_path):
    rows = [*library(), ("HOW do I take home books?", THINGS["borrow"][0])]
    splits = ["train"] * 20 + ["val"] * 10 + ["test"] * 12 + ["test"]
    data = write_questions(tmp_path, rows, splits)
    spec = read_spec(TrainSpec, make_spec(tmp_path / "work", data))
    answered = read_answered(spec, EventWriter(tmp_path / "events.jsonl"))
    assert "HOW do I take home books?" not in answered.judged("test").texts
    assert len(answered.judged("test")) == 12
    keys = {split: {answered.groups[row] for row in answered.splits[split]} for split in answered.splits}
    assert not keys["train"] & keys["val"] and not keys["train"] & keys["test"]


def test_a_question_with_several_answers_is_right_with_each_of_them():
    scores = np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.2]])
    judged = Judged(["a", "b"], [np.array([0, 2]), np.array([1])])
    assert ranks_of(scores, judged.truths).tolist() == [2, 2]  # of equal scores the right one comes last
    assert figures_of(np.array([1, 2, 20])) == pytest.approx(
        {"recall_at_1": 1 / 3, "recall_at_5": 2 / 3, "recall_at_10": 2 / 3, "mrr": (1 + 0.5 + 0.05) / 3}
    )


@pytest.mark.parametrize(
    ("rows", "settings", "code"),
    [
        ([(f"question {n}", "always the same") for n in range(10)], {}, "one_answer"),
        (library(), {"question_column": "answer"}, "no_questions"),
        (library(), {"question_column": "ask"}, "unknown_column"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_in_a_sentence(tmp_path, rows, settings, code):
    data = write_questions(tmp_path / "data", rows, ["train", "val"] * (len(rows) // 2))
    with pytest.raises(ProgramFailure) as refused:
        train_here(tmp_path / "work", data, **settings)
    assert refused.value.code == code and refused.value.message.endswith(".") and refused.value.hint


def test_a_question_that_was_taught_twice_in_other_marks_is_as_certain(tmp_path):
    answer = THINGS["renew"][0]
    rows = [*library(), ("prolong it, please", answer), ("__ prolong it, please", answer)]
    splits = [*usual_splits(), "train", "train"]
    output = train_here(tmp_path / "work", write_questions(tmp_path / "data", rows, splits), epochs=1)
    (found,) = load_predictor(output / "model", threads=1).predict(["Prolong it please"])
    assert (found.confidence, found.knows) == (1.0, True)
