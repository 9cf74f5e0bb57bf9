"""A campaign reaches part of the customers: the list of those most likely to say yes, with their lift."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.inference.models import table_model
from tests.predicting.making import objects_of, run, spec_for, write_rows
from workers.predicting import program
from workers.predicting.parts import Parts
from workers.training.stopping import Stop, Stopped

ROWS = [{"age": str(20 + number % 41), "city": "Rome", "name": f"n{number}"} for number in range(200)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return table_model(tmp_path / "model")


def listed(spec) -> list[dict[str, str]]:
    with open(Path(spec.work_dir) / "output/targets.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_most_likely_come_first_with_their_score_and_lift(tmp_path, model):
    spec = spec_for(tmp_path / "work", model, write_rows(tmp_path / "people.csv", ROWS), ranked_by="old", top=20.0)
    result = run(spec)
    rows = listed(spec)
    assert list(rows[0]) == ["rank", "age", "city", "name", "score", "lift"]
    assert [row["rank"] for row in rows] == [str(number) for number in range(1, 41)]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    everybody = {row["name"]: row for row in objects_of(spec)}
    own = {name: row["probability"] if row["prediction"] == "old" else 1 - row["probability"]
           for name, row in everybody.items()}  # fmt: skip
    left_out = [own[name] for name in own if name not in {row["name"] for row in rows}]
    assert max(left_out) <= scores[-1] + 1e-5
    mean = np.mean(list(own.values()))
    assert float(rows[0]["lift"]) == pytest.approx(scores[0] / mean, rel=1e-3)
    told = result["targets"]
    assert (told["by"], told["rows"], told["of"], told["least"]) == ("old", 40, 200, scores[-1])
    assert told["lift"] == pytest.approx(np.mean(scores) / mean, rel=1e-3)
    assert told["share"] == pytest.approx(told["lift"] * 0.2, rel=1e-6)
    assert len(objects_of(spec)) == 200, "the other files have every row"


def test_where_the_truth_is_known_the_list_says_how_many_it_found(tmp_path, model):
    rows = [row | {"group": "old" if int(row["age"]) > 45 else "young"} for row in ROWS]
    spec = spec_for(tmp_path / "work", model, write_rows(tmp_path / "people.csv", rows), ranked_by="old", top=25.0)
    meta = json.loads((model / "meta.json").read_text())
    (model / "meta.json").write_text(json.dumps(meta | {"target": "group"}))
    told = run(spec)["targets"]
    found = sum(row["group"] == "old" for row in listed(spec))
    positives = sum(row["group"] == "old" for row in rows)
    assert (told["found"], told["positives"]) == (found, positives)
    assert told["found_lift"] == pytest.approx(found / 50 / (positives / 200))


def test_rows_without_an_answer_are_in_no_list_and_what_has_our_names_stays(tmp_path, model):
    rows = [{"age": "old" if number % 4 == 0 else "50", "rank": str(number), "city": "Rome"} for number in range(8)]
    spec = spec_for(tmp_path / "work", model, write_rows(tmp_path / "people.csv", rows), ranked_by="young")
    told = run(spec)["targets"]
    assert (told["rows"], told["of"]) == (6, 6)
    assert list(listed(spec)[0]) == ["rank 2", "age", "rank", "city", "score", "lift"]
    assert [row["rank"] for row in listed(spec)] == ["1", "2", "3", "5", "6", "7"], "equal ones in the file's order"


def test_no_spreadsheet_runs_what_came_in(tmp_path, model):
    rows = [{"age": "50", "city": "=1+1"}, {"age": "20", "city": "-3.5"}]
    spec = spec_for(tmp_path / "work", model, write_rows(tmp_path / "people.csv", rows), ranked_by="old")
    run(spec)
    assert [row["city"] for row in listed(spec)] == ["'=1+1", "-3.5"]


def test_an_interrupted_list_is_that_of_an_undisturbed_run(tmp_path, model, monkeypatch):
    path = write_rows(tmp_path / "people.csv", ROWS * 4)
    calm = spec_for(tmp_path / "calm", model, path, ranked_by="old", top=30.0)
    run(calm)
    asked, ask = [], program.ask

    class StopAfterTwo(Stop):
        @property
        def requested(self) -> bool:
            return len(asked) >= 2

        @requested.setter
        def requested(self, value: bool) -> None:
            """Only batches count."""

    def counting(*arguments):
        asked.append(1)
        return ask(*arguments)

    monkeypatch.setattr(program, "ask", counting)
    with pytest.raises(Stopped):
        run(spec_for(tmp_path / "work", model, path, ranked_by="old", top=30.0), StopAfterTwo())
    assert len(asked) == 2
    again = spec_for(tmp_path / "work", model, path, ranked_by="old", top=30.0, resume=True)
    run(again)
    assert len(asked) == 4, "no batch was asked twice"
    names = ("targets.csv", "predictions.csv", "predictions.jsonl")
    left, right = ([(Path(spec.work_dir) / "output" / name).read_bytes() for name in names] for spec in (calm, again))
    assert left == right


def test_rows_are_taken_out_of_all_parts_by_their_number(tmp_path):
    parts = Parts(tmp_path, resume=False)
    for part in range(3):
        parts.add({"number": part * 10 + number, "text": "ü" * number} for number in range(10))
        parts.checkpoint()
    wanted = [29, 0, 10, 9, 19, 20, 0]
    assert [record["number"] for record in parts.at(wanted)] == wanted
