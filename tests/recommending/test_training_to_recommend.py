"""The training program on interactions: it beats what needs no learning, and goes on where it was stopped."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.recommending.making import QUICK, RATED, TAKEN, events, make_spec, ratings, train_here, write_data
from tests.training.here import read
from tests.training.images import events_of
from workers.arrays import read_arrays
from workers.contract import EventWriter, ProgramFailure, TrainSpec, read_spec
from workers.inference.predictor import load_predictor
from workers.training.recommendation import train
from workers.training.recommendation.data import read_interactions
from workers.training.stopping import Stop, Stopped


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("rated"), RATED, ratings())


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("taken"), TAKEN, events())


@pytest.mark.parametrize("model", ["factors", "item_weights", "two_tower"])
def test_tastes_of_groups_are_learned_and_popularity_is_beaten(taken: Path, tmp_path: Path, model: str) -> None:
    result = read(train_here(tmp_path, taken, model=model) / "result.json")
    assert result["architecture"].startswith(model)
    test, baseline = result["metrics"]["test"], result["baseline"]["test"]
    assert test["ndcg_at_10"] > 1.5 * baseline["ndcg_at_10"] and test["recall_at_10"] > 1.5 * baseline["recall_at_10"]
    assert test["coverage_at_10"] > baseline["coverage_at_10"]
    assert set(test) == set(baseline) == {"ndcg_at_10", "recall_at_10", "hit_rate_at_10", "coverage_at_10"}


def test_ratings_of_low_rank_are_expected_better_than_by_their_mean_and_biases(rated: Path, tmp_path: Path) -> None:
    result = read(train_here(tmp_path, rated) / "result.json")
    test, baseline = result["metrics"]["test"], result["baseline"]["test"]
    assert test["rmse"] < 0.6 * baseline["rmse"] and test["mae"] < 0.6 * baseline["mae"]
    assert test["ndcg_at_10"] > baseline["ndcg_at_10"]
    assert {item["metric"] for item in result["leaderboard"]} == {"ndcg_at_10", "rmse"}
    names = [item["name"] for item in result["leaderboard"]]
    assert "popularity" in names and "biases" in names


def test_where_nothing_can_be_learned_popularity_is_kept_and_said(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [(f"u{user}", f"i{item}", str(number)) for user in range(40)
            for number, item in enumerate(np.minimum(random.geometric(0.12, 9), 40))]  # fmt: skip
    output = train_here(tmp_path / "w", write_data(tmp_path / "d", TAKEN, rows), model="popularity")
    assert read(output / "result.json")["architecture"] == "popularity"
    assert any("Nothing ranks better" in event.get("message", "") for event in events_of(tmp_path / "w"))


def test_the_same_seed_gives_the_same_model_and_another_seed_another(taken: Path, tmp_path: Path) -> None:
    files = [
        (
            train_here(tmp_path / str(number), taken, model="factors", epochs=2, seed=seed)
            / "model"
            / "model.safetensors"
        )
        for number, seed in enumerate((1, 1, 2))
    ]
    contents = [file.read_bytes() for file in files]
    assert contents[0] == contents[1] != contents[2]


class StopAfter(Stop):
    """Asks to stop when it has been looked at so often."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def check(self) -> None:
        self.left -= 1
        self.requested = self.requested or self.left < 0
        # The checkpoint is written after the epoch, by the keeper, which raises Stopped.


