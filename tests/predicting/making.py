"""Files to predict, and runs of the program on them."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from workers.contract import EventWriter, PredictSpec, read_events
from workers.predicting.program import predict
from workers.training.stopping import Stop


def write_rows(path: Path, rows: list[dict]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def spec_for(work: Path, model: Path, data: Path, **changes) -> PredictSpec:
    work.mkdir(parents=True, exist_ok=True)
    return PredictSpec(
        **{"work_dir": str(work), "model_dir": str(model), "data_path": str(data), "name": data.name} | changes
    )


def run(spec: PredictSpec, stop: Stop | None = None) -> dict:
    """The body of result.json. Raises what the program raises."""
    predict(spec, EventWriter(Path(spec.work_dir) / "events.jsonl"), stop or Stop())
    return json.loads((Path(spec.work_dir) / "output/result.json").read_text())


def table_of(spec: PredictSpec) -> list[dict[str, str]]:
    with open(Path(spec.work_dir) / "output/predictions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def objects_of(spec: PredictSpec) -> list[dict]:
    lines = (Path(spec.work_dir) / "output/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def events_of(spec: PredictSpec, kind: str) -> Iterator[dict]:
    return (event for event, _ in read_events(Path(spec.work_dir) / "events.jsonl") if event["type"] == kind)
