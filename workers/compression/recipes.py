"""What a compression can be told: methods, recipes made of them, and the limits of a search.

Pure Python: the site builds its forms and checks requests with it, the program trusts what `resolve` returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.domains import NETWORKS, TASKS
from workers.training.field import Field, HyperparameterError, Value

MOST_STEPS, MOST_RECIPES = 8, 24

DISTIL, PRUNE_CHANNELS, LOW_RANK = "distil", "prune_channels", "low_rank"
PRUNE_WEIGHTS, QUANTISE, SHARE = "prune_weights", "quantise", "share"
RESHAPING = (DISTIL, PRUNE_CHANNELS, LOW_RANK)  # what is tuned after them has its new shape already

INT8, DYNAMIC, INT8_WEIGHTS, INT4_WEIGHTS, FP16 = SCHEMES = (
    "int8",
    "int8_dynamic",
    "int8_weights",
    "int4_weights",
    "fp16",
)
EXTREMES, PERCENTILE, ENTROPY = RANGES = ("extremes", "percentile", "entropy")
ANY, TWO_OF_FOUR = PATTERNS = ("any", "2:4")
SAME, SIMPLEST = KINDS = ("same", "simplest")
SIZE, LATENCY, BOTH = FAVOURS = ("size", "latency", "both")


@dataclass(frozen=True)
class Method:
    """One kind of step. In a recipe, steps stand in ascending `stage`, of each method one at most."""

    name: str
    label: str
    help: str
    stage: int
    fields: tuple[Field, ...]
    tasks: tuple[str, ...] = tuple(TASKS)


def _epochs(default: int) -> Field:
    return Field(
        "epochs", "Fine-tuning epochs",
        "How long the smaller model learns from the original afterwards; 0 leaves it as it is.",
        "int", default, minimum=0, maximum=1000,
    )  # fmt: skip


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            DISTIL, "Distil",
            "A new, narrower network learns to answer as the original does.", 0,
            (
                Field("width", "Width", "The share of the original's channels that each layer of the new one gets.",
                      "float", 0.5, minimum=0.05, maximum=1.0),
                Field("kind", "Kind",
                      "same is a network of the original's kind; simplest is the fastest kind that reads the same.",
                      "choice", SAME, choices=KINDS),
                _epochs(15),
            ),
            NETWORKS,
        ),
        Method(
            PRUNE_CHANNELS, "Remove channels",
            "Whole channels and attention heads are removed, least important first; the model is faster everywhere.", 1,
            (
                Field("amount", "Share removed", "Of the channels of each group of layers that belong together.",
                      "float", 0.5, minimum=0.01, maximum=0.95),
                _epochs(8),
            ),
            NETWORKS,
        ),
        Method(
            LOW_RANK, "Low rank",
            "Large layers become two thin ones where that keeps most of what they do (SVD, Tucker).", 2,
            (
                Field("energy", "Kept energy", "The share of the squared singular values that is kept.",
                      "float", 0.9, minimum=0.1, maximum=0.9999),
                _epochs(5),
            ),
            NETWORKS,
        ),
        Method(
            PRUNE_WEIGHTS, "Remove weights",
            "Single weights become zero, smallest first, more and more while the model is tuned; smaller files, "
            "the same speed.", 3,
            (
                Field("amount", "Share removed", "Of the weights; in 2:4 it is always one half.",
                      "float", 0.8, minimum=0.01, maximum=0.99),
                Field("pattern", "Pattern", "any place, or two of every four neighbours.",
                      "choice", ANY, choices=PATTERNS),
                _epochs(8),
            ),
            NETWORKS,
        ),
        Method(
            QUANTISE, "Quantise",
            "Numbers of fewer bits.", 4,
            (
                Field("scheme", "Scheme",
                      "int8 computes in 8 bits with ranges from real samples; int8_dynamic finds ranges while it "
                      "answers; int8_weights, int4_weights and fp16 only store in fewer bits.",
                      "choice", INT8, choices=SCHEMES),
                Field("ranges", "Ranges", "How the ranges of int8 are found.", "choice", EXTREMES, choices=RANGES),
                Field("equalise", "Equalise", "Even out the ranges of neighbouring layers first.", "bool", False),
                Field("correct_bias", "Correct bias", "Undo the mean error that rounding leaves in each channel.",
                      "bool", False),
                _epochs(0),
            ),
        ),
        Method(
            SHARE, "Share weights",
            "All weights of a layer take one of a few values, found by k-means; smaller files, the same speed.", 5,
            (
                Field("values", "Values", "How many different values a layer keeps.",
                      "int", 16, minimum=2, maximum=256),
            ),
        ),
    )
}  # fmt: skip

# What a search and all fine-tuning are told.
SETTINGS: tuple[Field, ...] = (
    Field("limit_points", "May lose",
          "How many points of accuracy, or per cent of the error of a regression, a smaller model may lose.",
          "float", 1.0, minimum=0.0, maximum=50.0),
    Field("favour", "Favour", "What counts among models within the limit.", "choice", BOTH, choices=FAVOURS),
    Field("trials", "Candidates", "How many candidates a search makes at most.", "int", 12, minimum=1, maximum=200),
    Field("seconds", "Time", "Seconds after which a search begins no further candidate.",
          "int", 900, minimum=10, maximum=7 * 86_400),
    Field("temperature", "Temperature", "How much the original's answers are softened before they are learned from.",
          "float", 4.0, minimum=0.5, maximum=50.0, advanced=True),
    Field("hard_share", "Share of labels",
          "How much of what is learned comes from the labels and not from the original.",
          "float", 0.3, minimum=0.0, maximum=1.0, advanced=True),
    Field("features", "Share of features",
          "How strongly the last features are drawn towards the original's, where their number is the same.",
          "float", 0.0, minimum=0.0, maximum=10.0, advanced=True),
    Field("learning_rate", "Learning rate", "Of all fine-tuning.",
          "float", 0.003, minimum=1e-7, maximum=1.0, advanced=True),
    Field("seed", "Seed", "Fixes all random choices.", "int", 0, minimum=0, maximum=2**31 - 1, advanced=True),
)  # fmt: skip

SEARCH, RECIPE = "search", "recipe"

Step = Mapping[str, Any]


def methods_for(task: str) -> tuple[Method, ...]:
    return tuple(method for method in METHODS.values() if task in method.tasks)


def resolve(task: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Complete, checked settings; `recipes` [[step, ...], ...] is empty where a search is to find them.

    A step is {"method": name, field: value, ...}. Raises HyperparameterError: unknown_setting, unknown_method,
    wrong_type, out_of_range, wrong_order, empty_recipe, too_many; its `field` is as ``recipes.0.1.amount``.
    """
    fields = {item.name: item for item in SETTINGS}
    if unknown := set(values) - {*fields, "recipes"}:
        name = min(unknown)
        sentence = f"There is no setting {name!r}; there are {', '.join([*fields, 'recipes'])}."
        raise HyperparameterError(name, "unknown_setting", sentence)
    settings: dict[str, Any] = {
        name: item.check(values[name]) if name in values else item.default for name, item in fields.items()
    }
    return settings | {"recipes": _check_recipes(task, values.get("recipes", []))}


