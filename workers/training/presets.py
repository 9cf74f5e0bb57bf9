"""Named sets of hyper-parameters for people who do not want to set any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from workers.training.field import Value
from workers.training.task_groups import ANSWERING, IMAGES, PAIRS, RECOMMENDING, RECORDINGS, SERIES, SPEECH, TEXTS


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
    pretrained: Mapping[str, Value] = field(default_factory=dict)  # in place of these where there is a checkpoint
    pretrained_pairs: Mapping[str, Value] = field(default_factory=dict)
    pretrained_speech: Mapping[str, Value] = field(default_factory=dict)
    speech: Mapping[str, Value] = field(default_factory=dict)
    answering: Mapping[str, Value] = field(default_factory=dict)
    series: Mapping[str, Value] = field(default_factory=dict)

    def values_for(self, task: str) -> Mapping[str, Value]:
        kinds = {IMAGES: self.images, TEXTS: self.texts, PAIRS: self.pairs, RECORDINGS: self.recordings,
                 RECOMMENDING: self.recommending, ANSWERING: self.answering, SERIES: self.series,
                 SPEECH: self.speech}  # fmt: skip
        return next((values for tasks, values in kinds.items() if task in tasks), self.tables)

    def values_from_checkpoint(self, task: str) -> Mapping[str, Value]:
        """The same for a training that starts from a checkpoint."""
        if task in SPEECH:
            return self.pretrained_speech
        return self.pretrained_pairs if task in PAIRS else self.pretrained


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
# Far lower rates than from scratch: what a checkpoint knows is easily forgotten.
FROM_A_CHECKPOINT = {
    "batch_size": 32, "dropout": 0.1, "class_weights": "balanced", "ema_decay": 0.0, "warmup_ratio": 0.1,
}  # fmt: skip
# The checkpoint writes already, and no layer of it is new.
WRITING_ON = {"dropout": 0.1, "label_smoothing": 0.1, "ema_decay": 0.0, "warmup_ratio": 0.1}

LISTENING_ON = {"dropout": 0.1, "ema_decay": 0.0, "warmup_ratio": 0.1, "layer_decay": 1.0}

LEARNING_SPEECH = {
    "learning_rate": 0.002, "warmup_ratio": 0.15, "dropout": 0.1, "ema_decay": 0.99,
}  # fmt: skip
LEARNING_ANSWERS = {
    "batch_size": 0, "learning_rate": 0.006, "dropout": 0.4, "ema_decay": 0.99, "embedding_size": 128,
    "max_characters": 1000,
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
            series={"trees": 100, "tree_learning_rate": 0.15, "early_stopping_patience": 5, "examples": 30_000},
            pretrained=FROM_A_CHECKPOINT | {"fine_tuning": "head", "epochs": 10, "learning_rate": 0.005},
            pretrained_pairs=WRITING_ON | {"fine_tuning": "head", "epochs": 3, "learning_rate": 0.0001},
            pretrained_speech=LISTENING_ON | {"fine_tuning": "head", "epochs": 10, "learning_rate": 0.003},
            speech=LEARNING_SPEECH | {"model": "conformer_tiny", "epochs": 25},
            answering=LEARNING_ANSWERS | {"epochs": 6},
        ),
        Preset("balanced", "Balanced", "Good accuracy in minutes; the right choice for most data.",
            images={"epochs": 20, "learning_rate": 0.01, "class_weights": "balanced", "label_smoothing": 0.05,
                    "ema_decay": 0.99},
            tables={"early_stopping_patience": 10},
            texts=LEARNING_TEXTS | {"epochs": 15},
            recommending={"epochs": 12, "early_stopping_patience": 3},
            pairs=LEARNING_PAIRS | {"epochs": 15},
            recordings=LEARNING_RECORDINGS | {"epochs": 60},
            series={"early_stopping_patience": 10},
            pretrained=FROM_A_CHECKPOINT | {"fine_tuning": "lora", "epochs": 10, "learning_rate": 0.001},
            pretrained_pairs=WRITING_ON | {"fine_tuning": "lora", "epochs": 5, "learning_rate": 0.0005},
            pretrained_speech=LISTENING_ON | {"fine_tuning": "lora", "epochs": 15, "learning_rate": 0.001},
            speech=LEARNING_SPEECH | {"epochs": 50},
            answering=LEARNING_ANSWERS | {"epochs": 12, "early_stopping_patience": 3},
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
            series={"trees": 1000, "tree_learning_rate": 0.04, "early_stopping_patience": 15, "examples": 400_000},
            pretrained=FROM_A_CHECKPOINT | {"fine_tuning": "full", "epochs": 15, "learning_rate": 0.002},
            pretrained_pairs=WRITING_ON | {"fine_tuning": "full", "epochs": 10, "learning_rate": 0.00005},
            pretrained_speech=LISTENING_ON | {"fine_tuning": "full", "epochs": 30, "learning_rate": 0.001},
            speech=LEARNING_SPEECH | {"model": "conformer_small", "epochs": 100, "learning_rate": 0.0015,
                                      "beam_size": 16},
            answering=LEARNING_ANSWERS | {"epochs": 30, "early_stopping_patience": 5, "embedding_size": 256,
                                         "learning_rate": 0.004, "max_characters": 2000},
        ),
    )
}  # fmt: skip
DEFAULT_PRESET = "balanced"
