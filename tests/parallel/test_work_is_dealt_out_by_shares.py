"""Who takes which rows of a batch, and which examples of a data set: all of them, each once, in proportion."""

import numpy as np
import pytest

from workers.parallel.shares import deal_by_group, deal_stratified, divide, even_shares, micro_batches

SHARES = (0.5, 0.3, 0.2)


@pytest.mark.parametrize("count", [1, 7, 16, 61])
@pytest.mark.parametrize("pieces", [1, 3, 8])
def test_micro_batches_cover_a_batch_and_are_nearly_even(count: int, pieces: int) -> None:
    parts = micro_batches(count, pieces)
    assert [row for start, stop in parts for row in range(start, stop)] == list(range(count))
    sizes = [stop - start for start, stop in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1 <= sizes[-1]


@pytest.mark.parametrize("count", [1, 2, 10, 101])
def test_rows_are_divided_in_proportion(count: int) -> None:
    parts = divide(count, SHARES)
    assert [row for start, stop in parts for row in range(start, stop)] == list(range(count))
    assert all(abs(stop - start - share * count) <= 1 for (start, stop), share in zip(parts, SHARES, strict=True))


def test_every_share_has_its_part_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], (600, 301, 9))
    dealt = deal_stratified(labels, SHARES, seed=1)
    assert sorted(np.concatenate(dealt)) == list(range(len(labels)))
    for part, share in zip(dealt, SHARES, strict=True):
        counts = np.bincount(labels[part], minlength=3)
        assert np.abs(counts - share * np.array([600, 301, 9])).max() <= 1
        assert abs(len(part) - share * len(labels)) <= 3


def test_classes_too_small_to_be_shared_do_not_all_go_to_one() -> None:
    sizes = [len(part) for part in deal_stratified(np.arange(40), even_shares(4), seed=0)]
    assert sizes == [10, 10, 10, 10]


def test_the_seed_decides_who_gets_what() -> None:
    labels = np.zeros(50, dtype=int)
    first, again, other = (deal_stratified(labels, SHARES, seed)[0].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_what_comes_from_one_source_stays_together() -> None:
    groups = np.array(["a"] * 50 + ["b"] * 30 + ["c"] * 12 + ["d"] * 8)
    dealt = deal_by_group(groups, SHARES)
    assert [set(groups[part]) for part in dealt] == [{"a"}, {"b"}, {"c", "d"}]
    assert sorted(np.concatenate(dealt)) == list(range(100))