def _check_recipes(task: str, recipes: Any) -> list[list[dict[str, Value]]]:
    if not isinstance(recipes, Sequence) or isinstance(recipes, str):
        raise HyperparameterError("recipes", "wrong_type", "recipes must be a list of recipes, each a list of steps.")
    if len(recipes) > MOST_RECIPES:
        sentence = f"There are {len(recipes)} recipes; at most {MOST_RECIPES} can be tried in one job."
        raise HyperparameterError("recipes", "too_many", sentence)
    return [check_recipe(task, recipe, f"recipes.{number}") for number, recipe in enumerate(recipes)]


def check_recipe(task: str, steps: Any, place: str = "recipe") -> list[dict[str, Value]]:
    """The steps with all their fields. Raises HyperparameterError, with `field` below `place`."""
    if (
        not isinstance(steps, Sequence)
        or isinstance(steps, str)
        or not all(isinstance(step, Mapping) for step in steps)
    ):
        raise HyperparameterError(place, "wrong_type", "A recipe must be a list of steps, each with a method.")
    if not steps:
        raise HyperparameterError(place, "empty_recipe", "A recipe needs at least one step.")
    checked = [_check_step(task, step, f"{place}.{number}") for number, step in enumerate(steps)]
    stages = [METHODS[step["method"]].stage for step in checked]
    for number, (before, after) in enumerate(zip(stages, stages[1:], strict=False), 1):
        if after <= before:
            order = ", ".join(method.name for method in methods_for(task))
            sentence = (
                f"{checked[number]['method']} cannot follow {checked[number - 1]['method']}: once each, as in {order}."
            )
            raise HyperparameterError(f"{place}.{number}", "wrong_order", sentence)
    return checked


