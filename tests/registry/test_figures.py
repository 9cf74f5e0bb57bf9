"""Measured values as people read them."""

from django.utils import translation

from apps.registry.figures import compare, figures, headline
from apps.registry.templatetags.registry import preset_label, shown_settings


def test_figures_have_units_and_the_important_ones_come_first():
    found = figures({"log_loss": 0.08123, "accuracy": 0.9778, "own_score": 3, "confusion": [[1]], "nan": float("nan")})
    assert [(item.label, item.text) for item in found] == [
        ("Accuracy", "97.8 %"),
        ("Log loss", "0.08123"),
        ("Own score", "3"),
    ]


def test_very_small_losses_need_two_digits():
    found = figures({"log_loss": 0.00037871, "loss": 0.0034567, "r2": 0.0})
    assert {item.name: item.text for item in found} == {"log_loss": "0.00038", "loss": "0.003457", "r2": "0"}


def test_settings_that_only_a_checkpoint_uses_are_not_told_of_a_training_without_one():
    chosen = {"epochs": 3, "lora_rank": 16, "fine_tuning": "lora", "start_from": "", "buckets": 0, "recipes": []}
    told = {name: (label, value) for name, label, value in shown_settings(chosen, "text_classification")}
    assert told == {"epochs": ("Epochs", "3"), "buckets": ("Buckets", "0")}
    told = {name for name, _label, _value in shown_settings(chosen | {"start_from": "a/b"}, "text_classification")}
    assert told == {"epochs", "lora_rank", "fine_tuning", "start_from"}


def test_settings_stand_by_their_labels_and_none_is_left_empty():
    told = shown_settings({"series_column": "", "horizon": 7, "trees": 100}, "forecasting")
    assert [(label, value) for _name, label, value in told] == [
        ("Column of series", "–"),
        ("Horizon", "7"),
        ("Trees", "100"),
    ]


def test_a_preset_is_called_as_the_form_calls_it():
    assert (preset_label("fast"), preset_label("own"), preset_label("")) == ("Fast", "own", "")
    with translation.override("zh-hans"):
        assert preset_label("fast") == "快速"


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
