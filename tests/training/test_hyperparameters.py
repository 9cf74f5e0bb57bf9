import pytest

from workers.contract import IMAGE_CLASSIFICATION, TABULAR_CLASSIFICATION, TABULAR_REGRESSION
from workers.domains import TASKS
from workers.training.field import HyperparameterError
from workers.training.hyperparameters import fields_for, resolve
from workers.training.presets import PRESETS


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_gives_every_field_a_value_within_its_limits(task: str, preset: str) -> None:
    values = resolve(task, preset)
    fields = {item.name: item for item in fields_for(task)}
    assert values.keys() == fields.keys()
    assert all(fields[name].check(value) == value for name, value in values.items())


@pytest.mark.parametrize("task", TASKS)
def test_every_field_has_one_sentence_of_help_and_a_name_of_its_own(task: str) -> None:
    fields = fields_for(task)
    assert len({item.name for item in fields}) == len(fields)
    assert all(item.help.endswith(".") and item.help.count(". ") == 0 and item.label for item in fields)


def test_overrides_win_over_the_preset_and_whole_numbers_are_taken_for_fractions() -> None:
    values = resolve(IMAGE_CLASSIFICATION, "fast", {"epochs": 3, "learning_rate": 1})
    assert (values["epochs"], values["learning_rate"]) == (3, 1.0)
    assert isinstance(values["learning_rate"], float)


@pytest.mark.parametrize(
    ("overrides", "field", "code", "message"),
    [
        ({"learning_rate": 5}, "learning_rate", "out_of_range",
         "learning_rate is 5; it must lie between 0.0000001 and 1."),
        ({"learning_rate": float("nan")}, "learning_rate", "out_of_range",
         "learning_rate is nan; it must lie between 0.0000001 and 1."),
        ({"epochs": "10"}, "epochs", "wrong_type", "epochs is '10'; it must be a whole number."),
        ({"epochs": 2.5}, "epochs", "wrong_type", "epochs is 2.5; it must be a whole number."),
        ({"epochs": True}, "epochs", "wrong_type", "epochs is True; it must be a whole number."),
        ({"epochs": float("inf")}, "epochs", "out_of_range", "epochs is inf; it must lie between 1 and 10000."),
        ({"optimizer": "sgdx"}, "optimizer", "out_of_range",
         "optimizer is 'sgdx'; it must be one of sgd, adam, adamw."),
        ({"optimizer": 3}, "optimizer", "wrong_type", "optimizer is 3; it must be one of sgd, adam, adamw."),
        ({"trees": 10}, "trees", "unknown_hyperparameter", None),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_is_named_in_a_sentence(
    overrides: dict, field: str, code: str, message: str | None
) -> None:
    with pytest.raises(HyperparameterError) as caught:
        resolve(IMAGE_CLASSIFICATION, "balanced", overrides)
    assert (caught.value.field, caught.value.code) == (field, code)
    assert message is None or caught.value.message == message


def test_unknown_tasks_and_presets_are_refused_with_what_there_is() -> None:
    with pytest.raises(HyperparameterError, match="image_classification") as caught:
        resolve("divination")
    assert caught.value.code == "unknown_task"
    with pytest.raises(HyperparameterError, match="fast, balanced, accurate") as caught:
        resolve(TABULAR_REGRESSION, "perfect")
    assert caught.value.code == "unknown_preset"


def test_losses_and_models_fit_the_task() -> None:
    assert resolve(TABULAR_REGRESSION)["loss"] == "mse"
    assert resolve(TABULAR_CLASSIFICATION, overrides={"model": "gradient_boosting"})["loss"] == "cross_entropy"
    with pytest.raises(HyperparameterError, match="auto, gradient_boosting"):
        resolve(TABULAR_CLASSIFICATION, overrides={"model": "resnet_tiny"})
