"""Measured values as people read them."""

from apps.registry.figures import compare, figures, headline


def test_figures_have_units_and_the_important_ones_come_first():
    found = figures({"log_loss": 0.08123, "accuracy": 0.9778, "own_score": 3, "confusion": [[1]], "nan": float("nan")})
    assert [(item.label, item.text) for item in found] == [
        ("Accuracy", "97.8 %"),
        ("Log loss", "0.08123"),
        ("Own score", "3"),
    ]


def test_the_headline_is_of_the_test_split_where_there_is_one():
    assert headline({"val": {"accuracy": 0.9}, "test": {"accuracy": 0.8}}).text == "80.0 %"
    assert headline({"val": {"rmse": 2.0, "r2": 0.5}}).label == "R²"
    assert headline({}) is None and headline(None) is None


def test_a_comparison_knows_which_way_is_better():
    left, right = {"accuracy": 0.97, "loss": 0.2, "ece": 0.1}, {"accuracy": 0.98, "loss": 0.3}
    rows = {row.label: row for row in compare(left, right)}
    assert (rows["Accuracy"].better, rows["Accuracy"].change) == ("right", "+1.0 pp")
    assert (rows["Loss"].better, rows["Loss"].change) == ("left", "+0.1")
    assert (rows["Calibration error"].right, rows["Calibration error"].better) == ("–", "")
    assert compare({"r2": 0.5}, {"r2": 0.5})[0].better == ""
