"""The data doctor: what it finds in data with planted faults, and what it leaves alone."""

import csv
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits

from tests.preprocessing.uploads import Workplace, csv_text, zip_bytes
from workers.preprocessing.doctor.columns import even_contradictions, leaves, ranking
from workers.preprocessing.doctor.features import image_features, table_features, text_features
from workers.preprocessing.doctor.label_errors import find_suspects
from workers.preprocessing.doctor.near_copies import near_pictures, near_texts
from workers.preprocessing.doctor.quick_model import FOLDS, deal, judge, learn_by_features, learn_by_items

WORDS_OF = (
    ("delivery", "parcel courier address doorstep tracking shipped arrived late package driver"),
    ("refund", "money back refund charged card payment returned bank receipt amount"),
    ("account", "password login email profile username locked reset sign settings verify"),
)
TOPICS = {topic: words.split(" ") for topic, words in WORDS_OF}
FILLERS = re.findall(r"\w+", "please could you tell me about my the i have a problem with it is still not today")


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def plant(labels: np.ndarray, share: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a share is wrong, and which are."""
    draws, classes = np.random.default_rng(seed), labels.max() + 1
    wrong = draws.choice(len(labels), round(share * len(labels)), replace=False)
    planted = labels.copy()
    planted[wrong] = (planted[wrong] + draws.integers(1, classes, len(wrong))) % classes
    return planted, wrong


def precision_and_recall(features: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Of three wrong labels in a hundred: which part of what is found is wrong, which part of the wrong is found, and
    how often the right label is suggested."""
    planted, wrong = plant(labels, 0.03)
    judged = judge(features, planted, labels.max() + 1, fitted=len(labels))
    found = find_suspects(judged.probabilities, planted)
    hits = np.isin(found.numbers, wrong)
    return hits.mean(), hits.sum() / len(wrong), (found.suggested == labels[found.numbers])[hits].mean()


def texts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    draws = np.random.default_rng(seed)
    made = []
    for number in range(count):
        label = list(TOPICS)[number % len(TOPICS)]
        words = [*draws.choice(TOPICS[label], 3, replace=False), *draws.choice(FILLERS, 6, replace=False)]
        made.append((" ".join(draws.permutation(words)), label))
    return made


def people(count: int = 240, seed: int = 0) -> list[list[object]]:
    """Rows of a table whose target follows from two columns, mostly."""
    draws = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        age, hours = int(draws.integers(18, 70)), int(draws.integers(10, 60))
        rows.append(
            [age, hours, draws.choice(["red", "blue"]), "yes" if age + hours + draws.normal(0, 8) > 80 else "no"]
        )
    return rows


HEADER = ["age", "hours", "colour", "bought"]


def finding(done, code: str) -> dict:
    return next(item for item in done.report["findings"] if item["code"] == code)


def test_wrong_labels_of_pictures_are_found():
    digits = load_digits()
    grown = [Image.fromarray((each * 15.9).astype(np.uint8)).resize((32, 32)) for each in digits.images]
    pixels = np.repeat(np.stack([np.asarray(each) for each in grown])[..., None], 3, axis=3)
    precision, recall, right = precision_and_recall(image_features(pixels), digits.target)
    assert precision > 0.95 and recall > 0.8 and right > 0.95


def test_wrong_labels_of_rows_are_found():
    data = load_breast_cancer()
    columns = [("numeric", [str(value) for value in column]) for column in data.data.T]
    precision, recall, _ = precision_and_recall(table_features(columns), data.target)
    assert precision > 0.7 and recall > 0.5


def test_wrong_labels_of_texts_are_found():
    made = texts(600)
    labels = np.array([list(TOPICS).index(label) for _, label in made])
    precision, recall, _ = precision_and_recall(text_features([text for text, _ in made]), labels)
    assert precision > 0.9 and recall > 0.9


@pytest.mark.parametrize("items", [1, 40, 90])
def test_few_items_teach_the_same_model_by_their_likeness_as_by_their_features(items):
    draws = np.random.default_rng(0)
    features, labels = draws.normal(size=(items, 60)).astype(np.float32), draws.integers(0, 3, items)
    parts = [np.flatnonzero(deal(labels, 0) == number) for number in range(FOLDS)]
    by_features, by_items = (
        learn(features, np.eye(3, dtype=np.float32)[labels], parts) for learn in (learn_by_features, learn_by_items)
    )
    for number in range(FOLDS):
        np.testing.assert_allclose(by_items(number, 0.1), by_features(number, 0.1), atol=1e-5)


def test_nothing_is_suspected_where_the_classes_are_drawn_by_chance():
    draws = np.random.default_rng(0)
    features, labels = draws.normal(size=(400, 20)).astype(np.float32), draws.integers(0, 2, 400)
    assert not len(find_suspects(judge(features, labels, 2, fitted=400).probabilities, labels).numbers)


def test_a_wrong_label_is_shown_with_the_one_suggested(place):
    made = texts(300)
    made[7] = (made[7][0], "delivery" if made[7][1] != "delivery" else "refund")
    done = place.prepare({"mails.csv": csv_text([["text", "label"], *made])})
    found = finding(done, "label_errors")
    assert found["severity"] == "serious" and found["actions"] == {
        "leave_out": found["total"],
        "relabel": found["total"],
    }
    shown = next(item for item in found["items"] if item["id"] == "mails.csv:9")
    assert (shown["label"], shown["text"]) == (made[7][1], made[7][0]) and shown["suggested"] != made[7][1]


def test_pictures_that_were_only_saved_again_are_near_copies(place):
    draws = np.random.default_rng(0)
    pictures = {}
    for number in range(12):
        spots = draws.integers(0, 255, (6, 6, 3)).astype(np.uint8)
        picture = Image.fromarray(spots).resize((64, 64), Image.Resampling.BICUBIC)
        for ending in ("png", "jpg") if number == 3 else ("png",):
            out = io.BytesIO()
            picture.save(out, "PNG" if ending == "png" else "JPEG", **({"quality": 80} if ending == "jpg" else {}))
            pictures[f"{'ab'[number % 2]}/{number}.{ending}"] = out.getvalue()
    done = place.prepare({"spots.zip": zip_bytes(pictures)})
    told = [item for item in done.report["findings"] if item["code"].startswith("near_copies")]
    assert {shown["id"] for item in told for shown in item["items"]} & {"spots.zip/b/3.png", "spots.zip/b/3.jpg"}
    assert all((done.output / shown["picture"]).exists() for item in told for shown in item["items"])
    assert finding(done, "near_copies")["total"] == 1


def test_different_digits_are_no_near_copies():
    pixels = np.kron(load_digits().images[:300], np.ones((1, 4, 4))).astype(np.float32)
    assert near_pictures(pixels) == []


def test_texts_with_a_word_changed_are_near_copies_and_others_are_not():
    first = "As a valued customer I am pleased to tell you that you have won a bonus prize, call 09066364 today"
    other = "Nobody answered the phone when I called the shop about the parcel that came broken this morning"
    assert near_texts([first, other, first.replace("09066364", "09066311")]) == [[0, 2]]


def test_a_column_that_gives_the_target_away_is_told(place):
    rows = [[*row, f"group {row[-1]}"] for row in people()]
    done = place.prepare({"people.csv": csv_text([[*HEADER, "group"], *rows])}, target="bought")
    found = finding(done, "target_leakage")
    assert '"group"' in found["message"] and found["actions"] == {"drop": 1}
    honest = place.prepare({"people.csv": csv_text([HEADER, *people()])}, target="bought")
    assert "target_leakage" not in honest.warnings


def test_wrong_labels_do_not_hide_a_column_that_gives_the_target_away(place):
    draws = np.random.default_rng(3)
    rows = [[n % 7, f"{draws.normal():.3f}", f"g-{n % 3}", "abc"[n % 3]] for n in range(600)]
    for n in draws.permutation(600)[:24].tolist():
        rows[n][-1] = "abc"[(n + 1) % 3]
    told = finding(place.prepare({"t.csv": csv_text([["a", "b", "group", "kind"], *rows])}), "target_leakage")
    assert '"group"' in told["message"] and "contradicts 4.0% of the rows" in told["message"]


def test_numbers_give_away_what_wrong_labels_blur_and_not_what_honestly_overlaps():
    draws = np.random.default_rng(5)
    numbers = draws.normal(size=600)
    places = leaves([f"{number:.5f}" for number in numbers], True)
    clean = (numbers > 0).astype(int)
    wrong = np.where(draws.random(600) < 0.04, 1 - clean, clean)
    overlapping = (numbers + 0.25 * draws.normal(size=600) > 0).astype(int)
    assert ranking(places, wrong, deal(wrong, 0)) < ranking(places, overlapping, deal(overlapping, 0)) < 0.98
    assert even_contradictions(places, wrong, deal(wrong, 0)) == pytest.approx(0.06, abs=0.02)
    assert even_contradictions(places, overlapping, deal(overlapping, 0)) is None


def test_a_value_of_its_own_in_every_row_gives_nothing_away():
    truth = np.random.default_rng(0).integers(0, 2, 200)
    assert ranking(np.arange(200), truth, deal(truth, 0)) < 0.7


def test_a_column_that_gives_a_number_away_is_told(place):
    draws = np.random.default_rng(0)
    rows = [[f"{x:.4f}", f"{2 * x + 1:.4f}", f"{draws.normal():.4f}", f"{3 * x:.4f}"] for x in draws.normal(size=400)]
    done = place.prepare({"n.csv": csv_text([["a", "b", "noise", "target"], *rows])}, target="target")
    told = [item["message"] for item in done.report["findings"] if item["code"] == "target_leakage"]
    assert len(told) == 2 and not any("noise" in message for message in told)


def test_a_number_far_from_all_others_is_told_and_a_long_tail_is_not(place):
    rows = people()
    rows[5][0] = 1999
    tail = np.random.default_rng(0).lognormal(0, 1.2, len(rows))
    rows = [[*row[:-1], f"{value:.3f}", row[-1]] for row, value in zip(rows, tail, strict=True)]
    done = place.prepare({"people.csv": csv_text([[*HEADER[:-1], "income", "bought"], *rows])}, target="bought")
    found = finding(done, "outliers")
    assert [item["id"] for item in found["items"]] == ["people.csv:7"] and "income" not in found["message"]


def test_rows_that_contradict_each_other_and_empty_columns_are_told(place):
    rows = [[*row[:-1], number, "x" if number == 3 else "", row[-1]] for number, row in enumerate(people())]
    rows.append([*rows[0][:-1], "no" if rows[0][-1] == "yes" else "yes"])
    done = place.prepare({"p.csv": csv_text([[*HEADER[:-1], "visit", "note", "bought"], *rows])}, target="bought")
    assert finding(done, "conflicting_labels")["total"] == 2
    assert finding(done, "nearly_empty_column")["actions"] == {"drop": 1}


def test_every_finding_says_what_it_may_cost(place):
    rows = [*people(), *people()[:20]]
    done = place.prepare({"train.csv": csv_text([HEADER, *rows]), "test.csv": csv_text([HEADER, *people()[:30]])})
    assert {"duplicate_across_splits", "duplicates"} <= done.warnings
    assert all(item["cost"] and item["message"].endswith(".") for item in done.report["findings"])


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_suspects_are_contradicted_and_come_surest_first(seed, classes):
    draws = np.random.default_rng(seed)
    probabilities = draws.dirichlet(np.full(classes, 0.3), 60)
    labels = draws.integers(0, classes, 60)
    found = find_suspects(probabilities, labels)
    assert (found.suggested != labels[found.numbers]).all()
    assert (found.likely >= 10 * found.given).all()
    assert (np.diff(found.given - found.likely) >= 0).all()


def test_a_recipe_is_undone_without_a_trace(place):
    body = csv_text([HEADER, *people()])
    plain = place.prepare({"people.csv": body}, target="bought")
    index = str(plain.output / "index.json")
    step = {
        "id": "leave_out_1",
        "step": "leave_out",
        "finding": "duplicates",
        "items": ["people.csv:2", "people.csv:3"],
    }
    recipe = {"steps": [step], "without": [], "split_source": plain.report["split_source"]}
    less = place.prepare({"people.csv": body}, target="bought", recipe=recipe, first_index=index)
    assert less.report["items"] == plain.report["items"] - 2
    assert [(each["id"], each["touched"]) for each in less.report["steps"]][-1] == ("leave_out_1", 2)
    kept = dict(zip(lines_of(less.index), less.index["split"], strict=True))
    before = dict(zip(lines_of(plain.index), plain.index["split"], strict=True))
    assert kept.items() <= before.items()
    undone = recipe | {"without": ["leave_out_1"]}
    again = place.prepare({"people.csv": body}, target="bought", recipe=undone, first_index=index)
    assert again.report["content_hash"] == plain.report["content_hash"]
    assert not again.report["steps"][-1]["is_on"]


def lines_of(index: dict) -> list[int]:
    return [line for each in index["places"] for line in each["lines"]]


def test_words_for_not_known_stay_words_where_that_step_is_undone(place):
    rows = [["NA" if number % 3 else "DE", number % 7, number % 2] for number in range(60)]
    body = csv_text([["country", "visits", "bought"], *rows])
    usual = place.prepare({"n.csv": body}, target="bought")
    kept = place.prepare({"n.csv": body}, target="bought", recipe={"without": ["missing_words"]})
    assert {column["name"]: column["missing"] for column in usual.report["columns"]}["country"] == 40
    assert {column["name"]: column["missing"] for column in kept.report["columns"]}["country"] == 0
    with open(kept.output / "data.csv", newline="") as file:
        assert {row["country"] for row in csv.DictReader(file)} == {"NA", "DE"}
    step = next(each for each in usual.report["steps"] if each["id"] == "missing_words")
    assert (step["touched"], step["example"], step["is_optional"]) == (40, {"before": "NA", "after": ""}, True)


def test_values_of_rows_that_are_outliers_of_several_columns_stand_under_their_own_names(place):
    draws = np.random.default_rng(0)
    rows = [
        [f"{a:.3f}", f"{b:.3f}", n % 3, "yes" if n % 2 else "no"]
        for n, (a, b) in enumerate(draws.normal(size=(200, 2)))
    ]
    rows += [[999_999, 0, 1, "yes"], [0, 888_888, 2, "no"]]
    found = finding(place.prepare({"t.csv": csv_text([["a", "b", "c", "bought"], *rows])}), "outliers")
    assert [item["row"] for item in found["items"]] == [
        [["a", "999999"], ["b", "0"], ["c", "1"], ["bought", "yes"]],
        [["a", "0"], ["b", "888888"], ["c", "2"], ["bought", "no"]],
    ]
