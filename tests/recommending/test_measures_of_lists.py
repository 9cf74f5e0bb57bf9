"""How lists of recommendations are measured, against numbers worked out by hand, and rules that always hold."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.interactions import split_interactions
from workers.recommending import Factors, ItemWeights, Popularity, Ratings, TwoTower, best_places
from workers.training.recommendation.least_squares import solve_parts
from workers.training.recommendation.ranking import ranking_metrics
from workers.training.recommendation.sparse import Sparse


def relevant(rows: list[list[int]], items: int) -> Sparse:
    users = np.array([user for user, row in enumerate(rows) for _ in row], dtype=np.int64)
    columns = np.array([item for row in rows for item in row], dtype=np.int64)
    return Sparse.of(users, columns, np.ones(len(users)), (len(rows), items))


def test_figures_are_those_that_one_works_out_by_hand() -> None:
    lists = np.array([[0, 1, 2], [3, 4, 0], [1, -1, -1]])
    found = ranking_metrics(lists, relevant([[1], [3, 0], [5]], 8))
    first = 1 / math.log2(3)
    second = (1 / math.log2(2) + 1 / math.log2(4)) / (1 / math.log2(2) + 1 / math.log2(3))
    assert found["ndcg_at_10"] == pytest.approx((first + second + 0) / 3)
    assert found["recall_at_10"] == pytest.approx((1 + 1 + 0) / 3)
    assert found["hit_rate_at_10"] == pytest.approx(2 / 3)
    assert found["coverage_at_10"] == pytest.approx(5 / 8)


def test_more_relevant_items_than_places_can_still_be_ranked_perfectly() -> None:
    found = ranking_metrics(np.array([[4, 2]]), relevant([[0, 2, 4, 6]], 7))
    assert found["ndcg_at_10"] == pytest.approx(1.0)
    assert found["recall_at_10"] == pytest.approx(0.5)


scores = st.lists(st.integers(-5, 5), min_size=1, max_size=20)


@given(scores=scores, data=st.data())
def test_what_was_seen_is_never_recommended_and_all_else_is_ranked_once(scores: list[int], data: st.DataObject) -> None:
    seen = data.draw(st.sets(st.integers(0, len(scores) - 1)))
    values = np.array(scores, dtype=np.float32)
    found = best_places(values, len(scores), np.array(sorted(seen), dtype=np.int64)).tolist()
    assert sorted(found) == sorted(set(range(len(scores))) - seen)
    assert [values[place] for place in found] == sorted((values[place] for place in found), reverse=True)
    for most in range(len(scores) + 1):
        assert best_places(values, most, np.array(sorted(seen), dtype=np.int64)).tolist() == found[:most]


people = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 9)), max_size=40)


@given(rows=people, is_timed=st.booleans(), seed=st.integers(0, 3), share=st.sampled_from([0.2, 0.9]))
def test_a_split_leaves_everybody_something_to_learn_from_and_tests_on_what_came_last(
    rows: list[tuple[int, int, int]], is_timed: bool, seed: int, share: float
) -> None:
    users, items = ([str(row[place]) for row in rows] for place in (0, 1))
    moments = np.array([float(row[2]) for row in rows]) if is_timed else None
    found = split_interactions(users, items, moments, {"val": share, "test": share}, seed)
    sides: dict[tuple[str, str], set[str]] = {}
    for user, item, split in zip(users, items, found, strict=True):
        sides.setdefault((user, item), set()).add(str(split))
    assert all(len(parts) == 1 for parts in sides.values())
    order = {"train": 0, "val": 1, "test": 2}
    for user in set(users):
        mine = {item: next(iter(parts)) for (other, item), parts in sides.items() if other == user}
        assert "train" in mine.values()
        if len(mine) >= 3 and share == 0.2:
            assert set(mine.values()) == {"train", "val", "test"}
        if is_timed:
            first = {item: min(m for u, i, m in rows if (str(u), str(i)) == (user, item)) for item in mine}
            ranked = sorted(mine, key=first.__getitem__)
            for earlier, later in zip(ranked, ranked[1:], strict=False):
                if first[earlier] < first[later]:
                    assert order[mine[earlier]] <= order[mine[later]]


@given(rows=people, seed=st.integers(0, 3), data=st.data())
def test_a_split_does_not_depend_on_the_order_of_the_rows(
    rows: list[tuple[int, int, int]], seed: int, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows))

    def split(of: list[tuple[int, int, int]]) -> dict[tuple[int, int], str]:
        users, items = ([str(row[place]) for row in of] for place in (0, 1))
        found = split_interactions(users, items, np.array([float(row[2]) for row in of]), {"test": 0.3}, seed)
        return {row[:2]: str(part) for row, part in zip(of, found, strict=True)}

    assert split(rows) == split(shuffled)


def test_rows_without_a_user_or_an_item_are_for_training_alone() -> None:
    found = split_interactions(["a"] * 4 + ["", "a"], ["1", "2", "3", "4", "5", ""], None, {"val": 0.2, "test": 0.2}, 0)
    assert found[4:].tolist() == ["train", "train"] and sorted(set(found[:4])) == ["test", "train", "val"]


def test_implicit_factors_of_a_user_solve_the_equation_of_their_source() -> None:
    """Hu, Koren, Volinsky 2008, with every item as a term of its own."""
    random = np.random.default_rng(1)
    items, history, weights = random.normal(size=(7, 3)).astype(np.float32), np.array([1, 4]), np.array([1.0, 2.5])
    model = Factors(items, items.T.astype(np.float64) @ items, 0.3, 0.02)
    left, right = np.eye(3) * 0.02 * (2 + 0.3 * 7), np.zeros(3)
    for item in range(7):
        left += 0.3 * np.outer(items[item], items[item])
    for item, weight in zip(history, weights, strict=True):
        left += weight * np.outer(items[item], items[item])
        right += weight * items[item]
    assert model.scores(history, weights) == pytest.approx(items @ np.linalg.solve(left, right), abs=1e-5)


def test_expected_ratings_stay_on_the_scale_and_nothing_known_gives_the_biases() -> None:
    model = Ratings(
        3.0, np.array([0.5, -4.0, 9.0], dtype=np.float32), np.zeros((3, 2), dtype=np.float32), 0.1, 1.0, 5.0
    )
    nothing = np.zeros(0, dtype=np.int64)
    assert model.scores(nothing, np.zeros(0, dtype=np.float32)).tolist() == [3.5, 1.0, 5.0]
    generous = model.scores(np.array([0]), np.array([5.0], dtype=np.float32))
    assert generous[0] == pytest.approx(3.5 + 1.5 / (1 + 5.0))  # one residual, pulled by the bias regularisation


def test_item_weights_add_up_the_rows_of_a_history() -> None:
    model = ItemWeights(np.array([0, 2, 3, 3]), np.array([1, 2, 0]), np.array([0.5, 0.25, 2.0], dtype=np.float32))
    assert model.scores(np.array([0, 1]), np.array([2.0, 1.0])).tolist() == [2.0, 1.0, 0.5]
    assert Popularity(np.array([3, 1])).scores(np.array([0]), np.array([1.0])).tolist() == [3.0, 1.0]


def test_two_towers_add_what_their_layer_makes_of_the_mean_of_a_history() -> None:
    items = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    hidden = (np.array([[1.0, -1.0], [0.0, 1.0]]), np.array([0.0, 0.5]))
    out = (np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0.0, -1.0]))
    model = TwoTower(items, np.array([0.0, 0.25, 0.5]), hidden, out)
    # The mean of 3 times the first and once the second is (0.75, 0.5), the units are 0.25 and 1.
    assert model.user_vector(np.array([0, 1]), np.array([3.0, 1.0])).tolist() == [0.75 + 0.5, 0.5 + 1 - 1]
    assert model.scores(np.array([0, 1]), np.array([3.0, 1.0])).tolist() == [1.25, 1.25, 2.25]
    nothing = model.user_vector(np.zeros(0, dtype=np.int64), np.zeros(0))
    assert nothing.tolist() == [0.0, -0.5]


def test_rows_of_all_lengths_are_solved_as_if_each_were_alone() -> None:
    random = np.random.default_rng(0)
    taken = random.random((30, 12)) < random.random((30, 1)) * 0.8
    rows, columns = np.nonzero(taken)
    values = random.normal(size=len(rows)).astype(np.float32)
    sparse = Sparse.of(rows, columns, values, (30, 12))
    fixed = torch.from_numpy(random.normal(size=(12, 4)).astype(np.float32))

    def pull(lengths: torch.Tensor) -> torch.Tensor:
        return (0.1 * lengths)[:, None].expand(-1, 4)

    found = solve_parts(sparse.parts(), fixed, 30, lambda part: (part.is_there, part.values), pull).numpy()
    for row in range(30):
        mine, given_ = sparse.row(row)
        chosen = fixed.numpy()[mine]
        alone = np.linalg.solve(chosen.T @ chosen + 0.1 * len(mine) * np.eye(4), chosen.T @ given_) if len(mine) else 0
        assert found[row] == pytest.approx(alone, abs=1e-4) if len(mine) else not found[row].any()
    assert sum(len(part.rows) for part in sparse.parts()) == (sparse.lengths > 0).sum()