def _check_step(task: str, step: Mapping[str, Any], place: str) -> dict[str, Value]:
    known = {method.name: method for method in methods_for(task)}
    method = known.get(step.get("method"))
    if method is None:
        sentence = f"There is no method {step.get('method')!r} for {task}; choose one of {', '.join(known)}."
        raise HyperparameterError(f"{place}.method", "unknown_method", sentence)
    fields = {item.name: item for item in method.fields if item.name != "epochs" or task in NETWORKS}
    if unknown := set(step) - {*fields, "method"}:
        name = str(min(unknown))
        sentence = f"{method.name} has no setting {name!r}; it has {', '.join(fields) or 'none'}."
        raise HyperparameterError(f"{place}.{name}", "unknown_setting", sentence)
    checked: dict[str, Value] = {"method": method.name}
    for name, item in fields.items():
        try:
            checked[name] = item.check(step[name]) if name in step else item.default
        except HyperparameterError as error:
            raise HyperparameterError(f"{place}.{name}", error.code, error.message) from error
    return checked


def method_of(settings: Mapping[str, Any]) -> str:
    """How candidates come about: recipes that were given, or a search for some."""
    return RECIPE if settings["recipes"] else SEARCH


def is_torch_step(step: Step) -> bool:
    """Whether it changes the torch model, before there is a graph; quantising does where the model is tuned for it."""
    return step["method"] in (*RESHAPING, PRUNE_WEIGHTS) or (step["method"] == QUANTISE and step.get("epochs", 0) > 0)


def name_of(steps: Sequence[Step]) -> str:
    """ "half the channels removed, int8"; "as it is" where there are no steps."""
    return ", ".join(_words(step) for step in steps) or "as it is"


def _words(step: Step) -> str:
    match step["method"]:
        case "distil":
            kind = " of the simplest kind" if step.get("kind") == SIMPLEST else ""
            return f"distilled to {step['width']:.0%} width{kind}"
        case "prune_channels":
            return f"{step['amount']:.0%} of channels removed"
        case "low_rank":
            return f"low rank at {step['energy']:.2%} energy".replace(".00%", "%")
        case "prune_weights":
            return (
                "2:4 weights removed" if step["pattern"] == TWO_OF_FOUR else f"{step['amount']:.0%} of weights removed"
            )
        case "quantise":
            return _words_of_quantising(step)
        case _:
            return f"{step['values']} shared values"


def _words_of_quantising(step: Step) -> str:
    words = [step["scheme"].replace("_", " ")]
    if step.get("epochs"):
        words.append("tuned")
    if step["ranges"] != EXTREMES:
        words.append(f"by {step['ranges']}")
    if step["equalise"]:
        words.append("evened out")
    return " ".join(words)
