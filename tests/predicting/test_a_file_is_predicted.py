"""A file goes in, and each of its rows comes out with an answer or with what is wrong with it."""

import json
import zipfile

import pytest
from openpyxl import Workbook

from tests.inference.models import image_model, png, table_model, text_model
from tests.predicting.making import events_of, objects_of, run, spec_for, table_of, write_rows
from workers.contract import ProgramFailure
from workers.inference.answers import answer
from workers.inference.framing import JSON, Question
from workers.inference.predictor import load_predictor

PEOPLE = [{"age": "55", "city": "Rome"}, {"age": "21", "city": "Oslo"}, {"age": "", "city": "Bonn"}]


@pytest.fixture
def table(tmp_path):
    return table_model(tmp_path / "model")


def test_rows_keep_their_columns_and_get_what_a_request_would_get(tmp_path, table):
    spec = spec_for(tmp_path / "work", table, write_rows(tmp_path / "people.csv", PEOPLE))
    result = run(spec)
    predictor = load_predictor(table, 1)
    asked = answer(predictor, [Question(JSON, json.dumps({"rows": PEOPLE}).encode())])[0]
    served = json.loads(asked.body)["predictions"]
    rows = table_of(spec)
    assert list(rows[0]) == ["age", "city", "prediction", "probability", "error"]
    assert [{"age": row["age"], "city": row["city"]} for row in rows] == PEOPLE
    assert [(row["prediction"], float(row["probability"])) for row in rows] == [
        (each["class"], each["probability"]) for each in served
    ]
    assert (result["rows"], result["errors"], result["counts"]) == (3, 0, {"old": 2, "young": 1})
    assert result["metrics"] == {}


def test_a_row_that_cannot_be_predicted_gets_its_reason_and_stops_no_other(tmp_path, table):
    lines = ["age,city", "55,Rome", "very old,Rome", "1,2,3", "21,Oslo"]
    (tmp_path / "people.csv").write_text("\n".join(lines))
    spec = spec_for(tmp_path / "work", table, tmp_path / "people.csv")
    result = run(spec)
    rows = table_of(spec)
    assert [row["prediction"] for row in rows] == ["old", "", "", "young"]
    assert "this row has 'very old'" in rows[1]["error"] and rows[1]["city"] == "Rome"
    assert rows[2]["error"] == "Line 4 has 3 values, the header has 2."
    assert not rows[0]["error"] and not rows[3]["error"]
    assert {kind["code"]: kind["count"] for kind in result["error_kinds"]} == {"wrong_type": 1, "ragged_row": 1}
    assert objects_of(spec)[1]["error"]["code"] == "wrong_type" and "error" not in objects_of(spec)[0]


def test_every_class_gets_a_column_where_that_is_asked_for(tmp_path, table):
    path = write_rows(tmp_path / "people.csv", PEOPLE)
    spec = spec_for(tmp_path / "work", table, path, has_class_columns=True)
    run(spec)
    for row, made in zip(table_of(spec), objects_of(spec), strict=True):
        both = [float(row["probability young"]), float(row["probability old"])]
        assert sum(both) == pytest.approx(1) and max(both) == float(row["probability"])
        assert made["probabilities"] == {"young": both[0], "old": both[1]}


def test_where_the_right_answers_are_known_the_figures_are_told(tmp_path, table):
    truths = [("55", "old"), ("58", "young"), ("21", "young"), ("22", "young"), ("23", "")]
    rows = [{"age": age, "city": "Rome", "group": truth} for age, truth in truths]
    result = run(spec_for(tmp_path / "work", table, write_rows(tmp_path / "people.csv", rows)))
    assert result["judged"] == 4 and result["metrics"]["accuracy"] == 0.75
    assert result["confusion"]["matrix"] == [[2, 1], [0, 1]]
    assert result["metrics"]["log_loss"] > 0


def test_a_class_that_the_model_does_not_know_counts_as_wrong(tmp_path, table):
    rows = [{"age": "55", "city": "Rome", "group": truth} for truth in ("old", "ancient")]
    result = run(spec_for(tmp_path / "work", table, write_rows(tmp_path / "people.csv", rows)))
    assert result["metrics"] == {"accuracy": 0.5} and result["unknown_classes"] == 1


def test_a_regression_gives_values(tmp_path):
    model = table_model(tmp_path / "model", "tabular_regression")
    rows = [{"age": "55", "city": "Rome", "group": "3"}, {"age": "21", "city": "Rome", "group": "-1"}]
    spec = spec_for(tmp_path / "work", model, write_rows(tmp_path / "people.csv", rows))
    result = run(spec)
    assert [row["prediction"] for row in table_of(spec)] == ["1.0", "-1.0"]
    assert list(table_of(spec)[0]) == ["age", "city", "group", "prediction", "error"]
    assert result["metrics"]["mae"] == 1.0


def test_no_spreadsheet_runs_what_came_in_and_numbers_stay_numbers(tmp_path, table):
    rows = [{"age": "-5", "city": "=1+1"}, {"age": "50", "city": "@SUM(A1)"}]
    spec = spec_for(tmp_path / "work", table, write_rows(tmp_path / "people.csv", rows))
    run(spec)
    assert [(row["age"], row["city"]) for row in table_of(spec)] == [("-5", "'=1+1"), ("50", "'@SUM(A1)")]
    assert objects_of(spec)[0]["city"] == "=1+1"


