"""Questions to a model that recommends, good and bad, as JSON."""

import json
from pathlib import Path

import pytest

from apps.deployments.requests import to_question
from apps.deployments.streaming import questions_of
from tests.recommending.making import RATED, TAKEN, events, ratings, train_here, write_data
from workers.arrays import read_arrays, write_arrays
from workers.contract import ProgramFailure
from workers.inference.answers import answer
from workers.inference.framing import JSON, RAW, TENSORS, Question
from workers.inference.predictor import Predictor, load_predictor
from workers.predicting.asking import ask as predict_file
from workers.predicting.kinds import missing_columns


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    data = write_data(tmp_path_factory.mktemp("rated"), RATED, ratings())
    return load_predictor(train_here(tmp_path_factory.mktemp("work"), data, model="factors") / "model", 1)


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    data = write_data(tmp_path_factory.mktemp("taken"), TAKEN, events())
    return load_predictor(train_here(tmp_path_factory.mktemp("work"), data, model="item_weights") / "model", 1)


def ask(predictor: Predictor, asked: object, top_k: int | None = None) -> tuple[int, dict]:
    (frame,) = answer(predictor, [Question(JSON, json.dumps(asked).encode(), top_k)])
    return frame.status, json.loads(frame.body)


def items_of(predictor: Predictor, **asked: object) -> list[str]:
    status, body = ask(predictor, asked)
    assert status == 200, body
    return [item["item"] for item in body["items"]]


def test_somebody_new_gets_more_of_their_taste(things):
    """Items 0 to 19 are those of the first group, and 60 to 62 everybody's."""
    found = items_of(things, items=["i0", "i3", "i5"], k=8)
    assert len({int(item[1:]) for item in found} & set(range(20))) >= 6
    assert not set(found) & {"i0", "i3", "i5"}


def test_a_user_never_gets_what_they_have_unless_they_ask_for_it(things):
    mine = {item for user, item, _day in events() if user == "u4"}
    rest = items_of(things, user="u4", k=1000)
    assert sorted([*rest, *mine]) == sorted({item for _user, item, _day in events()})
    everything = items_of(things, user="u4", k=1000, exclude_seen=False)
    assert set(everything) == set(rest) | mine and len(everything) == len(set(everything))
    assert [item for item in everything if item not in mine] == rest


def test_a_list_has_the_length_that_was_asked_for_and_is_in_order(things):
    status, body = ask(things, {"user": "u1"})
    assert len(body["items"]) == 10
    scores = [item["score"] for item in body["items"]]
    assert scores == sorted(scores, reverse=True)
    assert len(items_of(things, user="u1", k=3)) == 3
    assert len(ask(things, {"user": "u1"}, top_k=4)[1]["items"]) == 4


def test_a_user_may_be_a_number_and_several_are_answered_in_order(things):
    status, body = ask(things, {"users": ["u3", "u8", 12], "k": 2})
    assert status == 200 and [len(each["items"]) for each in body["predictions"]] == [2, 2, 2]
    assert [each["based_on"] for each in body["predictions"]] == ["history", "history", "popularity"]
    assert [item["item"] for item in body["predictions"][1]["items"]] == items_of(things, user="u8", k=2)


def test_many_users_come_line_by_line_and_one_that_is_none_harms_no_other(things):
    users = [f"u{number % 9}" for number in range(40)] + [""]
    parts = questions_of(Question(JSON, json.dumps({"users": users, "k": 2}).encode()))
    assert len(parts) == 2
    found = [each for part in parts for each in json.loads(answer(things, [part])[0].body)["predictions"]]
    assert [item["item"] for item in found[8]["items"]] == items_of(things, user="u8", k=2)
    assert len(found) == 41 and [number for number, each in enumerate(found) if "error" in each] == [40]


def test_rows_of_a_file_are_answered_for_their_users(things):
    rows = [{"user": "u3", "item": "i1", "time": ""}, {"user": "u8", "item": "i2", "time": ""}]
    assert predict_file(things, rows, 2) == ask(things, {"users": ["u3", "u8"], "k": 2})[1]["predictions"]
    assert missing_columns(things.meta, ["item", "time"]) == ["user"]


def test_who_is_not_known_gets_what_is_popular_and_unknown_items_are_named(things):
    status, body = ask(things, {"user": "nobody", "k": 3})
    assert body["based_on"] == "popularity" and {item["item"] for item in body["items"]} == {"i60", "i61", "i62"}
    status, body = ask(things, {"items": ["nothing", "i2"]})
    assert (body["based_on"], body["unknown_items"]) == ("items", ["nothing"])
    assert ask(things, {"items": ["nothing"]})[1]["based_on"] == "popularity"


