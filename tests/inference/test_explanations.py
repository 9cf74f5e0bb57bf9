"""Where an answer comes from: parts of a picture, columns of a row, words of a text."""

import base64
import json
from io import BytesIO
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.inference.models import image_model, png, table_model, text_model
from workers.contract import ProgramFailure
from workers.inference import explaining
from workers.inference.answers import explain
from workers.inference.explaining import Asking, images, tables, texts
from workers.inference.framing import JSON, RAW, SAMPLE, Question
from workers.inference.predictor import load_predictor


def explained(folder, content: str, body=b"") -> dict:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    frame = explain(load_predictor(folder, 1), Question(content, body).explained())
    assert frame.status == 200, frame.body
    return json.loads(frame.body)


# Rows


def additive(weights: dict[str, float]) -> Asking:
    return Asking(lambda rows: np.array([sum(weights[name] * row[name] for name in weights) for row in rows]), None)


def rows_of(count: int) -> tuple[dict, dict, list[str]]:
    names = [f"c{number}" for number in range(count)]
    return {name: 1.0 for name in names}, {name: 0.0 for name in names}, names


@st.composite
def games(draw) -> tuple[int, dict[frozenset, float]]:
    """Any function of which columns have their own value, by table."""
    count = draw(st.integers(1, 5))
    subsets = [frozenset(n for n in range(count) if mask >> n & 1) for mask in range(2**count)]
    values = draw(st.lists(st.floats(-100, 100), min_size=len(subsets), max_size=len(subsets)))
    return count, dict(zip(subsets, values, strict=True))


def playing(game: dict[frozenset, float], names: list[str]) -> Asking:
    def predict(rows):
        return np.array([game[frozenset(n for n, name in enumerate(names) if row[name] == 1.0)] for row in rows])

    return Asking(predict, None)


@pytest.mark.parametrize("exact", [8, 0], ids=["all sets", "drawn orders"])
@settings(max_examples=30)
@given(game=games())
def test_contributions_add_up_to_the_difference_from_the_usual_row(exact, game):
    count, worth = game
    item, usual, names = rows_of(count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "EXACT", exact)
        values, baseline, output = tables.shapley(item, usual, names, playing(worth, names))
    assert baseline == worth[frozenset()] and output == worth[frozenset(range(count))]
    assert sum(values) == pytest.approx(output - baseline, abs=1e-9)


@settings(max_examples=20)
@given(game=games())
def test_they_are_the_mean_over_all_orders_in_which_columns_may_come(game):
    count, worth = game
    item, usual, names = rows_of(count)
    values, _baseline, _output = tables.shapley(item, usual, names, playing(worth, names))
    orders = list(permutations(range(count)))
    expected = np.zeros(count)
    for order in orders:
        for place, column in enumerate(order):
            before = frozenset(order[:place])
            expected[column] += (worth[before | {column}] - worth[before]) / len(orders)
    assert values == pytest.approx(expected.tolist(), abs=1e-9)


def test_where_many_columns_add_up_each_gets_its_own_part():
    item, usual, names = rows_of(40)
    weights = {name: float(number) for number, name in enumerate(names)}
    asking = additive(weights)
    values, _baseline, _output = tables.shapley(item, usual, names, asking)
    assert values == pytest.approx(list(weights.values()))
    assert asking.asked <= tables.MOST_ROWS + 2


def test_the_same_row_is_explained_alike_each_time():
    item, usual, names = rows_of(12)

    def game(rows):
        return np.array([np.prod([1 + row[name] * number for number, name in enumerate(names)]) for row in rows])

    first, second = (tables.shapley(item, usual, names, Asking(game, None)) for _ in range(2))
    assert first == second


def test_a_row_says_which_column_made_the_answer(tmp_path):
    found = explained(table_model(tmp_path), JSON, {"row": {"age": 58, "city": "Rome"}})
    age, city = found["explanation"]["contributions"]
    assert found["class"] == "old" and found["explanation"]["method"] == "shapley"
    assert (age["column"], age["value"], age["usual"]) == ("age", 58, 40.0)
    assert city["contribution"] == 0.0
    total = sum(each["contribution"] for each in found["explanation"]["contributions"])
    assert total == pytest.approx(found["explanation"]["output"] - found["explanation"]["baseline"])
    assert found["probability"] == pytest.approx(found["explanation"]["output"], abs=1e-6)


