"""JSON that is no use to anybody is refused with a sentence, wherever it stands."""

import json

import pytest

from tests.people import Person

TEXTS = ["a\0b", "\ud800"]


def post(person: Person, path: str, body: bytes):
    return person.api.post(path, body, content_type="application/json")


def refused(response) -> str:
    assert response.status_code == 400
    return response.json()["error"]["code"]


@pytest.mark.parametrize("text", TEXTS, ids=["NUL", "half a character"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/jobs/", {"kind": "train", "dataset": "?"}),
        ("/api/v1/jobs/", {"kind": "train", "dataset": 1, "hyperparameters": {"?": [{"a": "?"}]}}),
        ("/api/v1/deployments/", {"model": "?"}),
        ("/api/v1/datasets/", {"name": "?", "uploads": []}),
    ],
)
def test_a_text_that_the_database_cannot_hold_is_refused(member, path, body, text):
    assert refused(post(member, path, json.dumps(body).replace('"?"', json.dumps(text)).encode())) == "parse_error"


def test_json_that_is_nested_without_end_is_refused(member):
    assert refused(post(member, "/api/v1/jobs/", b"[" * 100_000)) == "parse_error"


def test_a_whole_emoji_is_a_name(member):
    response = post(member, "/api/v1/uploads/", json.dumps({"name": "\U0001f426.csv", "size_bytes": 3}).encode())
    assert response.status_code == 201


def test_what_is_wrong_inside_a_list_is_said_in_words(member):
    response = post(member, "/api/v1/datasets/", b'{"name": "a", "uploads": [{"id": "x"}, {"split": "train"}]}')
    error = response.json()["error"]
    assert response.status_code == 422
    assert "ErrorDetail" not in response.content.decode()
    assert "Must be a valid UUID." in error["message"] and "This field is required." in error["message"]
