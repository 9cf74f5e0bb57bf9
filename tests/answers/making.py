"""Questions about a library in two languages, and runs of the training program on them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from tests.training.here import run_training, write_training
from workers.contract import ANSWER_RETRIEVAL
from workers.training.stopping import Stop

THINGS = {
    "borrow": ("You may take six books home at once.", "books", "take home"),
    "return": ("Put what you bring back into the box at the door.", "returned books", "bring back"),
    "renew": ("Extend the period online, twice at most.", "the loan period", "extend"),
    "card": ("A library card costs nothing for children.", "a library card", "pay for"),
    "opening": ("We are open from nine to seven, but not on Sundays.", "on Sundays", "visit you"),
    "printing": ("The printer stands beside the stairs, ten cents a page.", "a page", "print"),
    "wifi": ("The wireless network is called Reader, without a password.", "the wireless network", "connect to"),
    "rooms": ("Study rooms are booked at the desk for two hours.", "a study room", "book"),
    "fines": ("A late book costs twenty cents a day.", "a late book", "be charged for"),
    "gifts": ("We are glad of gifts that are younger than five years.", "gifts", "leave you"),
}
CHINESE = {
    "借书证怎么办理？": "请带身份证到前台办理借书证。",
    "图书馆几点开门？": "图书馆早上九点开门，周日休息。",
}
WAYS = ("how do I {verb} {thing}", "can I {verb} {thing}?", "where do people {verb} {thing}", "{thing}: how to {verb}")
QUICK = {"epochs": 3, "embedding_size": 16, "buckets": 512, "dropout": 0.0}

Row = tuple[str, str]


def library() -> list[Row]:
    """42 questions to 12 answers."""
    rows = [
        (way.format(verb=verb, thing=thing), answer) for way in WAYS for answer, thing, verb in THINGS.values()
    ]  # fmt: skip
    return rows + list(CHINESE.items())


def usual_splits() -> list[str]:
    return ["train"] * 20 + ["val"] * 10 + ["test"] * 10 + ["train"] * len(CHINESE)


def write_questions(folder: Path, rows: Sequence[Row], splits: Sequence[str] | None = None) -> Path:
    """data.csv and index.json as the check leaves them; the last way of asking is for the test, that before it for
    validation."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "data.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("question", "answer"), *rows])
    index = {
        "columns": [{"name": "question", "type": "text"}, {"name": "answer", "type": "text"}],
        "target": "answer",
        "pair": {"source": "question", "target": "answer"},
        "split": list(splits or usual_splits()),
    }
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def make_spec(work: Path, data: Path, *, resume: bool = False, **overrides: object) -> Path:
    return write_training(work, data, ANSWER_RETRIEVAL, QUICK | overrides, resume=resume)


def train_here(work: Path, data: Path, *, stop: Stop | None = None, resume: bool = False, **overrides: object) -> Path:
    return run_training(make_spec(work, data, resume=resume, **overrides), stop)
