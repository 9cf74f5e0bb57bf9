"""Somebody uploads who took what: how the table is recognised and split, and what is said about it."""

import csv

import numpy as np
import pytest

from tests.preprocessing.uploads import Prepared, Workplace, csv_text
from tests.recommending.making import RATED, TAKEN, events, ratings
from workers.interactions import Roles, find_roles, read_moments
from workers.preprocessing.interaction_warnings import outside_scale, strange_times


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def said(done: Prepared, code: str) -> str:
    return next(item["message"] for item in done.report["findings"] if item["code"] == code)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return csv_text([header, *rows])


@pytest.mark.parametrize(
    ("header", "roles"),
    [
        (("userId", "movieId", "rating", "timestamp"), Roles("userId", "movieId", "rating", "timestamp")),
        (("user", "item"), Roles("user", "item")),
        (("Customer ID", "Product", "Stars", "Date"), Roles("Customer ID", "Product", "Stars", "Date")),
        (("reviewer_id", "asin", "title", "overall", "unix_review_time"),
         Roles("reviewer_id", "asin", "overall", "unix_review_time", "title")),
        (("listener", "track_id", "track_name", "listened_at"),
         Roles("listener", "track_id", None, "listened_at", "track_name")),
        (("user_id", "age", "city"), None),
        (("product", "price"), None),
        (("users_per_day", "item_count"), None),
    ],
)  # fmt: skip
def test_columns_are_known_by_their_names(header, roles):
    assert find_roles(header) == roles


def test_ratings_are_recognised_and_the_last_ones_of_each_user_are_for_the_test(place):
    done = place.prepare({"films.csv": table(RATED, ratings())})
    assert (done.report["kind"], done.report["task"], done.report["target"]) == ("table", "recommendation", "rating")
    assert done.index["interactions"] == Roles("user_id", "movie_id", "rating", "timestamp", "title").to_dict()
    facts = done.report["interactions"]
    assert (facts["users"], facts["items"], facts["pairs"]) == (60, 50, len(ratings()))
    assert facts["density"] == pytest.approx(len(ratings()) / 3000)
    with open(done.output / "data.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    newest: dict[str, dict[str, list[int]]] = {}
    for row, split in zip(rows, done.index["split"], strict=True):
        newest.setdefault(row["user_id"], {}).setdefault(split, []).append(int(row["timestamp"]))
    assert all(set(parts) == {"train", "val", "test"} for parts in newest.values())
    assert all(max(parts["train"]) < min(parts["val"]) <= max(parts["val"]) < min(parts["test"])
               for parts in newest.values())  # fmt: skip
    assert done.report["classes"] == [] and done.warnings == set()


def test_events_are_recognised_without_ratings(place):
    done = place.prepare({"taken.csv": table(TAKEN, events())})
    assert (done.report["task"], done.report["target"]) == ("recommendation", "item")
    assert done.report["interactions"]["rating"] is None


def test_the_users_own_split_is_kept_and_what_it_lacks_is_taken_out_of_training(place):
    rows = events()
    done = place.prepare({"train.csv": table(TAKEN, rows[:900]), "test.csv": table(TAKEN, [*rows[900:], rows[0]])})
    assert done.report["split_source"] == done.index["split_source"] == "user"
    assert done.report["splits"]["test"] == len(rows) - 900 + 1 and done.report["splits"]["val"] > 0
    assert "1. They count in the first" in said(done, "interactions_across_splits")
    assert "val_carved" in done.warnings


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (("user_id", "item_id", "label"), lambda n: (f"u{n % 9}", f"i{n % 7}", "yes" if n % 3 else "no")),
        (("customer_id", "product_id", "region", "price", "channel", "days", "returned"),
         lambda n: (f"u{n % 9}", f"i{n % 7}", "EU", n % 5, "web", n % 4, "yes" if n % 3 else "no")),
        (("user_id", "item", "rating"), lambda n: (f"u{n}", f"i{n % 7}", n % 5)),
    ],
)  # fmt: skip
def test_a_table_of_something_else_stays_a_table(place, header, row):
    done = place.prepare({"table.csv": table(header, [row(number) for number in range(100)])})
    assert done.report["task"].startswith("tabular") and done.report["interactions"] is None


def test_another_column_that_is_to_be_predicted_makes_it_a_table_again(place):
    rows = [(*row, "yes" if number % 3 else "no") for number, row in enumerate(ratings())]
    done = place.prepare({"films.csv": table((*RATED, "finished"), rows)}, target="finished")
    assert (done.report["task"], done.report["target"]) == ("tabular_classification", "finished")


