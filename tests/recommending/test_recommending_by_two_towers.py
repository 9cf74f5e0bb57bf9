"""Somebody chooses the two towers: what they learn, that they are served as trained, and when they are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.recommending.making import RATED, TAKEN, events, make_spec, ratings, train_here, write_data
from tests.training.here import read
from workers.arrays import read_arrays
from workers.contract import EventWriter, ProgramFailure, TrainSpec, read_spec
from workers.inference.answers import answer
from workers.inference.framing import JSON, Question
from workers.inference.predictor import load_predictor
from workers.training.recommendation import train, two_tower
from workers.training.recommendation.sparse import Sparse
from workers.training.stopping import Stop, Stopped

pytestmark = pytest.mark.xdist_group("two_towers")


def odd_tastes(users: int = 300, seed: int = 0) -> list[tuple[str, ...]]:
    """TAKEN rows: everybody is of one of two kinds of `a` and of `b`, and of the first of `x` where these are alike. So
    neither `a` nor `b` alone says anything of `x`."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        a, b = random.integers(2, size=2)
        kinds = (f"a{a}", f"b{b}", f"x{a ^ b}")
        own = [f"{kind}-{item}" for kind in kinds for item in random.choice(12, 4, replace=False)]
        rows += [(f"u{user}", item, str(day)) for day, item in enumerate(random.permutation(own))]
    return rows


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("odd"), TAKEN, odd_tastes())


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory, odd: Path) -> Path:
    return train_here(tmp_path_factory.mktemp("towers"), odd, model="two_tower", factors=16)


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("rated"), RATED, ratings())


def likes_of_kind(output: Path, items: list[str], kinds: tuple[str, str]) -> tuple[float, float]:
    """The mean scores of all items of each of two kinds, for somebody new with these."""
    predictor = load_predictor(output / "model", 1)
    asked = json.dumps({"items": items, "k": 1000, "exclude_seen": False}).encode()
    (frame,) = answer(predictor, [Question(JSON, asked)])
    scores = {each["item"]: each["score"] for each in json.loads(frame.body)["items"]}
    first, second = ([scores[item] for item in scores if item.startswith(kind)] for kind in kinds)
    return sum(first) / len(first), sum(second) / len(second)


def test_what_follows_from_two_tastes_together_is_learned_where_sums_of_tastes_cannot(
    odd: Path, towers: Path, tmp_path: Path
) -> None:
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        items = [f"a{a}-{number}" for number in range(3)] + [f"b{b}-{number}" for number in range(3)]
        right, wrong = likes_of_kind(towers, items, (f"x{a ^ b}", f"x{1 - (a ^ b)}"))
        assert right > wrong
    found = read(towers / "result.json")
    linear = read(train_here(tmp_path, odd, model="item_weights") / "result.json")
    test = found["metrics"]["test"]["ndcg_at_10"]
    assert test > 1.1 * linear["metrics"]["test"]["ndcg_at_10"]
    assert test > 1.5 * found["baseline"]["test"]["ndcg_at_10"]


def test_the_choice_is_followed_and_compared_with_popularity_alone(towers: Path) -> None:
    result = read(towers / "result.json")
    assert result["architecture"] == "two_tower"
    assert {each["name"] for each in result["leaderboard"]} == {"two_tower", "popularity"}
    assert result["epochs"] <= len(result["history"]) <= 6


def test_a_model_holds_nothing_of_how_it_was_trained_and_needs_no_torch(towers: Path) -> None:
    arrays = read_arrays(towers / "model" / "model.safetensors")
    ranking = {name.removeprefix("ranking.") for name in arrays if name.startswith("ranking.")}
    layers = {f"{layer}.{kind}" for layer in ("hidden", "out") for kind in ("weight", "bias")}
    assert ranking == {"embeddings", "biases"} | layers
    assert read(towers / "model" / "meta.json")["runtime"] == "numpy"


def test_same_seed_same_numbers(odd: Path, tmp_path: Path) -> None:
    outputs = [train_here(tmp_path / str(number), odd, model="two_tower", epochs=1, seed=seed)
               for number, seed in enumerate((1, 1, 2))]  # fmt: skip
    contents = [(output / "model" / "model.safetensors").read_bytes() for output in outputs]
    assert contents[0] == contents[1] != contents[2]