def test_columns_that_are_called_like_ours_stay(tmp_path, table):
    rows = [{"age": "50", "city": "Rome", "prediction": "mine", "error": "none"}]
    spec = spec_for(tmp_path / "work", table, write_rows(tmp_path / "people.csv", rows))
    run(spec)
    row = table_of(spec)[0]
    assert (row["prediction"], row["prediction 2"], row["error"], row["error 2"]) == ("mine", "old", "none", "")


def test_lines_of_json_are_rows(tmp_path, table):
    lines = ['{"age": 55, "city": "Rome"}', "no json", '{"age": null}']
    (tmp_path / "people.jsonl").write_text("\n".join(lines))
    spec = spec_for(tmp_path / "work", table, tmp_path / "people.jsonl")
    run(spec)
    assert [row["prediction"] for row in table_of(spec)] == ["old", "", "old"]
    assert table_of(spec)[1]["error"] == "Line 2 is not a JSON object."


def test_texts_are_read_from_their_column_or_the_only_one(tmp_path):
    model = text_model(tmp_path / "model")
    rows = [{"id": "1", "text": "a good lamp", "mood": "praise"}, {"id": "2", "text": "a bad one", "mood": "praise"}]
    spec = spec_for(tmp_path / "work", model, write_rows(tmp_path / "said.csv", rows))
    assert run(spec)["metrics"]["accuracy"] == 0.5
    assert [row["prediction"] for row in table_of(spec)] == ["praise", "blame"]
    spec = spec_for(tmp_path / "other", model, write_rows(tmp_path / "only.csv", [{"words": "so good"}]))
    run(spec)
    assert table_of(spec)[0]["prediction"] == "praise"
    with pytest.raises(ProgramFailure, match="lacks the column 'text'"):
        run(spec_for(tmp_path / "third", model, write_rows(tmp_path / "none.csv", [{"a": "1", "b": "2"}])))


def test_images_of_an_archive_are_judged_by_their_folders_and_a_broken_one_gets_a_reason(tmp_path):
    model = image_model(tmp_path / "model")
    members = {"bright/1.png": png(250), "dark/1.png": png(3), "dark/2.png": png(240), "dark/3.png": b"no image"}
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    spec = spec_for(tmp_path / "work", model, tmp_path / "pictures.zip")
    result = run(spec)
    rows = {row["file"]: row for row in table_of(spec)}
    assert [rows[name]["prediction"] for name in members] == ["bright", "dark", "bright", ""]
    assert "cannot be read" in rows["dark/3.png"]["error"]
    assert result["judged"] == 3 and result["metrics"]["accuracy"] == pytest.approx(2 / 3)


def test_of_a_data_set_one_split_is_asked(tmp_path, table):
    write_rows(tmp_path / "data.csv", [{"age": str(age), "city": "Rome", "group": "old"} for age in (50, 51, 52)])
    (tmp_path / "index.json").write_text(json.dumps({"split": ["train", "test", "test"]}))
    spec = spec_for(
        tmp_path / "work", table, tmp_path / "data.csv", index_path=str(tmp_path / "index.json"), split="test"
    )
    run(spec)
    assert [row["age"] for row in table_of(spec)] == ["51", "52"]


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("a.csv", "name,city\nAnn,Rome\nBob,Rome\n", "missing_column", "a.csv lacks the column 'age'."),
        ("a.csv", "age,city\nx,Rome\ny,Rome\n", "nothing_predicted", "None of the rows could be predicted. 2 of them"),
        ("a.csv", "age,city\n", "no_rows", "has nothing to predict"),
        ("a.zip", "PK", "wrong_kind", "is not what this model reads"),
    ],
)
def test_a_file_of_no_use_is_refused_in_a_sentence(tmp_path, table, name, content, code, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(ProgramFailure) as caught:
        run(spec_for(tmp_path / "work", table, tmp_path / name))
    assert caught.value.code == code and said in caught.value.message


def test_it_says_how_many_rows_are_done_and_how_fast(tmp_path, table):
    rows = [{"age": str(20 + number % 40), "city": "Rome"} for number in range(600)]
    spec = spec_for(tmp_path / "work", table, write_rows(tmp_path / "people.csv", rows))
    run(spec)
    told = [event for event in events_of(spec, "progress") if event.get("steps") == 600 and "eta_seconds" in event]
    assert told[-1]["step"] == 600 and told[-1]["samples_per_second"] > 0


def test_the_first_sheet_of_a_workbook_is_rows(tmp_path, table):
    book = Workbook()
    for row in (["age", "city"], [55, "Rome"], [21, None]):
        book.active.append(row)
    book.save(tmp_path / "people.xlsx")
    spec = spec_for(tmp_path / "work", table, tmp_path / "people.xlsx")
    run(spec)
    assert [(row["age"], row["prediction"]) for row in table_of(spec)] == [("55", "old"), ("21", "young")]
