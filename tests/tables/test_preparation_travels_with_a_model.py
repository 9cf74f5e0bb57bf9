"""What training saw of a raw row and what serving makes of it are the same numbers, whatever steps the data has."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.preprocessing.uploads import Workplace, csv_text
from tests.tables.tables import QUICK
from workers.contract import TABULAR_CLASSIFICATION, EventWriter, TrainSpec
from workers.inference.table_predictor import TablePredictor
from workers.training.__main__ import run
from workers.training.hyperparameters import resolve
from workers.training.stopping import Stop
from workers.training.tables.data import load_table

HEADER = ["country", "age", "member", "joined", "bought"]


def raw_rows() -> list[list[str]]:
    """Rows as people send them: blanks, "NA" that may be Namibia, "?" for not known."""
    draws = np.random.default_rng(0)
    rows = []
    for _ in range(160):
        age = int(draws.integers(18, 80))
        country = str(draws.choice(["NA", " DE", "FR ", "?"]))
        joined = f"2024-0{1 + age % 9}-1{age % 9}"
        rows.append([country, f" {age}" if age % 7 else "?", "yes" if age % 2 else "no", joined])
        rows[-1].append("yes" if age + draws.normal(0, 10) > 48 else "no")
    return rows


@pytest.mark.parametrize("without", [[], ["missing_words"]])
def test_a_raw_row_put_to_the_model_is_what_training_saw(tmp_path, without):
    rows = raw_rows()
    if without:
        rows = [[row[0], row[1].replace("?", "33"), *row[2:]] for row in rows]
    raw = csv_text([HEADER, *rows])
    done = Workplace(tmp_path).prepare({"shop.csv": raw}, target="bought", recipe={"without": without})
    steps = [{"id": each["id"], "message": each["message"]} for each in done.report["steps"] if each["is_on"]]
    spec = TrainSpec(
        work_dir=str(tmp_path / "training"),
        task=TABULAR_CLASSIFICATION,
        data_path=str(done.output / "data.csv"),
        index_path=str(done.output / "index.json"),
        hyperparameters=resolve(TABULAR_CLASSIFICATION, overrides=QUICK),
        preparation=steps,
    )
    (tmp_path / "training").mkdir()
    events = EventWriter(tmp_path / "events.jsonl")
    run(replace(spec, hyperparameters=QUICK), events, Stop())
    model = tmp_path / "training" / "output" / "model"
    meta = json.loads((model / "meta.json").read_text())
    assert [each["id"] for each in meta["preparation"]] == [each["id"] for each in steps]
    assert ("missing_words" in {each["id"] for each in meta["preparation"]}) is not bool(without)

    seen = load_table(spec, events).encoded.matrix()
    served = TablePredictor(model, meta, 1).encoder.encode(
        [dict(zip(HEADER[:-1], row[:-1], strict=True)) for row in rows]
    )
    np.testing.assert_array_equal(served.matrix(), seen)
    known = next(column for column in meta["encoder"]["columns"] if column["name"] == "country")["values"]
    assert ("NA" in known) is bool(without)