class StopAtOnce(Stop):
    """Asks to stop when it is looked at for the second time, before the first epoch of the towers."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def check(self) -> None:
        self.looks += 1
        self.requested = self.looks >= 2


def test_a_training_that_was_stopped_ends_as_if_nothing_had_happened(odd: Path, tmp_path: Path) -> None:
    settings = {"model": "two_tower", "epochs": 2}
    with pytest.raises(Stopped):
        train_here(tmp_path / "stopped", odd, StopAtOnce(), **settings)
    spec = read_spec(TrainSpec, make_spec(tmp_path / "stopped", odd, resume=True, **settings))
    train(spec, EventWriter(tmp_path / "stopped" / "events.jsonl"), Stop())
    train_here(tmp_path / "whole", odd, **settings)
    stopped, whole = (tmp_path / name / "output" for name in ("stopped", "whole"))
    assert read(stopped / "result.json")["history"] == read(whole / "result.json")["history"]
    files = [output / "model" / "model.safetensors" for output in (stopped, whole)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_ratings_above_average_count_as_taken_and_expected_ratings_stand_beside(rated: Path, tmp_path: Path) -> None:
    """That the export scores as training does is checked at the end of every training."""
    output = train_here(tmp_path, rated, model="two_tower", epochs=2)
    result = read(output / "result.json")
    assert result["architecture"] == "two_tower" and result["metrics"]["test"]["rmse"] > 0
    predictor = load_predictor(output / "model", 1)
    found = predictor.outcome(predictor.predict([{"items": {"m1": 5, "m2": 1}, "k": 3}])[0])
    assert [set(item) for item in found["items"]] == [{"item", "name", "score", "rating"}] * 3


@pytest.mark.parametrize(("header", "word"), [(TAKEN, "two items to train on"), (RATED, "two training items above")])
def test_it_is_refused_where_nobody_has_two_items_to_learn_from(
    tmp_path: Path, header: tuple[str, ...], word: str
) -> None:
    rows = [(f"u{user}", f"i{(user + item) % 7}", f"2024-01-0{item + 1}") for user in range(30) for item in range(3)]
    if header is RATED:
        rows = [(user, item, "", str(1 + number % 5), when[-1]) for number, (user, item, when) in enumerate(rows)]
    data = write_data(tmp_path / "data", header, rows)
    with pytest.raises(ProgramFailure) as caught:
        train_here(tmp_path / "work", data, model="two_tower")
    assert (caught.value.code, caught.value.field, caught.value.blame) == ("histories_too_short", "model", "settings")
    assert word in caught.value.message


def test_a_large_catalogue_is_learned_from_some_rivals_in_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if 20 items were many: what is drawn must be corrected for, else what most have would sink."""
    monkeypatch.setattr(two_tower, "LARGEST_WHOLE", 20)
    monkeypatch.setattr(two_tower, "DRAWN_RIVALS", 20)
    data = write_data(tmp_path / "data", TAKEN, events())
    result = read(train_here(tmp_path / "work", data, model="two_tower") / "result.json")
    test, baseline = result["metrics"]["test"], result["baseline"]["test"]
    assert test["ndcg_at_10"] > 1.5 * baseline["ndcg_at_10"]


def test_rivals_are_corrected_by_how_often_they_really_compete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_tower, "LARGEST_WHOLE", 5)
    monkeypatch.setattr(two_tower, "DRAWN_RIVALS", 3)
    torch.manual_seed(0)
    random, shares = np.random.default_rng(0), np.array([0.4, 0.3, 0.1, 0.1, 0.05, 0.05, 0.0, 0.0])
    seen, told = np.zeros(8), np.zeros(8)
    for _step in range(4000):
        rivals = two_tower.Rivals.of(random.choice(8, 4, p=shares), shares)
        seen[rivals.items] += 1
        told[rivals.items] = np.exp(rivals.log_chances)
    assert seen / 4000 == pytest.approx(told, abs=0.03)


def test_of_everybody_something_is_hidden_and_something_shown() -> None:
    torch.manual_seed(0)
    lengths = np.array([2, 3, 9, 2])
    rows = np.repeat(np.arange(4), lengths)
    taken = Sparse.of(rows, np.concatenate([np.arange(length) for length in lengths]), np.ones(16), (4, 9))
    for _draw in range(50):
        drawn = two_tower.Hidden.of(taken)
        assert drawn.shown.lengths.min() >= 1 and drawn.hidden.lengths.min() >= 1
        assert (drawn.shown.lengths + drawn.hidden.lengths).tolist() == lengths.tolist()
        cells = {(int(row), int(column)) for part in (drawn.shown, drawn.hidden)
                 for row, column in zip(part.row_of, part.columns, strict=True)}  # fmt: skip
        assert len(cells) == 16
