"""The split is stratified, reproducible, independent of the order, and keeps copies together."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.contract import SPLITS, ProgramFailure
from workers.preprocessing.splitting import (
    assign_splits,
    carve_stratum,
    check_fractions,
    count_classes,
    split_of_stem,
)

FRACTIONS = (0.8, 0.1, 0.1)
ITEMS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 400)), min_size=3, max_size=300)
UNIQUE = st.dictionaries(st.integers(0, 10_000), st.sampled_from("abc"), min_size=3, max_size=300)
SHARES = st.tuples(st.floats(0.05, 0.9), st.floats(0, 0.5), st.floats(0, 0.5)).map(
    lambda parts: tuple(part / sum(parts) for part in parts)
)
GIVEN = st.sampled_from([None, "train", "val", "test"])


def split(items, given=None, fractions=FRACTIONS, seed=0):
    labels, keys = [label for label, _ in items], [str(key) for _, key in items]
    return assign_splits(labels, keys, given or [None] * len(items), fractions, seed)


@settings(max_examples=150)
@given(items=ITEMS, seed=st.integers(0, 5), chance=st.randoms(use_true_random=False))
def test_the_order_of_the_items_changes_nothing(items, seed, chance):
    first = sorted(zip(items, split(items, seed=seed).splits, strict=True))
    shuffled = list(items)
    chance.shuffle(shuffled)
    assert sorted(zip(shuffled, split(shuffled, seed=seed).splits, strict=True)) == first


@settings(max_examples=150)
@given(items=ITEMS, fractions=SHARES, seed=st.integers(0, 5))
def test_no_copy_crosses_splits(items, fractions, seed):
    homes = defaultdict(set)
    for (_, key), part in zip(items, split(items, fractions=fractions, seed=seed).splits, strict=True):
        homes[key].add(part)
    assert all(len(parts) == 1 for parts in homes.values())


@settings(max_examples=150)
@given(items=UNIQUE, fractions=SHARES)
def test_every_class_is_split_by_the_shares(items, fractions):
    pairs = [(label, key) for key, label in items.items()]
    counts = Counter(zip((label for label, _ in pairs), split(pairs, fractions=fractions).splits, strict=True))
    for label, total in Counter(label for label, _ in pairs).items():
        assert counts[label, "train"] >= 1
        for part, share in zip(SPLITS, fractions, strict=True):
            assert abs(counts[label, part] - share * total) <= 2
            if share == 0:
                assert counts[label, part] == 0


@settings(max_examples=100)
@given(items=UNIQUE)
def test_a_class_of_three_or_more_stands_in_every_split(items):
    pairs = [(label, key) for key, label in items.items()]
    counts = Counter(zip((label for label, _ in pairs), split(pairs).splits, strict=True))
    for label, total in Counter(label for label, _ in pairs).items():
        assert all(counts[label, part] >= 1 for part in SPLITS) or total < 3


@settings(max_examples=150)
@given(data=st.data(), items=ITEMS)
def test_what_the_user_put_into_val_or_test_stays_there(data, items):
    given_splits = data.draw(st.lists(GIVEN, min_size=len(items), max_size=len(items)))
    if {"train", None}.isdisjoint(given_splits):
        return
    result = split(items, given_splits)
    assert result.is_users == any(given_splits)
    for wish, part in zip(given_splits, result.splits, strict=True):
        if wish in ("val", "test"):
            assert part == wish
    for part in {"val", "test"} & set(given_splits):
        assert result.splits.count(part) == given_splits.count(part)


def test_another_seed_gives_another_split():
    items = [("a", key) for key in range(100)]
    assert split(items, seed=0).splits != split(items, seed=1).splits
    assert split(items, seed=0).splits == split(items, seed=0).splits


def test_copies_that_are_more_than_a_share_still_leave_every_split_filled():
    groups = {"x": [0, 1, 2], "y": [3, 4, 5], "z": [6, 7, 8]}
    parts = carve_stratum(groups, {"val": 0.1, "test": 0.1}, 0)
    assert Counter(parts.values()) == {"val": 3, "test": 3}


def test_carving_only_what_is_missing_keeps_the_proportion():
    items = [("a", key) for key in range(110)]
    result = split(items, ["train"] * 90 + ["test"] * 20)
    assert Counter(result.splits) == {"train": 80, "val": 10, "test": 20}
    assert result.carved == ("val",)


def test_a_part_without_a_split_counts_as_train():
    result = split([("a", key) for key in range(30)], [None] * 20 + ["test"] * 10, (0.8, 0.0, 0.2))
    assert Counter(result.splits) == {"train": 20, "test": 10}


def test_no_training_part_is_refused():
    with pytest.raises(ProgramFailure) as caught:
        split([("a", 1), ("b", 2)], ["test", "val"])
    assert caught.value.code == "no_train_split"


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.1), (0.5, 0.1, 0.1), (0, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)]
)
def test_shares_that_do_not_add_up_are_refused(fractions):
    with pytest.raises(ProgramFailure) as caught:
        check_fractions(fractions)
    assert (caught.value.code, caught.value.blame) == ("bad_split_fractions", "settings")


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("train", "train"),
        ("mnist10k_train", "train"),
        ("x-Training", "train"),
        ("my.valid", "val"),
        ("dev", "val"),
        ("test_2024", "test"),
        ("pneumonia_xray_test", "test"),
        ("trains", None),
        ("latest", None),
        ("contest", None),
        ("data", None),
        ("testimony", None),
    ],
)
def test_a_split_is_read_from_a_files_name(stem, expected):
    assert split_of_stem(stem) == expected


def test_classes_are_counted_per_split():
    rows = count_classes(["b", "a", "b"], ["train", "test", "val"])
    assert rows == [
        {"name": "a", "count": 1, "train": 0, "val": 0, "test": 1},
        {"name": "b", "count": 2, "train": 1, "val": 1, "test": 0},
    ]
