"""Small tables as the preparing program leaves them, and training on them."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from workers.contract import TABULAR_CLASSIFICATION, EventWriter, TrainSpec, read_events
from workers.training import tables
from workers.training.hyperparameters import resolve
from workers.training.stopping import Stop

QUICK = {"model": "gradient_boosting", "folds": 1, "trees": 30, "tree_learning_rate": 0.2}


def bundled_rows(load: Any, *, rows: int | None = None) -> list[dict[str, str]]:
    """A data set of scikit-learn as CSV rows in random order, target last; classes by name."""
    bunch = load()
    names = [name.replace(" ", "_") for name in bunch.feature_names]
    order = np.random.default_rng(0).permutation(len(bunch.target))[:rows]
    labels = getattr(bunch, "target_names", None)
    return [
        dict(zip(names, map(str, bunch.data[number]), strict=True))
        | {"target": str(bunch.target[number] if labels is None else labels[bunch.target[number]])}
        for number in order
    ]


def breast_cancer() -> list[dict[str, str]]:
    return bundled_rows(load_breast_cancer)


def wine() -> list[dict[str, str]]:
    return bundled_rows(load_wine)


def iris() -> list[dict[str, str]]:
    return bundled_rows(load_iris)


def diabetes() -> list[dict[str, str]]:
    return bundled_rows(load_diabetes)


def customers(count: int = 400, seed: int = 0) -> list[dict[str, str]]:
    """A made-up table with every kind of column; "target" says whether a customer leaves."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        age, city = int(random.integers(18, 80)), str(random.choice(["Oslo", "Rome", "Lima", "Bonn"]))
        joined = np.datetime64("2020-01-01") + int(random.integers(0, 1500))
        pays = random.random() < 0.5
        score = (age - 50) / 15 + {"Oslo": 1, "Rome": -1, "Lima": 0.5, "Bonn": 0}[city] + (1 if pays else -1)
        rows.append(
            {
                "id": f"c{number:05d}",
                "age": "" if random.random() < 0.1 else str(age),
                "city": "?" if random.random() < 0.05 else city,
                "pays": "yes" if pays else "no",
                "joined": str(joined),
                "notes": f"free words {number} of a customer",
                "empty": "",
                "same": "1",
                "target": "leaves" if score + random.normal() > 0 else "stays",
            }
        )
    return rows


CUSTOMER_TYPES = {
    "id": "identifier",
    "age": "numeric",
    "city": "categorical",
    "pays": "boolean",
    "joined": "date",
    "notes": "text",
    "empty": "categorical",
    "same": "numeric",
    "target": "categorical",
}


@dataclass(frozen=True)
class Prepared:
    """What a preparing run left in `folder`."""

    folder: Path
    rows: list[dict[str, str]]
    split: list[str]

    def rows_of(self, split: str) -> list[dict[str, str]]:
        return [row for row, name in zip(self.rows, self.split, strict=True) if name == split]


def prepare(
    folder: Path, rows: list[dict[str, str]], types: dict[str, str] | None = None, split: list[str] | None = None
) -> Prepared:
    """Write data.csv and index.json: 70 % train, 10 % val, 20 % test unless `split` says otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    split = split or [("train", "val", "test")[(number % 10 > 6) + (number % 10 > 7)] for number in range(len(rows))]
    with open(folder / "data.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    columns = [{"name": name, "type": (types or {}).get(name, "numeric")} for name in rows[0]]
    index = {"rows": len(rows), "columns": columns, "target": "target", "split": split}
    (folder / "index.json").write_text(json.dumps(index))
    return Prepared(folder, rows, split)


def make_spec(
    prepared: Prepared, work: Path, task: str = TABULAR_CLASSIFICATION, resume: bool = False, **overrides: Any
) -> TrainSpec:
    return TrainSpec(
        work_dir=str(work),
        task=task,
        data_path=str(prepared.folder / "data.csv"),
        index_path=str(prepared.folder / "index.json"),
        hyperparameters=resolve(task, overrides=overrides),
        resume=resume,
    )


def train(spec: TrainSpec, stop: Stop | None = None) -> dict[str, Any]:
    """Run the training in this process and return its result.json."""
    work = Path(spec.work_dir)
    work.mkdir(parents=True, exist_ok=True)
    tables.train(spec, EventWriter(work / "events.jsonl"), stop or Stop())
    return json.loads((work / "output" / "result.json").read_text())


def events_of(work: Path, type_: str) -> list[dict[str, Any]]:
    return [event for event, _ in read_events(work / "events.jsonl") if event["type"] == type_]
