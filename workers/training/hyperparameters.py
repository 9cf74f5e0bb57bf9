"""Every hyper-parameter a person can set: its name, meaning, default and limits, and the presets.

Pure Python: the site builds its form and checks requests with it, the training program trusts what `resolve` returned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from workers.contract import (
    AUDIO_CLASSIFICATION,
    IMAGE_CLASSIFICATION,
    RECOMMENDATION,
    TABULAR_REGRESSION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
)
from workers.domains import CLASSIFICATION, NETWORKS, TABLE, TASKS, names

IMAGES = (IMAGE_CLASSIFICATION,)
RECORDINGS = (AUDIO_CLASSIFICATION,)
TABLES = names(asks=TABLE)
TEXTS = (TEXT_CLASSIFICATION,)
RECOMMENDING = (RECOMMENDATION,)
PAIRS = (TRANSLATION,)
BY_STEPS = tuple(task for task in TASKS if task not in RECOMMENDING)  # of an optimizer; the others are solved
OTHERS_THAN_PAIRS = tuple(task for task in BY_STEPS if task not in PAIRS)

Value = float | int | str | bool

# An automatic batch size gives an epoch so many steps, as long as the batch lies between these sizes.
STEPS_OF_AN_EPOCH = 32
SMALLEST_BATCH, LARGEST_BATCH = 16, 256
# The same for batches that are counted in tokens.
STEPS_BY_TOKENS = 96
FEWEST_TOKENS, MOST_TOKENS = 256, 4096
LONGEST_NAME = 200


class HyperparameterError(ValueError):
    """A setting that cannot be used: a stable `code`, a sentence, and the `field` it is about."""

    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(message)
        self.field, self.code, self.message = field, code, message


@dataclass(frozen=True)
class Field:
    """One hyper-parameter. `type` is float, int, choice, bool, or column: a name of one of the table's columns, or
    nothing. Limits are inclusive."""

    name: str
    label: str
    help: str
    type: str
    default: Value
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    tasks: tuple[str, ...] = BY_STEPS
    advanced: bool = False

    def check(self, value: Any) -> Value:
        """`value` in the field's own type. Raises HyperparameterError (wrong_type, out_of_range)."""
        checks = {
            "float": self._check_number,
            "int": self._check_number,
            "choice": self._check_choice,
            "column": self._check_column,
        }
        return checks.get(self.type, self._check_bool)(value)

    def _check_number(self, value: Any) -> Value:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong_type(value, "a whole number" if self.type == "int" else "a number")
        if self.type == "int" and value != _whole(value):
            raise self._wrong_type(value, "a whole number")
        if not math.isfinite(value) or not self.minimum <= value <= self.maximum:
            limits = f"between {_plain(self.minimum)} and {_plain(self.maximum)}"
            raise HyperparameterError(
                self.name, "out_of_range", f"{self.name} is {_plain(value)}; it must lie {limits}."
            )
        return int(value) if self.type == "int" else float(value)

    def _check_choice(self, value: Any) -> Value:
        if not isinstance(value, str):
            raise self._wrong_type(value, f"one of {', '.join(self.choices)}")
        if value not in self.choices:
            sentence = f"{self.name} is {value[:40]!r}; it must be one of {', '.join(self.choices)}."
            raise HyperparameterError(self.name, "out_of_range", sentence)
        return value

    def _check_column(self, value: Any) -> Value:
        """Whether the table has it is for those to say who have the table."""
        if not isinstance(value, str) or len(value) > LONGEST_NAME:
            raise self._wrong_type(value, "the name of a column, or empty")
        return value

    def _check_bool(self, value: Any) -> Value:
        if not isinstance(value, bool):
            raise self._wrong_type(value, "true or false")
        return value

    def _wrong_type(self, value: Any, expected: str) -> HyperparameterError:
        sentence = f"{self.name} is {repr(value)[:40]}; it must be {expected}."
        return HyperparameterError(self.name, "wrong_type", sentence)


