"""Series with a trend, a week, a year and noise, and runs of the training program on them."""

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from tests.training.here import run_training, write_training
from workers.contract import FORECASTING
from workers.series.columns import find_columns
from workers.series.splitting import split_by_time
from workers.series.times import find_clock
from workers.training.stopping import Stop

Rows = list[tuple[str, ...]]
DAILY = ("date", "store", "sales")
QUICK = {"trees": 25, "examples": 4_000, "horizon": 7}
FRACTIONS = (0.8, 0.1, 0.1)


def wave(days: int = 400, *, level: float = 100, noise: float = 3.0, trend: float = 0.05, seed: int = 0) -> np.ndarray:
    """[days]: a level with a trend, a weekly and a yearly pattern, and noise, all in the unit of the level."""
    time = np.arange(days)
    week = np.array([0, -4, -6, -2, 6, 14, 8])[time % 7]
    year = 12 * np.sin(2 * np.pi * time / 365.25)
    return level + trend * time + week + year + noise * np.random.default_rng(seed).normal(size=days)


def stores(names: Sequence[str] = ("north", "south"), days: int = 400, seed: int = 0) -> Rows:
    """DAILY rows, one store after the other, each of its own size."""
    return [
        (str(date(2022, 1, 3) + timedelta(days=day)), name, f"{value:.2f}")
        for place, name in enumerate(names)
        for day, value in enumerate(wave(days, level=100 * (1 + place), seed=seed + place))
    ]


def write_data(
    folder: Path, header: Sequence[str], rows: Rows, target: str = "sales", types: Mapping[str, str] | None = None
) -> Path:  # fmt: skip
    """data.csv and index.json as the check leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "data.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    roles = find_columns(header, rows, target, is_certain=True)
    times = [row[header.index(roles.time)] for row in rows]
    index = {
        "columns": [{"name": name, "type": (types or {}).get(name, "numeric")} for name in header],
        "target": target,
        "series": roles.to_dict(),
        "split": split_by_time(find_clock(times).read(times), FRACTIONS).tolist(),
        "split_source": "time",
    }
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def make_spec(work: Path, data: Path, *, resume: bool = False, seconds: float = 5.0, **overrides: object) -> Path:
    return write_training(work, data, FORECASTING, QUICK | overrides, resume=resume, checkpoint_seconds=seconds)


def train_here(work: Path, data: Path, stop: Stop | None = None, **overrides: object) -> Path:
    return run_training(make_spec(work, data, **overrides), stop)
