"""Rows become the same numbers in training and in serving."""

import json

import numpy as np
import pytest

from tests.tables.tables import CUSTOMER_TYPES, customers
from workers.contract import ProgramFailure
from workers.tables.cells import is_missing
from workers.tables.columns import FIRST_KNOWN_CODE, MISSING_CODE, UNKNOWN_CODE
from workers.tables.encoder import TableEncoder


def columns(**types: str) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in types.items()]


def fit(values: list, kind: str, name: str = "x") -> TableEncoder:
    return TableEncoder.fit(columns(**{name: kind}), [{name: value} for value in values])


@pytest.fixture(scope="module")
def encoder() -> TableEncoder:
    types = {name: kind for name, kind in CUSTOMER_TYPES.items() if name != "target"}
    return TableEncoder.fit(columns(**types), customers())


def test_an_encoder_read_back_from_its_meta_encodes_every_row_the_same(encoder):
    copy = TableEncoder.from_meta(json.loads(json.dumps(encoder.to_meta())))
    rows = customers(50, seed=7)
    np.testing.assert_array_equal(copy.encode(rows).matrix(), encoder.encode(rows).matrix())
    assert copy == encoder


def test_one_row_encodes_as_it_does_among_many(encoder):
    rows = customers(20, seed=3)
    together = encoder.encode(rows).matrix()
    alone = np.concatenate([encoder.encode([row]).matrix() for row in rows])
    np.testing.assert_array_equal(together, alone)


def test_json_values_encode_like_the_strings_of_a_csv(encoder):
    text = {"age": "41", "city": "Rome", "pays": "yes", "joined": "2021-03-04"}
    typed = {"age": 41, "city": " Rome ", "pays": True, "joined": "2021-03-04"}
    np.testing.assert_array_equal(encoder.encode([text]).matrix(), encoder.encode([typed]).matrix())


def test_columns_that_teach_nothing_are_dropped_with_a_reason(encoder):
    reasons = {dropped["name"]: dropped["reason"] for dropped in encoder.dropped}
    assert set(reasons) == {"id", "notes", "empty", "same"}
    assert "identifier" in reasons["id"] and "text" in reasons["notes"]
    assert "no value" in reasons["empty"] and "same value" in reasons["same"]


def test_columns_the_encoder_does_not_know_are_ignored(encoder):
    row = customers(1)[0]
    np.testing.assert_array_equal(encoder.encode([row]).matrix(), encoder.encode([row | {"extra": object()}]).matrix())


def test_a_missing_column_is_named(encoder):
    row = {name: value for name, value in customers(1)[0].items() if name != "pays"}
    with pytest.raises(ProgramFailure, match="Row 2 lacks the column 'pays'") as failure:
        encoder.encode([customers(1)[0], row])
    assert (failure.value.code, failure.value.field) == ("missing_column", "pays")


def test_a_column_with_gaps_in_training_may_be_left_out(encoder):
    row = {name: value for name, value in customers(1)[0].items() if name != "age"}
    assert np.isnan(encoder.encode([row]).numeric[0, 0])


@pytest.mark.parametrize("empty", [None, "", " ? ", "NA", "NaN", "null", "None", float("nan")])
def test_empty_values_are_missing(encoder, empty):
    row = customers(1)[0] | {"age": empty, "city": empty}
    encoded = encoder.encode([row])
    assert is_missing(empty)
    assert np.isnan(encoded.numeric[0, 0]) and encoded.categorical[0, 0] == MISSING_CODE


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("age", "old", "a number"),
        ("age", True, "a number"),
        ("age", [1], "a number"),
        ("city", {"name": "Rome"}, "a text or a number"),
        ("pays", "perhaps", "true or false"),
        ("joined", "yesterday", "a date"),
        ("joined", 20210304, "a date"),
    ],
)
def test_a_wrong_type_is_named_with_its_value(encoder, column, value, expected):
    with pytest.raises(ProgramFailure) as failure:
        encoder.encode([customers(1)[0] | {column: value}])
    assert (failure.value.code, failure.value.field) == ("wrong_type", column)
    assert expected in failure.value.message and repr(value) in failure.value.message