def _whole(value: float) -> float:
    return math.trunc(value) if math.isfinite(value) else value


def _plain(number: float) -> str:
    """A number as people write it: 0.0000001 and not 1e-07."""
    if not math.isfinite(number):
        return repr(number)
    return format(Decimal(repr(int(number) if number == int(number) else number)), "f")


FIELDS: tuple[Field, ...] = (
    Field(
        "model", "Model",
        "The network to train; auto picks one that fits, and vit_tiny, a transformer, needs some thousand images.",
        "choice", "auto", choices=("auto", "resnet_tiny", "resnet_small", "vit_tiny"), tasks=IMAGES,
    ),
    Field(
        "model", "Model",
        "The network to train; auto is resnet_tiny, and resnet_small may be better where there are many recordings.",
        "choice", "auto", choices=("auto", "resnet_tiny", "resnet_small"), tasks=RECORDINGS,
    ),
    Field(
        "model", "Model",
        "The kind of model; auto trains what does best on the validation rows.",
        "choice", "auto", choices=("auto", "gradient_boosting", "linear", "mlp", "blend"), tasks=TABLES,
    ),
    Field(
        "text_column", "Text column",
        "The column that holds the texts; automatic takes the one that the check of the data has found.",
        "column", "", tasks=TEXTS,
    ),
    Field(
        "model", "Model",
        "The network to train; auto is blend, or hashed_ngrams where that would take long.",
        "choice", "auto", choices=("auto", "hashed_ngrams", "text_gru", "text_transformer", "blend"), tasks=TEXTS,
    ),
    Field(
        "user_column", "Users", "The column that says who.", "column", "", tasks=RECOMMENDING,
    ),
    Field(
        "item_column", "Items", "The column that says what they took.", "column", "", tasks=RECOMMENDING,
    ),
    Field(
        "rating_column", "Ratings",
        "The column of numbers that say how much they liked it; without one each row is an event.",
        "column", "", tasks=RECOMMENDING,
    ),
    Field(
        "time_column", "Times",
        "The column that says when: the last items of each user are then kept for the test, else some at random.",
        "column", "", tasks=RECOMMENDING,
    ),
    Field(
        "name_column", "Names of items",
        "The column with what people call an item.",
        "column", "", tasks=RECOMMENDING,
    ),
    Field(
        "model", "Model",
        "The kind of model that ranks items; auto trains several and keeps what does best on the validation items.",
        "choice", "auto", choices=("auto", "factors", "item_weights", "popularity"), tasks=RECOMMENDING,
    ),
    Field(
        "factors", "Factors",
        "How many numbers stand for a user and for an item; more can tell more apart and take longer.",
        "int", 64, minimum=2, maximum=512, tasks=RECOMMENDING,
    ),
    Field(
        "regularization", "Regularisation",
        "How strongly factors are pulled towards zero, against overfitting; 0 tries several strengths.",
        "float", 0.0, minimum=0.0, maximum=10.0, tasks=RECOMMENDING,
    ),
    Field(
        "source_column", "Column to translate from",
        "The column that holds the texts; automatic takes the one that the check of the data has found.",
        "column", "", tasks=PAIRS,
    ),
    Field(
        "model", "Model",
        "The size of the transformer; auto takes the one that learns enough from so many pairs in minutes.",
        "choice", "auto", choices=("auto", "transformer_tiny", "transformer_small", "transformer_base"), tasks=PAIRS,
    ),
    Field(
        "folds", "Folds",
        "How many models are averaged, each trained without another part of the rows; "
        "1 trains one and keeps the validation rows aside.",
        "int", 5, minimum=1, maximum=20, tasks=TABLES,
    ),
    Field(
        "epochs", "Epochs",
        "How many times training goes through all training examples.",
        "int", 30, minimum=1, maximum=10_000, tasks=tuple(TASKS),
    ),
    Field(
        "batch_size", "Batch size",
        "How many examples each optimiser step looks at; 0 chooses it from how many there are.",
        "int", 64, minimum=0, maximum=65_536, tasks=OTHERS_THAN_PAIRS,
    ),
    Field(
        "batch_tokens", "Tokens in a batch",
        "How many pieces of words each optimiser step reads or writes at most; 0 chooses it from how many there are.",
        "int", 0, minimum=0, maximum=1_000_000, tasks=PAIRS,
    ),
    Field(
        "learning_rate", "Learning rate",
        "The highest step size of the optimiser; lower it when training diverges.",
        "float", 0.003, minimum=1e-7, maximum=1.0,
    ),
    Field(
        "optimizer", "Optimizer",
        "The rule that turns gradients into steps; adamw is a safe choice.",
        "choice", "adamw", choices=("sgd", "adam", "adamw"),
    ),
    Field(
        "momentum", "Momentum",
        "How much of the last step sgd keeps; the adam family ignores it.",
        "float", 0.9, minimum=0.0, maximum=0.999, advanced=True,
    ),
    Field(
        "loss", "Loss",
        "What training makes small; focal looks harder at difficult examples.",
        "choice", "cross_entropy", choices=("cross_entropy", "focal", "mse"), tasks=CLASSIFICATION,
    ),
    Field(
        "loss", "Loss",
        "What training makes small; mae and huber care less about outliers.",
        "choice", "mse", choices=("mse", "mae", "huber"), tasks=(TABULAR_REGRESSION,),
    ),
    Field(
        "scheduler", "Learning rate schedule",
        "How the learning rate falls while training goes on.",
        "choice", "cosine", choices=("constant", "cosine", "linear", "step"),
    ),
    Field(
        "warmup_ratio", "Warm-up",
        "The share of all steps during which the learning rate rises from zero.",
        "float", 0.1, minimum=0.0, maximum=0.9, advanced=True,
    ),
    Field(
        "weight_decay", "Weight decay",
        "How strongly weights are pulled towards zero, against overfitting.",
        "float", 0.01, minimum=0.0, maximum=1.0,
    ),
    Field(
        "max_grad_norm", "Gradient clipping",
        "Longer gradients are cut to this length; 0 leaves them as they are.",
        "float", 1.0, minimum=0.0, maximum=1000.0, advanced=True,
    ),
    Field(
        "mixed_precision", "Mixed precision",
        "Compute in 16 bits where that is safe; auto does where it is faster, fp16 needs a GPU.",
        "choice", "auto", choices=("auto", "no", "bf16", "fp16"), tasks=IMAGES, advanced=True,
    ),
    Field(
        "mixed_precision", "Mixed precision",
        "Compute in 16 bits where that is safe; fp16 needs a GPU.",
        "choice", "no", choices=("no", "bf16", "fp16"), tasks=(*TABLES, *TEXTS, *PAIRS, *RECORDINGS), advanced=True,
    ),
    Field(
        "compile", "Compile",
        "Translate the model into code for this machine first; auto does where a trial shows that it pays.",
        "choice", "auto", choices=("auto", "on", "off"), tasks=IMAGES, advanced=True,
    ),
    Field(
        "early_stopping_patience", "Early stopping",
        "Stop after this many epochs without a better validation score; 0 never stops early.",
        "int", 0, minimum=0, maximum=10_000, tasks=tuple(TASKS),
    ),
    Field(
        "ema_decay", "Weight averaging",
        "Keep a moving average of the weights with this decay and use it as the model; 0 turns it off.",
        "float", 0.0, minimum=0.0, maximum=0.99999, advanced=True,
    ),
    Field(
        "label_smoothing", "Label smoothing",
        "The share of certainty taken from each label, against overconfidence.",
        "float", 0.0, minimum=0.0, maximum=0.5, tasks=(*CLASSIFICATION, *PAIRS), advanced=True,
    ),
    Field(
        "class_weights", "Class weights",
        "balanced gives rare classes the same say as common ones.",
        "choice", "none", choices=("none", "balanced"), tasks=CLASSIFICATION,
    ),
    Field(
        "dropout", "Dropout",
        "The share of features left out at random in each step, against overfitting.",
        "float", 0.1, minimum=0.0, maximum=0.9, advanced=True,
    ),
    Field(
        "augmentation", "Augmentation",
        "Random changes to training images; strong also mirrors and erases parts.",
        "choice", "light", choices=("none", "light", "strong"), tasks=IMAGES,
    ),
    Field(
        "augmentation", "Augmentation",
        "Random changes to training recordings: time, speed, pitch, loudness, noise, and parts that are hidden.",
        "choice", "light", choices=("none", "light", "strong"), tasks=RECORDINGS,
    ),
    Field(
        "clip_seconds", "Seconds heard",
        "How long the model listens, to the loudest part of a longer recording; 0 chooses it from the data.",
        "float", 0.0, minimum=0.0, maximum=30.0, tasks=RECORDINGS,
    ),
    Field(
        "sample_rate", "Sampling rate",
        "Samples a second, half of which is the highest pitch that the model hears; auto chooses it from the data.",
        "choice", "auto", choices=("auto", "8000", "16000", "32000"), tasks=RECORDINGS, advanced=True,
    ),
    Field(
        "image_size", "Image size",
        "Side length in pixels that images are resized to; 0 chooses it from the data.",
        "int", 0, minimum=0, maximum=512, tasks=IMAGES,
    ),
    Field(
        "embedding_size", "Embedding size",
        "How many numbers stand for a word; more can tell more apart and take longer.",
        "int", 64, minimum=4, maximum=1024, tasks=TEXTS,
    ),
    Field(
        "max_characters", "Longest text",
        "Texts end after this many characters.",
        "int", 4000, minimum=16, maximum=100_000, tasks=TEXTS,
    ),
    Field(
        "max_words", "Most words",
        "How many words text_gru and text_transformer read of a text.",
        "int", 128, minimum=4, maximum=2048, tasks=TEXTS, advanced=True,
    ),
    Field(
        "buckets", "Buckets",
        "How many different words and parts of words are told apart; 0 chooses it from the data.",
        "int", 0, minimum=0, maximum=2**20, tasks=TEXTS, advanced=True,
    ),
    Field(
        "word_dropout", "Word dropout",
        "The share of words that text_gru and text_transformer do not see in each step, against overfitting.",
        "float", 0.1, minimum=0.0, maximum=0.9, tasks=TEXTS, advanced=True,
    ),
    Field(
        "pieces", "Pieces of words",
        "How many different pieces each language's words are cut into; 0 chooses it from how much text there is.",
        "int", 0, minimum=0, maximum=64_000, tasks=PAIRS,
    ),
    Field(
        "shared_pieces", "One table of pieces",
        "Whether both languages share their pieces, as is good where they write names alike; auto asks their scripts.",
        "choice", "auto", choices=("auto", "yes", "no"), tasks=PAIRS, advanced=True,
    ),
    Field(
        "max_tokens", "Longest sentence",
        "How many pieces a sentence may have on either side; longer pairs are left out of training.",
        "int", 128, minimum=8, maximum=1024, tasks=PAIRS,
    ),
    Field(
        "beam_size", "Beams",
        "How many translations are tried side by side when the model is asked; 1 is fastest.",
        "int", 4, minimum=1, maximum=10, tasks=PAIRS,
    ),
    Field(
        "length_penalty", "Length penalty",
        "How much longer translations are favoured: 0 not at all, 1 by their mean.",
        "float", 0.6, minimum=0.0, maximum=2.0, tasks=PAIRS, advanced=True,
    ),
    Field(
        "hidden_size", "Hidden size",
        "How many units each hidden layer of the mlp has.",
        "int", 128, minimum=4, maximum=4096, tasks=TABLES, advanced=True,
    ),
    Field(
        "hidden_layers", "Hidden layers",
        "How many hidden layers the mlp has.",
        "int", 2, minimum=1, maximum=16, tasks=TABLES, advanced=True,
    ),
    Field(
        "trees", "Trees",
        "The highest number of boosting rounds of gradient_boosting.",
        "int", 300, minimum=1, maximum=10_000, tasks=TABLES,
    ),
    Field(
        "tree_learning_rate", "Tree learning rate",
        "How much each tree of gradient_boosting adds.",
        "float", 0.08, minimum=0.001, maximum=1.0, tasks=TABLES,
    ),
    Field(
        "max_leaf_nodes", "Leaves per tree",
        "How many leaves one tree may have; fewer make a simpler model.",
        "int", 31, minimum=2, maximum=1024, tasks=TABLES,
    ),
    Field(
        "min_samples_leaf", "Rows per leaf",
        "How many rows a leaf needs at least.",
        "int", 20, minimum=1, maximum=100_000, tasks=TABLES, advanced=True,
    ),
    Field(
        "l2_regularization", "L2 regularisation",
        "How strongly leaf values are pulled towards zero.",
        "float", 0.0, minimum=0.0, maximum=10_000.0, tasks=TABLES, advanced=True,
    ),
    Field(
        "checkpoint_every", "Keep checkpoints",
        "Keep a checkpoint after every so many epochs (50 at most) beside the newest and the best; 0 keeps only those.",
        "int", 0, minimum=0, maximum=10_000, tasks=NETWORKS, advanced=True,
    ),
    Field(
        "seed", "Seed",
        "Fixes all random choices, so that the same seed and data give the same model.",
        "int", 0, minimum=0, maximum=2**31 - 1, tasks=tuple(TASKS), advanced=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """A named set of values for people who do not want to set any; what it leaves out keeps its default."""

    name: str
    label: str
    help: str
    images: Mapping[str, Value] = field(default_factory=dict)
    tables: Mapping[str, Value] = field(default_factory=dict)
    texts: Mapping[str, Value] = field(default_factory=dict)
    recommending: Mapping[str, Value] = field(default_factory=dict)
    pairs: Mapping[str, Value] = field(default_factory=dict)
    recordings: Mapping[str, Value] = field(default_factory=dict)

    def values_for(self, task: str) -> Mapping[str, Value]:
        kinds = {IMAGES: self.images, TEXTS: self.texts, PAIRS: self.pairs, RECORDINGS: self.recordings,
                 RECOMMENDING: self.recommending}  # fmt: skip
        return next((values for tasks, values in kinds.items() if task in tasks), self.tables)


# What keeps models of texts, which have many weights for each text, from knowing these by heart.
LEARNING_TEXTS = {
    "batch_size": 0, "learning_rate": 0.006, "dropout": 0.4, "label_smoothing": 0.1, "ema_decay": 0.99,
}  # fmt: skip
LEARNING_PAIRS = {
    "learning_rate": 0.002, "warmup_ratio": 0.1, "dropout": 0.2, "label_smoothing": 0.1, "ema_decay": 0.995,
}  # fmt: skip

LEARNING_RECORDINGS = {
    "batch_size": 0, "learning_rate": 0.01, "label_smoothing": 0.05, "ema_decay": 0.99, "class_weights": "balanced",
}  # fmt: skip

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "fast", "Fast", "A first answer within a minute or so.",
            images={"model": "resnet_tiny", "epochs": 10, "learning_rate": 0.01},
            tables={"model": "gradient_boosting", "folds": 1, "trees": 100, "tree_learning_rate": 0.15, "epochs": 10,
                    "early_stopping_patience": 5},
            texts=LEARNING_TEXTS | {"model": "hashed_ngrams", "epochs": 8},
            recommending={"epochs": 4, "factors": 32},
            pairs=LEARNING_PAIRS | {"model": "transformer_tiny", "epochs": 8, "beam_size": 1},
            recordings=LEARNING_RECORDINGS | {"epochs": 25},
        ),
        Preset("balanced", "Balanced", "Good accuracy in minutes; the right choice for most data.",
            images={"epochs": 20, "learning_rate": 0.01, "class_weights": "balanced", "label_smoothing": 0.05,
                    "ema_decay": 0.99},
            tables={"early_stopping_patience": 10},
            texts=LEARNING_TEXTS | {"epochs": 15},
            recommending={"epochs": 12, "early_stopping_patience": 3},
            pairs=LEARNING_PAIRS | {"epochs": 15},
            recordings=LEARNING_RECORDINGS | {"epochs": 60},
        ),
        Preset(
            "accurate", "Accurate", "The best result Lepton can reach; takes about ten times longer.",
            images={"model": "resnet_small", "epochs": 30, "learning_rate": 0.01, "class_weights": "balanced",
                    "label_smoothing": 0.05, "ema_decay": 0.99},
            tables={"model": "blend", "folds": 8, "trees": 1000, "tree_learning_rate": 0.04, "epochs": 60,
                    "early_stopping_patience": 15},
            texts=LEARNING_TEXTS | {"model": "blend", "epochs": 30, "embedding_size": 96, "learning_rate": 0.004},
            recommending={"epochs": 25, "factors": 128, "early_stopping_patience": 5},
            pairs=LEARNING_PAIRS | {"model": "transformer_small", "epochs": 40, "dropout": 0.3, "learning_rate": 0.001},
            recordings=LEARNING_RECORDINGS | {"model": "resnet_small", "epochs": 80, "learning_rate": 0.005},
        ),
    )
}  # fmt: skip
DEFAULT_PRESET = "balanced"
RESTART_SHARE = 0.3  # of the learning rate's peak, from which a training that had ended goes on; see stages.py