def test_a_number_is_explained_as_well(tmp_path):
    found = explained(table_model(tmp_path, "tabular_regression"), JSON, {"row": {"age": 58, "city": "Rome"}})
    assert found["value"] == found["explanation"]["output"] == 1.0
    assert found["explanation"]["contributions"][0]["contribution"] == 2.0, "the usual age is 40, which is young"


# Pictures


def test_the_place_that_the_answer_hangs_on_is_found():
    image = np.full((24, 24, 1), 100, dtype=np.uint8)
    image[4:8, 14:18] = 250
    asking = Asking(lambda some: np.array([batch[4:8, 14:18].mean() / 255 for batch in some]), None)
    weights = images.occlusion(image, asking)
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    assert weights.shape == (12, 12) and (row in (2, 3)) and (column in (7, 8))
    assert abs(weights[8:, :5]).max() == 0.0, "what no patch changes has no weight"
    assert asking.asked == 101


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 3), (13, 40, 3)])
def test_pictures_of_any_shape_have_a_weight_for_each_cell(shape):
    asking = Asking(lambda some: np.zeros(len(some)), None)
    weights = images.occlusion(np.zeros(shape, dtype=np.uint8), asking)
    assert weights.shape == (min(12, shape[0]), min(12, shape[1])) and np.isfinite(weights).all()


def test_a_picture_comes_back_with_its_weights_in_its_own_shape(tmp_path):
    file = BytesIO()
    Image.new("L", (60, 30), 200).save(file, "PNG")
    found = explained(image_model(tmp_path), RAW, file.getvalue())
    overlay = Image.open(BytesIO(base64.b64decode(found["explanation"]["overlay"])))
    assert overlay.format == "PNG" and overlay.size == (360, 180)
    assert found["class"] == "bright" and np.shape(found["explanation"]["grid"]) == (8, 8)


# Texts


def test_a_text_says_which_word_made_the_answer(tmp_path):
    text = "what a good lamp, bad only\n in price"
    found = explained(text_model(tmp_path), JSON, {"text": f"{text} good good"})
    tokens = found["explanation"]["tokens"]
    assert "".join(token["text"] for token in tokens) == f"{text} good good"
    found = explained(text_model(tmp_path), JSON, {"text": "a good lamp"})
    weights = {
        token["text"]: token["weight"] for token in found["explanation"]["tokens"] if token["weight"] is not None
    }
    assert list(weights) == ["a", "good", "lamp"] and max(weights, key=weights.get) == "good" and weights["good"] > 0.1


@given(st.text(max_size=60))
def test_the_pieces_are_the_text(text):
    spans = texts.parts_of(text)
    pieces = texts.pieces(text, spans, [0.0] * len(spans))
    assert "".join(piece["text"] for piece in pieces) == text


def test_a_long_text_is_taken_in_runs():
    assert len(texts.parts_of("word " * 10_000)) <= texts.MOST_PARTS


# All


@pytest.mark.parametrize("make", [image_model, table_model, text_model])
def test_every_model_explains_its_own_sample(tmp_path, make):
    assert explained(make(tmp_path), SAMPLE)["explanation"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"rows": [{"age": 1, "city": "a"}, {"age": 2, "city": "b"}]}, "one_at_a_time"),
        ({"row": {"age": "x", "city": "a"}}, "wrong_type"),
        ({}, "invalid_request"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence(tmp_path, body, code):
    frame = explain(load_predictor(table_model(tmp_path), 1), Question(JSON, json.dumps(body).encode()))
    assert frame.status in (400, 422) and json.loads(frame.body)["error"]["code"] == code


def test_a_model_that_is_too_slow_is_given_up():
    moments = iter(range(0, 1000, 8))
    asking = Asking(lambda some: np.zeros(len(some)), None, clock=lambda: float(next(moments)))
    with pytest.raises(ProgramFailure) as caught:
        images.occlusion(np.zeros((64, 64, 3), dtype=np.uint8), asking)
    assert caught.value.code == "explanation_too_slow" and asking.asked <= 3 * explaining.ITEMS_AT_ONCE


def test_a_picture_that_is_none_is_refused(tmp_path):
    frame = explain(load_predictor(image_model(tmp_path), 1), Question(RAW, b"no picture"))
    assert frame.status == 422 and json.loads(frame.body)["error"]["code"] == "undecodable_image"
    assert explain(load_predictor(image_model(tmp_path), 1), Question(RAW, png())).status == 200