def test_short_histories_rare_and_popular_items_are_counted(place):
    few = [(f"new{number}", f"rare{number}", "2024-01-01") for number in range(40)]
    done = place.prepare({"taken.csv": table(TAKEN, [*events(users=30), *few])})
    assert "40 of 70" in said(done, "short_histories") and "41 of 103" in said(done, "rare_items")
    rows = [(f"u{user}", f"i{item}", "2024-01-01") for user in range(60) for item in (0, 0, 0, 1 + user, 61 + user)]
    assert "has 60 % of all rows" in said(place.prepare({"taken.csv": table(TAKEN, rows)}), "popular_items")


def test_repeated_pairs_and_missing_users_and_times_are_said(place):
    rows = [*events(), events()[0], ("", "i1", "2024-01-01"), ("u1", "i1", "yesterday")]
    done = place.prepare({"taken.csv": table(TAKEN, rows)})
    assert "a further event" in said(done, "repeated_interactions")
    assert said(done, "missing_user_or_item").endswith(": 1.")
    assert '1, such as "yesterday"' in said(done, "unreadable_times")
    assert done.index["split"][-2] == "train"


def test_times_that_cannot_be_true_are_told_by_the_clock():
    day, now = 86_400, 1_700_000_000
    usual = [now - number * day for number in range(1, 400)]
    odd = [now + 2 * day, 0, 5_000, -3 * day]
    assert strange_times(np.array([*usual, now + day / 2, *odd]), now) == [400, 401, 402, 403]
    assert strange_times(np.array([*usual, *odd]) * 1_000.0, now) == [399, 400, 401, 402]
    assert strange_times(np.array([*range(300), np.nan, 10**9]), now) == [301]
    assert strange_times(np.array([np.nan, np.nan]), now) == strange_times(np.array([]), now) == []


def test_a_word_among_times_that_are_numbers_leaves_the_others_as_they_are():
    assert np.isnan(read_moments(["5", "yesterday", "7", ""])).tolist() == [False, True, False, True]
    assert np.isnan(read_moments(["2024-01-01", "5", "2024-01-03"])).tolist() == [False, True, False]


def test_ratings_off_their_scale_are_shown(place):
    stars = [(*row[:3], str(1 + number % 5), row[4]) for number, row in enumerate(ratings())]
    assert place.prepare({"films.csv": table(RATED, stars)}).warnings == set()
    odd = [(*stars[0][:3], "55", "9"), ("u1", "m1", "Film 1", "good", "9"), ("u2", "m2", "Another film", "3", "9")]
    done = place.prepare({"films.csv": table(RATED, [*stars, *odd])})
    assert "from 1 to 5, and 1 are not: 55" in said(done, "ratings_out_of_scale")
    assert '1, such as "good"' in said(done, "ratings_no_numbers")
    assert '"Film 2" and "Another film"' in said(done, "several_names")


def test_constant_ratings_and_counts_are_no_ratings(place):
    same = [(*row[:3], "1", row[4]) for row in ratings()]
    assert "each row counts as an event" in said(place.prepare({"a.csv": table(RATED, same)}), "ratings_constant")
    plays = [(*row[:3], str(1 + number % 30 + (900 if number % 50 == 0 else 0)), row[4])
             for number, row in enumerate(ratings())]  # fmt: skip
    assert "look like counts" in said(place.prepare({"b.csv": table(RATED, plays)}), "ratings_are_counts")


def test_a_scale_has_room_for_a_rare_end_of_itself():
    half = {value / 2: 100 for value in range(2, 11)}
    assert outside_scale(half | {0.5: 1}) is None
    assert outside_scale(half | {0.5: 1, 50.0: 2}) == ((1.0, 5.0), [50.0])
    assert outside_scale({float(value): 1 for value in range(100)}) is None


def test_moments_are_read_as_numbers_or_dates():
    assert read_moments(["5", "", "7.5"])[[0, 2]].tolist() == [5.0, 7.5] and np.isnan(read_moments(["5", ""])[1])
    days = read_moments(["2024-01-02", "2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00"])
    assert days[0] - days[1] == 86400 and days[1] == days[2]
    assert np.diff(read_moments(["31.12.2023", "01.01.2024"])).tolist() == [86400.0]