def fields_for(task: str) -> tuple[Field, ...]:
    """The fields that `task` has, in the order a form shows them. Raises HyperparameterError (unknown_task)."""
    if task not in TASKS:
        sentence = f"There is no task {task!r}; choose one of {', '.join(TASKS)}."
        raise HyperparameterError("task", "unknown_task", sentence)
    return tuple(item for item in FIELDS if task in item.tasks)


def preset_values(task: str, preset: str) -> dict[str, Value]:
    """All hyper-parameters as `preset` sets them. Raises HyperparameterError (unknown_task, unknown_preset)."""
    defaults = {item.name: item.default for item in fields_for(task)}
    if preset not in PRESETS:
        sentence = f"There is no preset {preset!r}; choose one of {', '.join(PRESETS)}."
        raise HyperparameterError("preset", "unknown_preset", sentence)
    return {**defaults, **PRESETS[preset].values_for(task)}


def resolve(task: str, preset: str = DEFAULT_PRESET, overrides: Mapping[str, Any] | None = None) -> dict[str, Value]:
    """Complete, checked hyper-parameters: the preset's, and over them what the user set.

    Raises HyperparameterError: unknown_task, unknown_preset, unknown_hyperparameter, wrong_type, out_of_range.
    """
    values = preset_values(task, preset)
    fields = {item.name: item for item in fields_for(task)}
    for name, value in (overrides or {}).items():
        if name not in fields:
            sentence = f"There is no hyper-parameter {name!r} for {task}; it has {', '.join(fields)}."
            raise HyperparameterError(name, "unknown_hyperparameter", sentence)
        values[name] = fields[name].check(value)
    return values


def choose_batch_size(batch_size: int, examples: int) -> int:
    """`batch_size`, or where it is 0 the power of two that gives an epoch of `examples` some 32 steps: 16 to 256.

    Memory has no say in it: a batch that does not fit is computed in parts, and the training stays the same.
    """
    if batch_size:
        return batch_size
    return max(SMALLEST_BATCH, min(LARGEST_BATCH, 2 ** round(math.log2(max(1, examples / STEPS_OF_AN_EPOCH)))))


def choose_batch_tokens(batch_tokens: int, tokens: int) -> int:
    """`batch_tokens`, or where it is 0 the power of two that gives an epoch of `tokens` some 96 steps: 256 to 4096."""
    if batch_tokens:
        return batch_tokens
    return max(FEWEST_TOKENS, min(MOST_TOKENS, 2 ** round(math.log2(max(1, tokens / STEPS_BY_TOKENS)))))
