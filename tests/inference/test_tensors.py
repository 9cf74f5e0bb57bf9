"""Tensors of the Open Inference Protocol, as JSON and as bytes, and what is wrong with them."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inference.models import SIDE, image_model, png, table_model
from workers.contract import ProgramFailure
from workers.inference.framing import TENSORS, Question
from workers.inference.predictor import load_predictor
from workers.inference.tensor_answers import answer_tensors
from workers.inference.tensors import NUMBERS, Tensor, numbers, read_request, texts, write_answer


def read(inputs: list[dict], binary: bytes = b"", **more):
    text = json.dumps({"inputs": inputs, **more}).encode()
    return read_request(text + binary, len(text))


def refused(inputs: list[dict], binary: bytes = b"") -> str:
    with pytest.raises(ProgramFailure) as failure:
        read(inputs, binary)
    assert failure.value.message.endswith((".", ")"))
    return failure.value.message


arrays = st.sampled_from(sorted(NUMBERS)).flatmap(
    lambda datatype: st.lists(st.integers(0, 100), min_size=1, max_size=20).map(
        lambda values: numbers("x", datatype, np.array(values))
    )
)
words = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=10).map(
    lambda values: texts("x", values)
)


@given(st.one_of(arrays, words), st.booleans())
def test_what_is_written_is_read_back_alike(tensor: Tensor, is_binary: bool):
    """As JSON and as bytes."""
    asked = read([], parameters={"binary_data_output": is_binary})
    body, json_bytes = write_answer(asked, [tensor], {})
    end = len(body) if json_bytes is None else json_bytes
    told = json.loads(body[:end])["outputs"]
    found = read(told, body[end:]).inputs["x"]
    assert (json_bytes is not None) == is_binary
    assert found.array.tolist() == tensor.array.tolist()
    assert found.datatype == tensor.datatype


@given(st.binary(max_size=200), st.integers(0, 250))
def test_no_bytes_do_anything_but_be_read_or_refused(body, json_bytes):
    with pytest.raises(ProgramFailure):
        read_request(body, json_bytes)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "shape", "data"]), inner),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {"name": json_values, "datatype": st.sampled_from(["FP32", "BYTES", "BOOL", "INT8", None, 3])},
        optional={"shape": json_values, "data": json_values, "parameters": json_values},
    ),
    st.binary(max_size=12),
)
def test_no_input_does_anything_but_be_read_or_refused(entry, binary):
    try:
        read([entry], binary)
    except ProgramFailure as failure:
        assert failure.message


def test_nested_and_flat_data_are_the_same():
    nested = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2], [3, 4.5]]}
    flat = nested | {"data": [1, 2, 3, 4.5]}
    assert read([nested]).inputs["x"].array.tolist() == read([flat]).inputs["x"].array.tolist() == [[1, 2], [3, 4.5]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": [3]}, "holds 3"),
        ({"shape": [-1]}, "no list of 1 to 8 whole numbers"),
        ({"shape": [2.0]}, "no list of 1 to 8 whole numbers"),
        ({"shape": [True, 2]}, "no list of 1 to 8 whole numbers"),
        ({"datatype": "FP8"}, "known are BOOL, UINT8"),
        ({"data": [1, "2"]}, "must be whole numbers"),
        ({"data": [1, 2.5]}, "must be whole numbers"),
        ({"data": [1, True]}, "must be whole numbers"),
        ({"data": [1, None], "datatype": "FP32"}, "must be numbers"),
        ({"data": [1, True], "datatype": "BOOL"}, "must be true or false"),
        ({"data": [1, 300]}, "does not fit into UINT8"),
        ({"data": None}, 'no list under "data"'),
        ({"name": 7}, 'a text under "name"'),
    ],
)
def test_what_is_wrong_with_an_input_is_said(change, said):
    assert said in refused([{"name": "x", "datatype": "UINT8", "shape": [2], "data": [1, 2]} | change])


def sized(name: str, datatype: str, size, shape) -> dict:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}


@pytest.mark.parametrize(
    ("entry", "binary", "said"),
    [
        (sized("x", "FP32", 8, [2]), b"1234", "8 bytes, and 4 are left"),
        (sized("x", "FP32", 4, [1]), b"12345678", "4 bytes of the body belong to no input"),
        (sized("x", "FP32", 6, [1]), b"123456", "no whole number of FP32"),
        (sized("x", "FP32", -4, [1]), b"1234", "-4 bytes"),
        (sized("x", "BYTES", 6, [1]), struct.pack("<I", 9) + b"ab", "9 bytes long, and 2 are left"),
        (sized("x", "BYTES", 2, [1]), b"ab", "in the middle of a length"),
        (sized("x", "BYTES", 4, [2]), struct.pack("<I", 0), "has 1 elements"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(entry, binary, said):
    assert said in refused([entry], binary)


def test_two_inputs_of_one_name_are_refused():
    entry = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    assert "there twice" in refused([entry, entry])


def ask(predictor, inputs: list[dict], **more) -> list[dict]:
    body = json.dumps({"inputs": inputs, **more}).encode()
    return json.loads(answer_tensors(predictor, Question(TENSORS, body)).body)["outputs"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return load_predictor(image_model(tmp_path_factory.mktemp("pictures")), 1)


@pytest.fixture(scope="module")
def ages(tmp_path_factory):
    return load_predictor(table_model(tmp_path_factory.mktemp("ages")), 1)


def test_pixels_are_classified(pictures):
    pixels = np.concatenate([np.zeros((1, SIDE, SIDE, 1)), np.full((1, SIDE, SIDE, 1), 255)]).astype(int)
    entry = {"name": "image", "datatype": "UINT8", "shape": [2, SIDE, SIDE, 1], "data": pixels.tolist()}
    probabilities, classes = ask(pictures, [entry])
    assert (probabilities["name"], probabilities["datatype"], probabilities["shape"]) == (
        "probabilities", "FP32", [2, 2],
    )  # fmt: skip
    assert np.reshape(probabilities["data"], (2, 2)).sum(axis=1) == pytest.approx([1, 1])
    assert classes == {"name": "class", "datatype": "BYTES", "shape": [2], "data": ["dark", "bright"]}


@pytest.mark.parametrize(("shape", "datatype"), [([1, 4, 4, 1], "UINT8"), ([SIDE, SIDE, 1], "UINT8"), ([16], "FP32")])
def test_pixels_of_another_size_are_told_which_is_right(pictures, shape, datatype):
    entry = {"name": "image", "datatype": datatype, "shape": shape, "data": [0] * int(np.prod(shape))}
    with pytest.raises(ProgramFailure, match=r"takes UINT8 \[N, 8, 8, 1\], or BYTES"):
        ask(pictures, [entry])


def test_columns_are_classified_row_by_row(ages):
    age = {"name": "age", "datatype": "FP64", "shape": [3, 1], "data": [55, 20, 41]}
    city = {"name": "city", "datatype": "BYTES", "shape": [3], "data": ["Oslo", "", "Rome"]}
    asked = ask(ages, [age, city], outputs=[{"name": "class"}])
    assert [output["data"] for output in asked] == [["old", "young", "old"]]


def test_columns_of_different_lengths_are_refused(ages):
    age = {"name": "age", "datatype": "FP64", "shape": [2], "data": [55, 20]}
    city = {"name": "city", "datatype": "BYTES", "shape": [1], "data": ["Oslo"]}
    with pytest.raises(ProgramFailure, match="same number of rows"):
        ask(ages, [age, city])


def test_a_regression_answers_values(tmp_path):
    predictor = load_predictor(table_model(tmp_path, "tabular_regression"), 1)
    age = {"name": "age", "datatype": "INT64", "shape": [2], "data": [55, 20]}
    city = {"name": "city", "datatype": "BYTES", "shape": [2], "data": ["Oslo", "Rome"]}
    assert ask(predictor, [age, city]) == [{"name": "value", "datatype": "FP64", "shape": [2], "data": [1.0, -1.0]}]


def test_an_output_that_there_is_not_is_refused_with_those_there_are(pictures):
    entry = {"name": "image", "datatype": "BYTES", "shape": [0], "data": []}
    with pytest.raises(ProgramFailure, match="between 1 and 256"):
        ask(pictures, [entry])
    pixels = {"name": "i", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 1], "data": [0] * SIDE * SIDE}
    with pytest.raises(ProgramFailure, match='no output "logits"'):
        ask(pictures, [pixels], outputs=[{"name": "logits"}])


def test_a_picture_file_is_taken_as_bytes(pictures):
    data = struct.pack("<I", len(png(0))) + png(0)
    text = json.dumps({"inputs": [sized("image", "BYTES", len(data), [1])]}).encode()
    frame = answer_tensors(pictures, Question(TENSORS, text + data, options={"json_bytes": len(text)}))
    assert json.loads(frame.body)["outputs"][1]["data"] == ["dark"]
