"""Ratings of low rank with noise, events of groups with a taste, and runs of the training program on them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.training.here import run_training, write_training
from workers.contract import RECOMMENDATION
from workers.interactions import find_roles, read_moments, split_interactions
from workers.training.stopping import Stop

Rows = list[tuple[str, ...]]
RATED = ("user_id", "movie_id", "title", "rating", "timestamp")
TAKEN = ("user", "item", "time")
QUICK = {"epochs": 6, "factors": 8}


def ratings(users: int = 60, items: int = 50, rank: int = 2, share: float = 0.5, seed: int = 0) -> Rows:
    """RATED rows: mean 3, biases, a product of rank `rank` and a little noise, of so large a share of all pairs."""
    random = np.random.default_rng(seed)
    likes, traits = random.normal(size=(users, rank)), random.normal(size=(items, rank))
    biases = 0.3 * random.normal(size=(users, 1)) + 0.3 * random.normal(size=items)
    full = 3 + biases + likes @ traits.T * 0.7 + 0.1 * random.normal(size=(users, items))
    pairs = np.argwhere(random.random((users, items)) < share)
    random.shuffle(pairs)
    return [
        (f"u{user}", f"m{item}", f"Film {item}", f"{full[user, item]:.2f}", str(1000 + number))
        for number, (user, item) in enumerate(pairs)
    ]


def events(users: int = 90, groups: int = 3, of_a_group: int = 20, taken: int = 12, seed: int = 0) -> Rows:
    """TAKEN rows: everybody takes from the items of their group, and now and then the one that all know."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        own = random.choice(of_a_group, taken, replace=False) + of_a_group * (user % groups)
        everybodys = [groups * of_a_group + number for number in range(3) if random.random() < 0.6]
        for day, item in enumerate(random.permutation([*own, *everybodys])):
            rows.append((f"u{user}", f"i{item}", f"2024-{1 + day // 28:02}-{1 + day % 28:02}"))
    random.shuffle(rows)
    return [tuple(row) for row in rows]


def write_data(folder: Path, header: Sequence[str], rows: Rows, splits: Sequence[str] | None = None) -> Path:
    """data.csv and index.json as the check leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "data.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    roles = find_roles(header)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    moments = read_moments(columns[roles.time]) if roles.time else None
    drawn = split_interactions(columns[roles.user], columns[roles.item], moments, {"val": 0.1, "test": 0.1}, 0)
    index = {
        "columns": [{"name": name} for name in header],
        "target": roles.rating or roles.item,
        "interactions": roles.to_dict(),
        "split": list(splits) if splits else drawn.tolist(),
        "split_source": "user" if splits else "stratified",
    }
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def make_spec(work: Path, data: Path, *, resume: bool = False, seconds: float = 5.0, **overrides: object) -> Path:
    return write_training(work, data, RECOMMENDATION, QUICK | overrides, resume=resume, checkpoint_seconds=seconds)


def train_here(work: Path, data: Path, stop: Stop | None = None, **overrides: object) -> Path:
    return run_training(make_spec(work, data, **overrides), stop)