def test_a_row_that_is_no_object_is_refused(encoder):
    with pytest.raises(ProgramFailure, match="Row 1 must be an object"):
        encoder.encode([["Rome", 3]])


def test_numbers_are_centred_on_the_median_and_divided_by_the_deviation():
    encoder = fit(["1", "2", "3", "10", ""], "numeric")
    values = encoder.encode([{"x": 2.5}, {"x": 2.5 + np.std([1, 2, 3, 10])}, {"x": None}]).numeric[:, 0]
    np.testing.assert_allclose(values[:2], [0, 1], atol=1e-6)
    assert np.isnan(values[2])


@pytest.mark.parametrize("huge", [1e308, "-1e308", 10**400, "inf"])
def test_numbers_beyond_all_bounds_do_not_break_the_arrays(huge):
    encoder = fit(["1", "2", "3"], "numeric")
    try:
        value = encoder.encode([{"x": huge}]).numeric[0, 0]
    except ProgramFailure as failure:
        assert failure.code == "wrong_type" and huge == 10**400
    else:
        assert not np.isinf(value)


def test_rare_and_unseen_categories_share_a_code_and_missing_has_its_own():
    encoder = fit(["a"] * 10 + ["b"] * 5 + ["rare", "?"], "categorical")
    codes = encoder.encode([{"x": value} for value in ("a", "b", "rare", "never seen", None)]).categorical[:, 0]
    assert codes.tolist() == [FIRST_KNOWN_CODE, FIRST_KNOWN_CODE + 1, UNKNOWN_CODE, UNKNOWN_CODE, MISSING_CODE]
    assert encoder.code_counts == [4]


@pytest.mark.parametrize("spelling", [3, 3.0, "3", " 3 ", "3.0", "03"])
def test_a_category_that_is_a_number_is_known_in_every_spelling(spelling):
    encoder = fit(["1", "2", "3"] * 4, "categorical")
    assert encoder.encode([{"x": spelling}]).categorical[0, 0] == encoder.encode([{"x": "3"}]).categorical[0, 0]


def test_words_match_without_case_only_where_that_is_clear():
    clear, mixed = fit(["Yes", "Maybe"] * 3, "categorical"), fit(["Yes", "yes"] * 3, "categorical")
    assert clear.encode([{"x": "yes"}]).categorical[0, 0] == clear.encode([{"x": "Yes"}]).categorical[0, 0]
    assert mixed.encode([{"x": "YES"}]).categorical[0, 0] == UNKNOWN_CODE


def test_a_date_becomes_day_number_year_month_day_and_weekday():
    encoder = fit(["31.01.2020", "29.02.2020", "01.06.2021"], "date")
    column = encoder.columns[0]
    parts = column.encode(["29.02.2020"])[0] * column.scale + column.center
    np.testing.assert_allclose(parts, [737484, 2020, 2, 29, 5], atol=1e-6)
    assert encoder.numeric_features[0] == "x (day number)"


def test_a_boolean_column_of_other_words_becomes_categorical():
    assert fit(["male", "female"] * 3, "boolean").columns[0].type == "categorical"


def test_a_table_with_nothing_to_learn_from_is_refused():
    with pytest.raises(ProgramFailure) as failure:
        TableEncoder.fit(columns(x="numeric", y="identifier"), [{"x": "1", "y": "a"}, {"x": "1", "y": "b"}])
    assert failure.value.code == "no_usable_columns"


def test_a_form_can_be_made_from_the_input_columns(encoder):
    example = customers(1)[0]
    described = {entry["name"]: entry for entry in encoder.input_columns(example)}
    assert set(described) == {"age", "city", "pays", "joined"}
    assert described["age"]["required"] is False and described["pays"]["required"] is True
    assert described["age"]["min"] == 18 and described["age"]["max"] == 79
    assert sorted(described["city"]["choices"]) == ["Bonn", "Lima", "Oslo", "Rome"]
    assert described["pays"]["choices"] == [True, False] and described["pays"]["example"] == example["pays"]
    encoder.encode([{name: entry["default"] for name, entry in described.items()}])
