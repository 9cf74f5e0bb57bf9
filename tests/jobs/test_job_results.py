"""What a training wrote, as its page shows it."""

from apps.jobs import results
from apps.jobs.remedies import find_remedy


def test_the_shade_follows_the_share_of_the_row_and_nothing_that_occurs_is_invisible():
    found = results.confusion(["a", "b"], [[999, 1], [0, 0]])
    (right, wrong), (none, empty) = (row.cells for row in found.rows)
    assert (right.shade, right.is_right) == (9, True)
    assert (wrong.shade, wrong.is_right) == (1, False)
    assert none.shade == empty.shade == 0
    assert found.rows[0].recall == 0.999 and found.rows[1].total == 0
    assert found.most == [(1, "a", "b")]


def test_many_classes_are_told_by_their_mix_ups_only():
    size = results.MAX_CLASSES_AS_TABLE + 1
    matrix = [[0] * size for _ in range(size)]
    matrix[3][5] = 7
    found = results.confusion([str(number) for number in range(size)], matrix)
    assert not found.is_table and found.most == [(7, "3", "5")]


def test_a_regressions_worst_rows_say_by_how_much():
    mistake = {"row": {"rooms": 3}, "true": 12.5, "predicted": 10.0, "error": -2.5}
    found = results.read({"metrics": {"test": {"rmse": 1.5}}, "confusion": None, "mistakes": [mistake]}, {})
    (shown,) = found.mistakes
    assert (shown.said, shown.truth, shown.by, shown.row) == ("10", "12.5", "−2.5", {"rooms": 3})
    assert found.confusion is None and found.test[0].text == "1.5"


def test_columns_that_do_not_matter_are_left_out():
    weights = {"a": 0.4, "b": 0.1, "c": -0.1}
    importance = [{"column": name, "importance": weight} for name, weight in weights.items()]
    found = results.read({"importance": importance}, {}).importance
    assert [(share.name, share.fraction) for share in found] == [("a", 1.0), ("b", 0.25)]


def test_remedies_change_the_one_setting_that_helps():
    settings = {"learning_rate": 0.9, "batch_size": 64}
    assert find_remedy({"code": "diverged"}, settings).changes == {"learning_rate": 0.09}
    assert find_remedy({"code": "out_of_memory"}, settings).changes == {"batch_size": 32}
    assert find_remedy({"code": "out_of_memory"}, {"batch_size": 1}) is None
    assert find_remedy({"code": "too_many_restarts"}, settings) is None


def test_columns_that_were_left_out_are_told_by_name():
    dropped = [{"name": "id", "reason": "an identifier"}, {"name": "notes", "reason": "free text"}]
    assert results.read({"dropped_columns": dropped}, {}).facts["dropped_columns"] == ["id", "notes"]
