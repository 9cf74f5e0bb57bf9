"""A search for smaller models: what it tries next, when it stops, and which it calls the best."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.compression.judging import Candidate, best_of, describe, front_of, lost_points
from workers.compression.recipes import check_recipe, name_of, resolve
from workers.compression.search import STILL, Search, key_of
from workers.contract import FAILED, IMAGE_CLASSIFICATION, NO_GAIN, OVER, TABULAR_CLASSIFICATION, WITHIN

LIMIT = 1.0
INT8 = check_recipe(IMAGE_CLASSIFICATION, [{"method": "quantise"}])
Loses = Callable[[Sequence[dict]], float]


def candidate(number: int, recipe: Sequence[dict], *, lost=0.0, size=4.0, speed=2.0, test=None) -> Candidate:
    figures = {
        "lost_validation": lost,
        "lost_points": max(lost, lost if test is None else test),
        "bytes": round(1_000_000 / size),
        "size_ratio": size,
        "speed_ratio": speed,
    }
    return Candidate(number, recipe, figures, LIMIT)


ORIGINAL = candidate(0, [], size=1.0, speed=1.0)


def channels_removed(recipe: Sequence[dict]) -> float:
    removed = {step["method"]: step for step in recipe}
    if "distil" in removed:
        return 1 - removed["distil"]["width"]
    return removed.get("prune_channels", {"amount": 0.0})["amount"]


def made_of(recipe: Sequence[dict], number: int, most: float) -> Candidate:
    """A model whose accuracy stays until more than `most` of the channels are gone, and that gets smaller all along."""
    amount = channels_removed(recipe)
    is_int8 = any(step.get("scheme") == "int8" for step in recipe)
    is_shared = any(step["method"] == "share" for step in recipe)
    lost = 0.1 if amount <= most else 3.0
    size = (4 if recipe else 1) / (1 - amount) ** 2 * (1.5 if is_shared else 1)
    return candidate(number, recipe, lost=lost, size=size, speed=(2 if is_int8 else 1) / (1 - amount))


def search_all(search: Search, make: Callable[[Sequence[dict], int], Candidate]) -> tuple[list[Candidate], str]:
    tried = [ORIGINAL]
    while True:
        recipe, why = search.next(tried, seconds=0.0)
        if recipe is None:
            return tried, why
        assert recipe == check_recipe(search.task, recipe), "only complete recipes are tried"
        tried.append(make(recipe, len(tried)))


def a_search(task=IMAGE_CLASSIFICATION, *, is_tunable=True, epoch_seconds=1.0, has_simpler=False, **values) -> Search:
    return Search(task, resolve(task, {"limit_points": LIMIT, **values}), is_tunable, epoch_seconds, has_simpler)


@settings(max_examples=60)
@given(
    most=st.floats(0, 1),
    trials=st.integers(1, 30),
    favour=st.sampled_from(["size", "latency", "both"]),
    task=st.sampled_from([IMAGE_CLASSIFICATION, TABULAR_CLASSIFICATION]),
)
def test_it_ends_within_its_trials_and_tries_nothing_twice(most, trials, favour, task):
    search = a_search(task, is_tunable=task == IMAGE_CLASSIFICATION, trials=trials, favour=favour)
    tried, why = search_all(search, lambda recipe, number: made_of(recipe, number, most))
    assert len(tried) - 1 <= trials
    assert len({key_of(one.recipe) for one in tried}) == len(tried)
    assert why.endswith(".")


@pytest.mark.parametrize("most", [0.0, 0.3, 0.55, 0.62, 0.75, 0.86, 0.95])
def test_it_finds_about_as_many_channels_as_may_go(most):
    tried, _why = search_all(a_search(trials=20), lambda recipe, number: made_of(recipe, number, most))
    gone = [channels_removed(one.recipe) for one in tried if one.is_within]
    assert max(gone) <= most
    assert max(gone) >= min(most - 0.26, 0.9)
    best = best_of(tried, "both")
    assert best is not None and best.is_within


@settings(max_examples=30)
@given(most=st.floats(0, 1), cut=st.integers(1, 12))
def test_interrupted_anywhere_it_goes_on_as_it_would_have(most, cut):
    search = a_search(trials=20)
    tried, _why = search_all(search, lambda recipe, number: made_of(recipe, number, most))
    known = tried[: cut + 1]
    if len(known) < len(tried):
        assert search.next(known, seconds=0.0)[0] == tried[len(known)].recipe


def test_it_goes_by_validation_and_not_by_the_test_split():
    search = a_search(trials=20)
    honest, _ = search_all(search, lambda recipe, number: made_of(recipe, number, 0.6))
    unlucky, _ = search_all(
        search,
        lambda recipe, number: Candidate(
            number, recipe, {**made_of(recipe, number, 0.6).figures, "lost_points": 9.0}, LIMIT
        ),
    )
    tuned = [
        [one.recipe for one in tried if one.recipe and "share" not in name_of(one.recipe)]
        for tried in (honest, unlucky)
    ]
    assert tuned[0][:5] == tuned[1][:5]
    assert best_of(unlucky, "both") is None, "what fails on the test split is not chosen all the same"


def test_it_stops_when_the_time_is_over_and_says_so():
    recipe, why = a_search(seconds=60).next([ORIGINAL], seconds=61)
    assert recipe is None and "60 seconds" in why


def test_it_stops_when_the_front_no_longer_moves():
    tried = [ORIGINAL, candidate(1, INT8, lost=0.0, size=30, speed=30)]
    search = a_search(trials=30)
    while (found := search.next(tried, seconds=0.0))[0] is not None:
        tried.append(candidate(len(tried), found[0], lost=0.9, size=2, speed=2))
    assert len(tried) == 2 + STILL
    assert "brought nothing" in found[1]


def test_little_time_means_few_epochs_of_tuning_and_not_few_candidates():
    quick, slow = a_search(seconds=600, epoch_seconds=1.0), a_search(seconds=600, epoch_seconds=30.0)
    assert quick.epochs > slow.epochs >= 2


def test_recipes_that_were_given_are_tried_in_their_order_and_no_others():
    recipes = [[{"method": "quantise", "scheme": "fp16"}], INT8]
    tried, why = search_all(a_search(recipes=recipes), lambda recipe, number: candidate(number, recipe))
    assert [one.recipe[0]["scheme"] for one in tried[1:]] == ["fp16", "int8"]
    assert why == "All recipes were tried."


def test_a_model_without_weights_to_tune_is_only_quantised():
    tried, _why = search_all(a_search(is_tunable=False), lambda recipe, number: candidate(number, recipe))
    assert {step["method"] for one in tried for step in one.recipe} <= {"quantise", "share"}


def test_a_model_whose_channels_cannot_be_removed_is_asked_for_that_once():
    def made(recipe: Sequence[dict], number: int) -> Candidate:
        is_pruned = any(step["method"] == "prune_channels" for step in recipe)
        return Candidate(number, recipe, {}, LIMIT, reason="It cannot be.") if is_pruned else candidate(number, recipe)

    tried, _why = search_all(a_search(trials=30), made)
    assert sum(step["method"] == "prune_channels" for one in tried for step in one.recipe) == 1
    assert any(step["method"] == "distil" for one in tried for step in one.recipe)


@pytest.mark.parametrize(("enough", "widths"), [(0.2, [1.0, 0.5, 0.25]), (0.8, [1.0, 0.5]), (2.0, [1.0])])
def test_a_faster_kind_of_network_is_tried_ever_narrower_as_long_as_it_is_good_enough(enough, widths):
    def made(recipe: Sequence[dict], number: int) -> Candidate:
        width = next((step["width"] for step in recipe if step.get("kind") == "simplest"), 3.0)
        return candidate(number, recipe, lost=0.1 if width >= enough else 3.0, size=4 + number, speed=2 + number)

    tried, _why = search_all(a_search(trials=30, has_simpler=True), made)
    distilled = {one.recipe[0]["width"]: None for one in tried[1:] if one.recipe[0].get("kind") == "simplest"}
    assert list(distilled) == widths


# Which is best


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"lost": 0.5}, WITHIN),
        ({"lost": -0.5}, WITHIN),
        ({"lost": 1.0}, WITHIN),
        ({"lost": 1.01}, OVER),
        ({"lost": 0.2, "test": 1.5}, OVER),
        ({"size": 1.02, "speed": 1.02}, NO_GAIN),
        ({"size": 4.0, "speed": 0.5}, NO_GAIN),
        ({"size": 1.0, "speed": 1.5}, WITHIN),
        ({"size": 4.0, "speed": 0.9}, WITHIN),
    ],
)
def test_the_verdict_is_honest(facts, verdict):
    assert candidate(1, INT8, **facts).verdict == verdict


def test_what_could_not_be_made_has_failed_and_is_never_the_best():
    failed = Candidate(1, INT8, {}, LIMIT, reason="No layer can be quantised.")
    assert failed.verdict == FAILED
    assert failed.as_event()["reason"] == "No layer can be quantised."
    assert best_of([ORIGINAL, failed], "both") is None
    assert front_of([ORIGINAL, failed]) == [0]


def test_the_favour_decides_among_those_within_the_limit():
    small = candidate(1, INT8, size=20, speed=1.1)
    fast = candidate(2, INT8, size=3, speed=6)
    round_ = candidate(3, INT8, size=9, speed=4)
    bold = candidate(4, INT8, size=90, speed=90, lost=5)
    tried = [ORIGINAL, small, fast, round_, bold]
    assert [best_of(tried, favour).number for favour in ("size", "latency", "both")] == [1, 2, 3]


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.5, 50), st.floats(0.5, 50)), max_size=8))
def test_nobody_on_the_front_is_beaten_and_everybody_else_is(points):
    tried = [ORIGINAL, *(candidate(n, INT8, lost=a, size=b, speed=c) for n, (a, b, c) in enumerate(points, 1))]
    front = front_of(tried)
    assert front

    def costs(one: Candidate) -> tuple:
        figures = one.figures
        return one.lost, figures["bytes"], -figures["speed_ratio"]

    for one in tried:
        is_beaten_by_far = any(
            all(b < a for a, b in zip(costs(one), costs(other), strict=True))
            and other.figures["speed_ratio"] > 1.1 * one.figures["speed_ratio"]
            for other in tried
        )
        assert not (is_beaten_by_far and one.number in front)


def test_what_was_lost_is_counted_in_points_or_per_cent_of_the_error():
    assert lost_points({"accuracy": 0.95}, {"accuracy": 0.94}) == pytest.approx(1.0)
    assert lost_points({"rmse": 100.0}, {"rmse": 103.0}) == pytest.approx(3.0)
    assert lost_points({"rmse": 0.0}, {"rmse": 0.0}) == 0.0


def test_it_is_told_in_sentences():
    before = {"metrics": {"accuracy": 0.95}}
    after = {"metrics": {"accuracy": 0.945}, "size_ratio": 12.34, "speed_ratio": 0.99}
    assert describe(before, after) == [
        "Accuracy went from 95.0 % to 94.5 %.",
        "The files are 12 times smaller.",
        "The model is as fast as before.",
    ]
