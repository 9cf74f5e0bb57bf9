"""Somebody uploads values over time: how the table is recognised and split, and what is said about it."""

import csv
from datetime import date, timedelta

import pytest

from tests.forecasting.making import DAILY, stores
from tests.preprocessing.uploads import Prepared, Workplace, csv_text

DAYS = [str(date(2024, 1, 1) + timedelta(days=number)) for number in range(120)]


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def said(done: Prepared, code: str) -> str:
    return next(item["message"] for item in done.report["findings"] if item["code"] == code)


def codes(done: Prepared) -> set[str]:
    return {item["code"] for item in done.report["findings"]}


def test_series_are_recognised_and_split_by_time(place):
    done = place.prepare({"sales.csv": csv_text([DAILY, *stores()])})
    assert (done.report["kind"], done.report["task"], done.report["target"]) == ("table", "forecasting", "sales")
    assert done.index["series"] == {"time": "date", "target": "sales", "series": "store", "known": []}
    facts = done.report["series"]
    assert (facts["count"], facts["frequency"], facts["season"], facts["gaps"]) == (2, "daily", 7, 0)
    assert (facts["from"], facts["until"]) == ("2022-01-03", "2023-02-06")
    assert done.report["split_source"] == "time" and not done.report["classes"]
    with open(done.output / "data.csv", newline="") as file:
        days = [row["date"] for row in csv.DictReader(file)]
    parts = {split: [day for day, part in zip(days, done.index["split"], strict=True) if part == split]
             for split in ("train", "val", "test")}  # fmt: skip
    assert max(parts["train"]) < min(parts["val"]) and max(parts["val"]) < min(parts["test"])
    assert {len(part) for part in (parts["val"], parts["test"])} == {80}
    assert codes(done) == set()


def test_the_seed_changes_nothing_in_a_split_by_time(place):
    one, other = (place.prepare({"s.csv": csv_text([DAILY, *stores()])}, seed=seed) for seed in (0, 1))
    assert one.index["split"] == other.index["split"]


@pytest.mark.parametrize(
    ("header", "rows", "roles"),
    [
        (("month", "passengers"), [(f"{1990 + n // 12}-{n % 12 + 1:02}", str(100 + n * 3 % 17)) for n in range(60)],
         ("month", "passengers", None)),
        (("t", "x", "value"), [(str(n), str(n % 3), str(n * 7 % 23)) for n in range(60)], ("t", "value", None)),
        (("sensor", "ds", "y"), [(name, day, str(len(name) + place * 5 % 13)) for name in ("a", "bb")
                                 for place, day in enumerate(DAYS)], ("ds", "y", "sensor")),
    ],
)  # fmt: skip
def test_columns_are_found_by_their_names_and_by_what_they_hold(place, header, rows, roles):
    done = place.prepare({"table.csv": csv_text([header, *rows])})
    assert done.report["task"] == "forecasting"
    found = done.index["series"]
    assert (found["time"], found["target"], found["series"]) == roles


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        (("born", "height"), [(DAYS[n * 37 % 120], str(150 + n % 40)) for n in range(200)]),
        (("id", "age", "income"), [(str(n), str(n * 7 % 60), str(n * 13 % 500)) for n in range(100)]),
        (("date", "mood", "label"), [(day, "abc"[n % 3], "xy"[n % 2]) for n, day in enumerate(DAYS)]),
    ],
)
def test_a_table_with_a_date_or_a_number_is_not_taken_for_series(place, header, rows):
    assert place.prepare({"table.csv": csv_text([header, *rows])}).report["task"] != "forecasting"


def test_what_is_odd_about_series_is_said(place):
    values = {day: str(100 + n % 7) for n, day in enumerate(DAYS)}
    rows = [(day, "good", value) for day, value in values.items() if day not in (DAYS[30], DAYS[31])]
    rows.append((DAYS[5], "good", "90"))
    rows += [(day, "flat", "3") for day in DAYS]
    rows += [(day, "spiky", "9999" if n == 40 else str(n % 9)) for n, day in enumerate(DAYS)]
    rows += [(day, "new", str(n % 5)) for n, day in enumerate(DAYS[-20:])]
    done = place.prepare({"sales.csv": csv_text([DAILY, *rows])})
    assert done.report["series"]["gaps"] == 2
    assert "2 of" in said(done, "missing_times")
    assert ": 1." in said(done, "repeated_times")
    assert "(flat)" in said(done, "constant_series")
    assert "(spiky)" in said(done, "outlying_values")
    assert "(new)" in said(done, "short_series")


def test_times_off_the_grid_are_said(place):
    rows = [(f"{day}T{6 if n % 10 else 11:02}:00:00", str(n % 9)) for n, day in enumerate(DAYS)]
    done = place.prepare({"sales.csv": csv_text([("time", "value"), *rows])}, target="value")
    assert done.report["task"] == "forecasting" and "12 of 120" in said(done, "irregular_times")


def test_a_split_of_the_user_counts_where_it_is_by_time(place):
    rows = [(day, str(n * 7 % 23)) for n, day in enumerate(DAYS)]
    header = ("date", "sales")
    names = ("train.csv", "val.csv", "test.csv")
    parts = (rows[:80], rows[80:100], rows[100:])
    done = place.prepare({name: csv_text([header, *part]) for name, part in zip(names, parts, strict=True)})
    assert done.report["task"] == "forecasting" and done.report["splits"] == {"train": 80, "val": 20, "test": 20}
    carved = place.prepare({"train.csv": csv_text([header, *rows[:100]]), "test.csv": csv_text([header, *parts[2]])})
    assert carved.report["splits"] == {"train": 89, "val": 11, "test": 20} and "val_carved" in codes(carved)
    assert carved.report["split_source"] == "user"
    mixed = place.prepare({"train.csv": csv_text([header, *rows[::2]]), "test.csv": csv_text([header, *rows[1::2]])})
    assert mixed.report["task"] == "forecasting"
    assert "split_not_by_time" in codes(mixed) and mixed.report["splits"]["test"] == 12


@pytest.mark.parametrize(
    ("name", "times", "absurd"),
    [
        ("date", DAYS, "9999-12-31"),
        ("date", DAYS, "0001-01-01T00:00+23:59"),
        ("date", DAYS, "2999-01-01"),
        ("time", [f"2024-01-01T00:{n // 60:02}:{n % 60:02}" for n in range(120)], "2091-01-01T00:00:00"),
        ("step", [str(number) for number in range(120)], "999999999999999"),
    ],
)
def test_one_absurd_time_stands_neither_in_the_series_nor_in_the_way(place, name, times, absurd):
    rows = [(time, place * 7 % 23) for place, time in enumerate([*times, absurd])]
    done = place.prepare({"s.csv": csv_text([(name, "sales"), *rows])})
    assert (done.report["task"], done.report["series"]["gaps"]) == ("forecasting", 0)
    assert f'1, such as "{absurd}"' in said(done, "unreadable_times")
    assert done.index["split"][-1] == "train"


@pytest.mark.parametrize("step", [1e-9, 1e-7])
def test_times_that_hardly_differ_are_no_series(place, step):
    rows = [(f"{number * step:.12f}", number * 7 % 23) for number in range(120)]
    assert place.prepare({"s.csv": csv_text([("step", "sales"), *rows])}).report["task"] == "tabular_regression"
