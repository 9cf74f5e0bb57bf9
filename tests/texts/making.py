"""Texts made of templates, in English and in Chinese, and runs of the training program on them."""

import csv
import json
import random
from pathlib import Path

from tests.training.here import run_training, write_training
from workers.contract import TEXT_CLASSIFICATION

THINGS = ("parcel", "lamp", "jacket", "book", "phone", "bicycle", "kettle", "camera", "chair", "watch")
ENGLISH = {
    "delivery": ("where is my {}", "when does the {} arrive", "has the {} been shipped yet", "track the {} for me"),
    "refund": ("i want my money back for the {}", "how do i return the {}", "refund the {} please", "send back the {}"),
    "praise": (
        "the {} is wonderful",
        "i love this {} so much",
        "what a great {}",
        "thank you for the {}, it is perfect",
    ),
}
CHINESE_THINGS = ("包裹", "台灯", "外套", "手机", "自行车", "水壶", "相机", "椅子", "手表", "电脑")
CHINESE = {
    "物流": ("我的{}到哪里了", "{}什么时候能送到", "请帮我查一下{}的快递", "{}发货了没有"),
    "退款": ("{}我要退货", "{}坏了请退钱", "怎么申请{}的退款", "不想要{}了可以退吗"),
    "好评": ("这个{}真好用", "{}太漂亮了我很喜欢", "谢谢{}质量很棒", "非常满意这个{}"),
}
QUICK = {"epochs": 8, "batch_size": 16, "embedding_size": 16, "learning_rate": 0.02, "class_weights": "none"}


def sentences(templates: dict[str, tuple[str, ...]], things: tuple[str, ...], seed: int = 0) -> list[tuple[str, str]]:
    """(text, label) of every template with every thing, shuffled."""
    rows = [(form.format(thing), label) for label, forms in templates.items() for form in forms for thing in things]
    random.Random(seed).shuffle(rows)
    return rows


def english() -> list[tuple[str, str]]:
    return sentences(ENGLISH, THINGS)


def chinese() -> list[tuple[str, str]]:
    return sentences(CHINESE, CHINESE_THINGS)


def write_texts(folder: Path, rows: list[tuple[str, str]], splits: list[str] | None = None) -> Path:
    """data.csv and index.json as the check leaves them; of ten rows one is for validation and two for the test."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "data.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("text", "topic"), *rows])
    parts = ["train"] * 7 + ["val", "test", "test"]
    index = {
        "columns": [{"name": "text", "type": "text"}, {"name": "topic", "type": "categorical"}],
        "target": "topic",
        "text_column": "text",
        "split": splits or [parts[number % 10] for number in range(len(rows))],
    }
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def make_spec(work: Path, data: Path, *, resume: bool = False, **overrides: object) -> Path:
    return write_training(work, data, TEXT_CLASSIFICATION, QUICK | overrides, resume=resume)


def train_here(work: Path, data: Path, **overrides: object) -> Path:
    return run_training(make_spec(work, data, **overrides))
