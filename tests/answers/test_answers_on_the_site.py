"""Finding answers on the site: the launch form proposes both columns, results stand beside words alone, the demo
answers, and so does a chat."""

import csv
import json
from collections import Counter
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse

from apps.core.errors import Unprocessable
from apps.deployments.models import Deployment
from apps.deployments.pages import check_page, reply_to
from apps.jobs.models import Job
from apps.jobs.results import read as read_results
from apps.recipes.catalogue import find_recipe
from leptonai.model import Model
from leptonai.records import Record
from tests.answers.making import THINGS, library
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.processes import serve
from tests.jobs.making import make_version
from tests.people import Person
from tests.training.here import read
from workers.contract import ANSWER_RETRIEVAL, EventWriter, PredictSpec
from workers.predicting.program import predict
from workers.training.hyperparameters import preset_values
from workers.training.stopping import Stop

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("answers")]

HTMX = {"HX-Request": "true", "HX-Target": "result"}
SIDE = {"median_characters": 30, "longest_characters": 90, "scripts": [["Latin", 1.0]]}
PRINT = "where is the printer to print a page"


@pytest.fixture
def questions_of(team):
    report = {
        "columns": [
            {"name": "question", "type": "text", "unique": 400},
            {"name": "answer", "type": "categorical", "unique": 40},
            {"name": "topic", "type": "text", "unique": 90},
        ],
        "splits": {"train": 320, "val": 40, "test": 40},
        "pair": {"source": SIDE | {"column": "question"}, "target": SIDE | {"column": "answer"}, "answers": 40},
        "task": ANSWER_RETRIEVAL,
        "preview": [["Where is it?", "There.", "place"]],
    }
    return make_version(
        team, "Questions", kind="table", task=ANSWER_RETRIEVAL, target="answer", report=report, item_count=400
    )


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory, trained) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("replica"), lambda folder: trained / "model")


@pytest.fixture
def librarian(owner: Person, trained, socket_path) -> Deployment:
    return served(owner, store_model(owner, trained / "model", "librarian"), socket_path, "librarian")


def url(deployment: Deployment) -> str:
    return reverse("deployments:demo", args=[deployment.team.slug, deployment.name])


def test_the_form_proposes_the_task_and_both_columns(member, questions_of):
    response = member.page.get("/jobs/new/", {"dataset_version": questions_of.pk})
    form, page = response.context["form"], response.content.decode()
    assert (form.task_name, form.target_column, form.text_column_name) == (ANSWER_RETRIEVAL, "answer", "question")
    assert "Automatic: question" in page and "320 questions" in page
    values = {name: form[name].value() for name in form.fields} | {"dataset_version": questions_of.pk}
    assert member.page.post("/jobs/new/", values).status_code == 302
    job = Job.objects.get()
    assert (job.task, job.target) == (ANSWER_RETRIEVAL, "answer")
    assert job.hyperparameters == preset_values(ANSWER_RETRIEVAL, "balanced") | {"question_column": "question"}


@pytest.mark.parametrize(("column", "code"), [("ask", "unknown_question_column"), ("answer", "no_question_column")])
def test_a_column_that_cannot_be_read_is_refused_beside_its_field(member, questions_of, column, code):
    body = {"kind": "train", "dataset": "Questions", "hyperparameters": {"question_column": column}}
    response = member.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    assert (response.status_code, response.json()["error"]["code"]) == (422, code)


def test_the_page_of_the_data_shows_questions_and_answers(member, questions_of):
    page = member.page.get(reverse("datasets:detail", args=[questions_of.dataset_id])).content.decode()
    assert "Column of questions" in page and "Column of answers" in page and "Translated" not in page
    assert "Questions that are alike stay in one part" in page


def test_the_results_stand_beside_words_alone(member, questions_of, trained):
    body = {"kind": "train", "dataset": "Questions"}
    member.api.post("/api/v1/jobs/", json.dumps(body), content_type="application/json")
    result = read(trained / "result.json")
    Job.objects.update(status=Job.Status.SUCCEEDED, result=result)
    page = member.page.get(reverse("jobs:detail", args=[Job.objects.get().pk])).content.decode()
    assert "10 held-out questions, 12 answers" in page and "Words alone (BM25)" in page and "Recall@5" in page
    shown = read_results(result, {}).retrieval
    assert [row.is_model for row in shown.rows] == [True, False, False] and not shown.is_beaten
    worse = result | {"baselines": result["baselines"] | {"bm25": result["baselines"]["bm25"] | {"recall_at_1": 1.1}}}
    assert read_results(worse, {}).retrieval.is_beaten


