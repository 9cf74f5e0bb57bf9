"""Trees as arrays answer as scikit-learn does, also when they are compressed."""

import time

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from workers import trees
from workers.contract import ProgramFailure
from workers.training.stopping import Stopped
from workers.training.tables.boosting import Booster, BoostingSettings, Sample

SETTINGS = BoostingSettings(40, 0.1, 15, 5, 1.0, max_features=0.7)


def nothing(number: int, train_loss: float, holdout_loss: float) -> None:
    """A report that nobody reads."""


def with_gaps_and_categories(rows: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Some numbers made NaN, and two columns of category codes at the end, of which code 1 means missing."""
    random = np.random.default_rng(1)
    numeric = rows.copy()
    numeric[random.random(rows.shape) < 0.1] = np.nan
    ranks = np.argsort(np.argsort(rows[:, :2], axis=0), axis=0) * [5, 30] // len(rows)
    shuffled = np.stack([random.permutation(5)[ranks[:, 0]], random.permutation(30)[ranks[:, 1]]], axis=1)
    return np.concatenate([numeric, shuffled + 2], axis=1).astype(np.float32), [8, 33]


def problem(name: str) -> tuple[np.ndarray, np.ndarray, list[int], int]:
    """Matrix, targets, code counts, number of classes (0: regression)."""
    bunch = {"binary": load_breast_cancer, "multiclass": load_wine, "regression": load_diabetes}[name]()
    matrix, code_counts = with_gaps_and_categories(bunch.data)
    if name == "regression":
        return matrix, (bunch.target - bunch.target.mean()) / bunch.target.std(), code_counts, 0
    return matrix, bunch.target, code_counts, len(bunch.target_names)


def grow(name: str, settings: BoostingSettings = SETTINGS) -> tuple[Booster, np.ndarray]:
    matrix, targets, code_counts, classes = problem(name)
    booster = Booster(settings, matrix.shape[1] - 2, code_counts, classes)
    train, holdout = np.arange(len(matrix)) % 5 > 0, np.arange(len(matrix)) % 5 == 0
    booster.grow(Sample(matrix[train], targets[train]), Sample(matrix[holdout], targets[holdout]), nothing)
    return booster, matrix


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def grown(request) -> tuple[Booster, np.ndarray]:
    return grow(request.param)


def answers_of_sklearn(booster: Booster, matrix: np.ndarray) -> np.ndarray:
    every = booster.estimator._predictors
    booster.estimator._predictors = every[: booster.best_round]
    try:
        return booster.estimator.predict_proba(matrix) if booster.classes else booster.estimator.predict(matrix)
    finally:
        booster.estimator._predictors = every


def answers(arrays: trees.Arrays, matrix: np.ndarray, classes: int) -> np.ndarray:
    scores = trees.predict(arrays, matrix)
    return trees.to_probabilities(scores) if classes else scores[:, 0]


def test_the_arrays_answer_as_sklearn_does(grown):
    booster, matrix = grown
    arrays = booster.arrays(matrix)
    assert arrays["category_sets"].any() and (arrays["missing_left"] > 0).any()
    found = answers(arrays, matrix, booster.classes)
    np.testing.assert_allclose(found, answers_of_sklearn(booster, matrix), atol=1e-5)
    assert found.std() > 0.1


def test_gaps_and_categories_unseen_in_training_go_where_sklearn_sends_them(grown):
    booster, matrix = grown
    odd = np.repeat(matrix[:50], 3, axis=0)
    odd[0::3, :-2] = np.nan
    odd[1::3, -2:] = [0, 1]  # codes that no training row has
    odd[2::3, -1] = 32
    np.testing.assert_allclose(
        answers(booster.arrays(matrix), odd, booster.classes), answers_of_sklearn(booster, odd), atol=1e-5
    )


def test_one_row_is_answered_as_among_many(grown):
    booster, matrix = grown
    ensemble = trees.Ensemble.from_arrays(booster.arrays(matrix))
    alone = np.concatenate([ensemble.predict(matrix[number : number + 1]) for number in range(40)])
    np.testing.assert_allclose(alone, ensemble.predict(matrix[:40]), atol=1e-9)
    assert ensemble.predict(matrix[:0]).shape == (0, ensemble.output_count)


def test_quantising_keeps_every_split_and_nearly_every_answer(grown):
    booster, matrix = grown
    plain = booster.arrays(matrix)
    restored = trees.restore(trees.quantise(plain))
    for key in ("feature", "right", "missing_left", "tree_start", "baseline"):
        np.testing.assert_array_equal(restored[key], plain[key])
    by_number = (plain["feature"] >= 0) & (plain["categorical"][plain["feature"]] == 0)
    np.testing.assert_array_equal(restored["threshold"][by_number], plain["threshold"][by_number])
    before, after = (answers(arrays, matrix, booster.classes) for arrays in (plain, trees.quantise(plain)))
    np.testing.assert_allclose(after, before, atol=0.02)


def test_a_quantised_file_is_a_quarter_of_the_plain_one_and_loads_the_same_way(grown, tmp_path):
    booster, matrix = grown
    plain = booster.arrays(matrix)
    trees.save(plain, tmp_path / "plain.safetensors")
    trees.save(trees.quantise(plain), tmp_path / "small.safetensors")
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("plain", "small")]
    assert sizes[1] < sizes[0] / 4
    loaded = trees.load(tmp_path / "small.safetensors")
    np.testing.assert_array_equal(loaded.predict(matrix), trees.predict(trees.quantise(plain), matrix))


def test_an_average_of_ensembles_scores_their_mean():
    first, matrix = grow("multiclass")
    second, _ = grow("multiclass", BoostingSettings(10, 0.3, 7, 5, 1.0, seed=3))
    members = [booster.arrays(matrix) for booster in (first, second)]
    mean = np.mean([trees.predict(member, matrix) for member in members], axis=0)
    np.testing.assert_allclose(trees.predict(trees.average(members), matrix), mean, atol=1e-5)
    np.testing.assert_allclose(trees.predict(trees.quantise(trees.average(members)), matrix), mean, atol=0.05)


def test_boosting_interrupted_after_any_round_ends_in_the_same_trees():
    whole, matrix = grow("binary")
    _, targets, code_counts, classes = problem("binary")
    train, holdout = np.arange(len(matrix)) % 5 > 0, np.arange(len(matrix)) % 5 == 0
    samples = Sample(matrix[train], targets[train]), Sample(matrix[holdout], targets[holdout])

    def interrupt(number: int, train_loss: float, holdout_loss: float) -> None:
        if number == 13:
            raise Stopped

    interrupted = Booster(SETTINGS, matrix.shape[1] - 2, code_counts, classes)
    with pytest.raises(Stopped):
        interrupted.grow(*samples, interrupt)
    resumed = Booster(SETTINGS, matrix.shape[1] - 2, code_counts, classes)
    resumed.restore(*interrupted.state())
    resumed.grow(*samples, nothing)
    assert interrupted.rounds == 13 and resumed.history == whole.history
    for key, value in whole.arrays(matrix).items():
        np.testing.assert_array_equal(resumed.arrays(matrix)[key], value)


def test_patience_ends_boosting_and_the_best_round_is_kept():
    booster, _ = grow("binary", BoostingSettings(500, 0.5, 31, 2, 0.0, patience=5))
    losses = [loss for _, _, loss in booster.history]
    assert booster.rounds == booster.best_round + 5 < 500
    assert losses[booster.best_round - 1] == min(losses)


def test_three_hundred_trees_answer_one_row_in_less_than_a_millisecond():
    random = np.random.default_rng(0)
    matrix = random.normal(size=(3000, 14)).astype(np.float32)
    targets = (matrix[:, 0] * matrix[:, 1] + random.normal(size=3000) > 0).astype(int)
    booster = Booster(BoostingSettings(300, 0.01, 31, 5, 0.0), 14, [], 2)
    booster.grow(Sample(matrix, targets), Sample(matrix[:200], targets[:200]), nothing)
    ensemble = trees.Ensemble.from_arrays(booster.arrays(matrix[:200]))
    assert ensemble.tree_count > 250
    seconds = []
    for number in range(300):
        started = time.perf_counter()
        ensemble.predict(matrix[number : number + 1])
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.001


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: arrays.pop("right"),
        lambda arrays: arrays.update(right=arrays["right"] * 1000),
        lambda arrays: arrays.update(right=arrays["right"] * -1),
        lambda arrays: arrays.update(feature=arrays["feature"] + 100),
        lambda arrays: arrays.update(value=arrays["value"][:-1]),
        lambda arrays: arrays.update(tree_start=arrays["tree_start"] + 10**6),
    ],
)
def test_damaged_arrays_are_refused_before_they_answer(damage):
    booster, matrix = grow("binary", BoostingSettings(3, 0.1, 7, 5, 1.0))
    arrays = booster.arrays(matrix)
    damage(arrays)
    with pytest.raises(ProgramFailure) as failure:
        trees.Ensemble.from_arrays(arrays)
    assert failure.value.code == "damaged_model"