@pytest.mark.parametrize("times", [1, 4, 9])
def test_a_training_that_was_stopped_ends_as_if_nothing_had_happened(rated: Path, tmp_path: Path, times: int) -> None:
    with pytest.raises(Stopped):
        train_here(tmp_path / "stopped", rated, StopAfter(times), model="factors")
    spec = read_spec(TrainSpec, make_spec(tmp_path / "stopped", rated, resume=True, model="factors"))
    train(spec, EventWriter(tmp_path / "stopped" / "events.jsonl"), Stop())
    train_here(tmp_path / "whole", rated, model="factors")
    stopped, whole = (read(tmp_path / name / "output" / "result.json") for name in ("stopped", "whole"))
    for name in ("metrics", "baseline", "leaderboard", "history"):
        assert stopped[name] == whole[name]
    files = [tmp_path / name / "output" / "model" / "model.safetensors" for name in ("stopped", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_item_of_the_test_is_never_known_in_training(rated: Path, tmp_path: Path) -> None:
    """Whatever the test ratings are, training finds the same."""
    rows = ratings()
    split = read(rated / "index.json")["split"]
    changed = [(*row[:3], "5.00", row[4]) if part == "test" else row for row, part in zip(rows, split, strict=True)]
    other = write_data(tmp_path / "data", RATED, changed)
    outputs = [train_here(tmp_path / name, data, epochs=2) for name, data in (("a", rated), ("b", other))]
    learned = [
        {name: array.tobytes() for name, array in read_arrays(output / "model" / "model.safetensors").items()
         if not name.startswith("history")}
        for output in outputs
    ]  # fmt: skip
    assert learned[0] == learned[1]
    results = [read(output / "result.json") for output in outputs]
    assert results[0]["metrics"]["val"] == results[1]["metrics"]["val"]
    assert results[0]["metrics"]["test"]["rmse"] != results[1]["metrics"]["test"]["rmse"]


def test_of_a_pair_that_is_in_training_and_test_training_alone_counts(tmp_path: Path) -> None:
    rows = [(f"u{user}", f"i{item}", str(item)) for user, item in itertools.product(range(5), range(6))]
    splits = ["train", "train", "train", "train", "val", "test"] * 5
    data = write_data(tmp_path, TAKEN, [*rows, ("u0", "i0", "99")], [*splits, "test"])
    found = read_interactions(read_spec(TrainSpec, make_spec(tmp_path / "w", data)), EventWriter(tmp_path / "e"))
    assert {name: len(part) for name, part in found.splits.items()} == {"train": 20, "val": 5, "test": 5}
    assert found.values.max() == 1  # the event of the test adds nothing to that of the training


def test_repeated_events_add_up_and_of_repeated_ratings_the_last_counts(tmp_path: Path) -> None:
    pairs = list(itertools.product(range(4), range(5)))
    splits = ["train", "train", "train", "val", "test"] * 4
    taken = write_data(tmp_path / "t", TAKEN, [(f"u{u}", f"i{i}", "1") for u, i in pairs] * 3, splits * 3)
    found = read_interactions(read_spec(TrainSpec, make_spec(tmp_path / "w", taken)), EventWriter(tmp_path / "e"))
    assert found.feedback == "events" and set(found.values.tolist()) == {3.0}
    rows = [(f"u{u}", f"m{i}", "", str(score), str(when)) for score, when in ((4, 30), (1, 20)) for u, i in pairs]
    rated = write_data(tmp_path / "r", RATED, [*rows, ("u0", "m0", "", "2", "40")], [*splits * 2, "train"])
    found = read_interactions(read_spec(TrainSpec, make_spec(tmp_path / "w", rated)), EventWriter(tmp_path / "e"))
    assert found.feedback == "ratings" and sorted(found.values.tolist()) == [2.0] + [4.0] * 19


def failure_of(work: Path, data: Path, **overrides: object) -> ProgramFailure:
    with pytest.raises(ProgramFailure) as caught:
        train_here(work, data, **overrides)
    return caught.value


def test_ratings_that_cannot_be_reckoned_with_are_left_out(tmp_path: Path) -> None:
    rows = [(user, item, title, odd, when) for (user, item, title, _rating, when), odd in
            zip(ratings()[:5], ("nan", "inf", "-inf", "1e300", "5 stars"), strict=True)]  # fmt: skip
    output = train_here(tmp_path / "work", write_data(tmp_path, RATED, [*rows, *ratings()[5:]]))
    result = read(output / "result.json")
    assert sum(result["interactions"].values()) == len(ratings()) - 5
    assert 0 < result["metrics"]["test"]["rmse"] < 5


def test_columns_are_chosen_by_name_or_by_hand_and_what_is_wrong_is_said(rated: Path, tmp_path: Path) -> None:
    failure = failure_of(tmp_path, rated, item_column="film")
    assert (failure.code, failure.field) == ("unknown_column", "item_column") and "movie_id" in failure.hint
    assert failure_of(tmp_path, rated, item_column="user_id").code == "same_column_twice"
    output = train_here(tmp_path / "events", rated, rating_column="-", time_column="-", model="item_weights")
    result = read(output / "result.json")
    assert (result["feedback"], result["validation"]) == ("events", "items of each user drawn at random")
    assert read(output / "model" / "meta.json")["input"]["columns_by_role"]["time"] is None


def test_too_little_data_is_refused_in_words(tmp_path: Path) -> None:
    one = write_data(tmp_path / "one", TAKEN, [("u0", f"i{number}", "1") for number in range(9)])
    assert failure_of(tmp_path, one).code == "too_few_users"
    single = write_data(tmp_path / "single", TAKEN, [(f"u{number}", f"i{number}", "1") for number in range(9)])
    assert failure_of(tmp_path, single).code == "nothing_to_judge"


def test_the_model_is_served_as_it_was_trained_and_loads_alone(rated: Path, tmp_path: Path) -> None:
    output = train_here(tmp_path, rated, epochs=2)
    predictor = load_predictor(output / "model", 1)
    answer = predictor.outcome(predictor.predict([predictor.sample])[0])
    assert len(answer["items"]) == 10 and answer["based_on"] == "history"
    assert all(item["name"].startswith("Film ") and "rating" in item for item in answer["items"])
    meta = read(output / "model" / "meta.json")
    assert meta["baseline"] == read(output / "result.json")["baseline"] and meta["runtime"] == "numpy"
    assert {path.suffix for path in (output / "model").iterdir()} == {".json", ".safetensors"}
    assert QUICK["factors"] == meta["hyperparameters"]["factors"]
