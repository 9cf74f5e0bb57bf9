"""A toy language, each word of which is a word of English and whose verbs stand at the end, and runs of the training
program on it. A model that learned it translates without a fault."""

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path

from tests.training.here import run_training, write_training
from workers.contract import TRANSLATION

SUBJECTS = {"the dog": "ka ruf", "the cat": "ka miu", "a bird": "po tik", "my friend": "no bam", "the king": "ka rox"}
VERBS = {"sees": "okar", "likes": "ulom", "finds": "ifan", "carries": "emaz"}
OBJECTS = {"a house": "po dom", "the tree": "ka lin", "water": "wos", "a stone": "po gat", "the boat": "ka naf"}
MANNERS = {"today": "zu", "slowly": "fey", "again": "yat"}
QUICK = {
    "model": "transformer_tiny", "epochs": 12, "batch_tokens": 256, "learning_rate": 0.004, "dropout": 0.0,
    "label_smoothing": 0.0, "pieces": 700, "max_tokens": 32, "ema_decay": 0.0,
}  # fmt: skip

Pair = tuple[str, str]


def toy() -> list[Pair]:
    """All 300 sentences with their translations, shuffled: "the dog sees water today" is "zu ka ruf wos okar"."""
    rows = [
        (f"{subject} {verb} {thing} {manner}", f"{MANNERS[manner]} {SUBJECTS[subject]} {OBJECTS[thing]} {VERBS[verb]}")
        for subject in SUBJECTS
        for verb in VERBS
        for thing in OBJECTS
        for manner in MANNERS
    ]
    random.Random(0).shuffle(rows)
    return rows


def write_pairs(folder: Path, rows: Sequence[Pair], splits: list[str] | None = None) -> Path:
    """data.csv and index.json as the check leaves them; of ten pairs one is for validation and two for the test."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "data.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("english", "toy"), *rows])
    parts = ["train"] * 7 + ["val", "test", "test"]
    index = {
        "columns": [{"name": "english", "type": "text"}, {"name": "toy", "type": "text"}],
        "target": "toy",
        "text_column": None,
        "pair": {"source": "english", "target": "toy"},
        "split": splits or [parts[number % 10] for number in range(len(rows))],
    }
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def make_spec(work: Path, data: Path, *, resume: bool = False, **overrides: object) -> Path:
    return write_training(work, data, TRANSLATION, QUICK | overrides, resume=resume)


def train_here(work: Path, data: Path, **overrides: object) -> Path:
    return run_training(make_spec(work, data, **overrides))
