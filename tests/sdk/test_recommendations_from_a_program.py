"""A program asks a model that recommends by name; what goes over the wire is what the documentation says."""

import json

import httpx
import pytest

from leptonai.model import Model
from leptonai.records import Record
from leptonai.transport import Http

ANSWER = {"items": [{"item": "a", "name": "A", "score": 1.0}], "based_on": "history"}


def model_of(kind: str, sent: list) -> Model:
    def respond(request: httpx.Request) -> httpx.Response:
        sent.append((request.url.path, json.loads(request.content)))
        return httpx.Response(200, json=ANSWER)

    http = Http("http://site", "lp_key", 5, httpx.MockTransport(respond))
    return Model(http, "films", Record({"task": "recommendation", "input": Record({"kind": kind}), "classes": []}))


def test_a_user_or_some_items_are_named_and_a_dict_says_the_same():
    sent: list = []
    model = model_of("user", sent)
    assert model.predict(user="42", k=10) == ANSWER
    model.predict(items=["a", "b"])
    model.predict({"user": 42}, item="a")
    assert {path for path, _body in sent} == {"/v1/models/films/predict"}
    assert [body for _path, body in sent] == [
        {"user": "42", "k": 10},
        {"items": ["a", "b"]},
        {"user": 42, "item": "a"},
    ]


def test_other_models_take_no_such_names():
    with pytest.raises(TypeError, match="takes no user="):
        model_of("text", []).predict("a text", user="42")