def test_a_rating_is_expected_of_one_item_and_comes_near_the_truth(films):
    held_back = ratings(share=1.0)
    told = {(user, item): float(rating) for user, item, _title, rating, _when in held_back}
    known = {row[:2] for row in ratings()}
    errors, plain = [], []
    for user, item in sorted(told.keys() - known)[:150]:
        status, body = ask(films, {"user": user, "item": item})
        assert status == 200 and body["item"] == item and body["name"].startswith("Film") and body["rank"] >= 1
        errors.append(abs(body["rating"] - told[user, item]))
        plain.append(abs(3 - told[user, item]))
    assert sum(errors) < 0.5 * sum(plain)


def test_ratings_of_somebody_new_change_what_is_expected(films):
    loved, hated = (ask(films, {"items": {"m1": score, "m2": score}, "item": "m3"})[1] for score in (6.0, 0.5))
    assert loved["rating"] > hated["rating"]


@pytest.mark.parametrize(
    "rating", [float("nan"), float("inf"), 1e300, 10**400, True, "5", None], ids=lambda v: str(v)[:5]
)
def test_a_rating_that_is_no_number_to_reckon_with_is_refused(films, rating):
    found, body = ask(films, {"items": {"m1": rating}, "item": "m3"})
    assert (found, body["error"]["code"], body["error"]["field"]) == (400, "invalid_request", "items")


def test_lines_without_a_user_are_asked_nothing(films, tmp_path):
    (tmp_path / "users.csv").write_text("user_id,age\nu1,3\n,4\nu2,5\nu1,6\n")
    assert films.items_in(tmp_path / "users.csv") == [{"user": "u1"}, {"user": "u2"}]


@pytest.mark.parametrize(
    ("asked", "status", "code", "field"),
    [
        ({}, 400, "invalid_request", "user"),
        ({"user": ""}, 400, "invalid_request", "user"),
        ({"user": None}, 400, "invalid_request", "user"),
        ({"user": True}, 400, "invalid_request", "user"),
        ({"user": ["u1"]}, 400, "invalid_request", "user"),
        ({"items": []}, 400, "invalid_request", "items"),
        ({"items": "i1"}, 400, "invalid_request", "items"),
        ({"items": [1.5]}, 400, "invalid_request", "items"),
        ({"items": {"i1": 5}}, 400, "invalid_request", "items"),
        ({"user": "u1", "items": ["i1"]}, 400, "invalid_request", "items"),
        ({"users": []}, 400, "invalid_request", "users"),
        ({"users": ["u"] * 1001}, 413, "too_many_users", "users"),
        ({"items": ["i"] * 1001}, 413, "too_many_items", "items"),
        ({"rows": [{"user": "u1"}, {"item": "i1"}]}, 400, "invalid_request", "rows"),
        ({"user": "u1", "k": 0}, 422, "out_of_range", "k"),
        ({"user": "u1", "k": 1001}, 422, "out_of_range", "k"),
        ({"user": "u1", "k": "5"}, 422, "out_of_range", "k"),
        ({"user": "u1", "exclude_seen": 1}, 400, "invalid_request", "exclude_seen"),
        ({"user": "u1", "item": "none"}, 422, "unknown_item", "item"),
        ({"user": "u1", "itemz": "i1"}, 422, "unknown_field", "itemz"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(things, asked, status, code, field):
    found, body = ask(things, asked)
    assert (found, body["error"]["code"], body["error"]["field"]) == (status, code, field)


def test_plain_text_is_refused_in_words(things):
    assert to_question("recommendation", "application/x-www-form-urlencoded", b'{"user": "u1"}', None).content == JSON
    (frame,) = answer(things, [Question(RAW, b"u1")])
    assert frame.status == 415 and json.loads(frame.body)["error"]["code"] == "wrong_content_type"


def test_users_as_tensors_get_the_items_as_tensors(things):
    body = json.dumps({"inputs": [{"name": "user", "shape": [2], "datatype": "BYTES", "data": ["u1", "u2"]}]}).encode()
    (frame,) = answer(things, [Question(TENSORS, body, options={"json_bytes": None})])
    items, scores = json.loads(frame.body)["outputs"]
    assert (items["shape"], scores["shape"]) == ([2, 10], [2, 10])
    assert items["data"] == [*items_of(things, user="u1"), *items_of(things, user="u2")]
    assert scores["data"][0] >= scores["data"][9]


def test_files_that_do_not_belong_together_are_a_damaged_model(things, tmp_path):
    data = write_data(tmp_path / "data", TAKEN, events(users=30))
    folder: Path = train_here(tmp_path / "work", data, model="item_weights") / "model"
    arrays = read_arrays(folder / "model.safetensors")
    arrays["history.items"] = arrays["history.items"] + 100
    write_arrays(arrays, folder / "model.safetensors")
    with pytest.raises(ProgramFailure) as caught:
        load_predictor(folder, 1)
    assert caught.value.code == "damaged_model"