def test_the_demo_shows_the_answer_and_says_when_it_does_not_know(owner, librarian):
    page = owner.page.get(url(librarian)).content.decode()
    assert "Ask a question" in page and "only your team sees them" in page
    part = owner.page.post(url(librarian), {"text": PRINT}, headers=HTMX).content.decode()
    assert f'class="demo-reply" dir="auto">{THINGS["printing"][0]}</p>' in part and "Other answers" in part
    part = owner.page.post(url(librarian), {"text": "xyzzy"}, headers=HTMX).content.decode()
    assert "I do not know." in part and "What comes closest" in part
    Deployment.objects.update(is_public=True)
    stranger = Client().get(url(librarian)).content.decode()
    assert "Ask a question" in stranger and "only your team sees them" not in stranger


def test_a_stranger_sees_the_answers_and_not_what_others_have_asked(owner, librarian):
    Deployment.objects.update(is_public=True)
    shown = [each.post(url(librarian), {"text": PRINT}).content.decode() for each in (owner.page, Client())]
    assert ["known question:" in page for page in shown] == [True, False]
    assert all(THINGS["printing"][0] in page for page in shown)


def test_a_chat_answers_with_what_was_found(owner, librarian):
    Deployment.objects.update(page="chat", page_settings={"unknown": "Ask at the desk.", "greeting": "Hello"})
    turn = owner.page.post(url(librarian), {"text": PRINT}, headers={"HX-Request": "true"}).content.decode()
    assert THINGS["printing"][0] in turn and "is-unsure" not in turn and "found-answers" in turn
    turn = owner.page.post(url(librarian), {"text": "xyzzy"}, headers={"HX-Request": "true"}).content.decode()
    assert "Ask at the desk." in turn and "is-unsure" in turn


def test_a_chat_may_set_a_bound_of_its_own():
    outcome = {"answers": [{"answer": "Here."}], "confidence": 0.4, "knows": True}
    assert reply_to({}, outcome) == {"text": "Here.", "is_known": True}
    assert not reply_to({"unsure_below": 0.5}, outcome)["is_known"]
    assert reply_to({"unsure_below": 0.3}, outcome | {"knows": False})["is_known"]
    check_page(ANSWER_RETRIEVAL, "chat", {"greeting": "Hello"})
    with pytest.raises(Unprocessable):
        check_page("translation", "chat", {})


def test_a_whole_file_of_questions_is_answered_and_judged_where_the_answers_are_known(trained, tmp_path):
    rows = [(question, answer) for question, answer in library()[30:36]] + [("xyzzy", "")]
    path = tmp_path / "asked.jsonl"
    path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows), encoding="utf-8")
    spec = PredictSpec(str(tmp_path / "work"), str(trained / "model"), str(path), "asked.jsonl")
    summary = predict(spec, EventWriter(tmp_path / "events.jsonl"), Stop())
    assert summary["rows"] == 7 and summary["metrics"]["recall_at_1"] == 1.0
    lines = (tmp_path / "work" / "output" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines]
    assert told[-1]["prediction"] == "" and told[-1]["probability"] < 0.5
    assert all(line["prediction"] in ("", answer) for line, (_q, answer) in zip(told, rows, strict=True))


def test_the_recipe_of_frequent_questions_has_several_questions_for_each_answer():
    recipe = find_recipe("frequent-questions")
    with open(recipe.folder / recipe.file, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    questions = Counter(row["answer"] for row in rows)
    assert (recipe.task, recipe.page) == (ANSWER_RETRIEVAL, "chat") and min(questions.values()) >= 5
    assert len({row["question"].casefold() for row in rows}) == len(rows)
    assert f"{len(rows)} questions" in recipe.source and f"{len(questions)} answers" in recipe.source


def test_a_program_asks_and_reads_the_answers_by_name():
    """The SDK answers with what the replica said, whose fields are also attributes."""
    said = {"answers": [{"answer": "Here.", "score": 0.9, "question": ""}], "confidence": 0.8, "knows": True}
    facts = {"task": ANSWER_RETRIEVAL, "input": {"kind": "text", "column": "question"}}

    class Http:
        def request(self, verb, path, **sent):
            assert (verb, path, sent["json"]) == ("POST", "/v1/models/librarian/predict", {"text": PRINT})
            return Record(said)

    found = Model(Http(), "librarian", Record(facts)).predict(PRINT)
    assert found.knows and found.answers[0]["answer"] == "Here." and found.confidence == 0.8
