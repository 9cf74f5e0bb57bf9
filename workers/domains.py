"""What a model can learn to do, and which module does its part of it: the one place that knows all tasks.

Modules and classes stand here as names, and are imported where they are needed: the site loads no torch, and a
downloaded model of tables asks for no Pillow.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from workers.contract import (
    ANSWER_RETRIEVAL,
    AUDIO_CLASSIFICATION,
    ENSEMBLE,
    FORECASTING,
    FUSION_METHODS,
    IMAGE_CLASSIFICATION,
    KIND_AUDIO,
    KIND_IMAGES,
    KIND_TABLE,
    MULTI_LABEL_IMAGES,
    RECOMMENDATION,
    SPEECH_RECOGNITION,
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
)

# What a model is asked with.
AUDIO, IMAGE, SERIES, TABLE, TEXT, USER = "audio", "image", "series", "table", "text", "user"


@dataclass(frozen=True)
class Task:
    """One task.

    `data` is the kind of data set it learns from, `asks` what its models are asked with. `trainer` is a module with
    ``train(spec, events, stop)``, `predictor` a class, or what makes
    one of it, as ``module:name`` (workers.inference.predictor.Predictor),
    `questions` a module that reads what clients send to it (workers.inference.questions), `samples` a function as
    ``module:name`` that gives a compression its data, "" where models cannot be compressed. `subject` is a module
    (workers.training.subjects.Subject) for models that are one torch network and can go on learning when they were made
    smaller; one that can go on for more epochs alone `is_network`. Several processes train one model together where it
    `spreads`. `fusions` are the methods by which several models become one. `explainer` is a module that says why a
    model answered as it did (workers.inference.explaining), "" where none can.
    """

    name: str
    data: str
    asks: str
    trainer: str
    predictor: str
    questions: str
    samples: str = ""
    subject: str = ""
    explainer: str = ""
    is_network: bool = False
    spreads: bool = False
    fusions: tuple[str, ...] = ()
    is_classification: bool = True

    def load(self, part: str) -> Any:
        """The module or the class that one of the fields above names."""
        module, _, name = getattr(self, part).partition(":")
        return getattr(_import(module), name) if name else _import(module)


_import = cache(importlib.import_module)  # every prediction asks, and Python takes its time to say that it has it

_TABLES: dict[str, Any] = {
    "data": KIND_TABLE,
    "asks": TABLE,
    "trainer": "workers.training.tables",
    "predictor": "workers.inference.table_predictor:TablePredictor",
    "questions": "workers.inference.questions.tables",
    "samples": "workers.compression.samples:load_rows",
    "explainer": "workers.inference.explaining.tables",
    "fusions": (ENSEMBLE,),
}
TASKS = {
    task.name: task
    for task in (
        Task(
            IMAGE_CLASSIFICATION,
            data=KIND_IMAGES,
            asks=IMAGE,
            trainer="workers.training.images",
            predictor="workers.inference.image_predictor:ImagePredictor",
            questions="workers.inference.questions.images",
            samples="workers.compression.samples:load_images",
            subject="workers.training.image_subject",
            explainer="workers.inference.explaining.images",
            spreads=True,
            fusions=FUSION_METHODS,
        ),
        Task(
            MULTI_LABEL_IMAGES,
            data=KIND_IMAGES,
            asks=IMAGE,
            trainer="workers.training.multi_label",
            predictor="workers.inference.label_predictor:LabelPredictor",
            questions="workers.inference.questions.images",
            is_network=True,
            is_classification=False,
        ),
        Task(TABULAR_CLASSIFICATION, **_TABLES),
        Task(TABULAR_REGRESSION, **_TABLES, is_classification=False),
        Task(
            TEXT_CLASSIFICATION,
            data=KIND_TABLE,
            asks=TEXT,
            trainer="workers.training.texts",
            predictor="workers.inference.text_predictor:TextPredictor",
            questions="workers.inference.questions.texts",
            samples="workers.compression.samples:load_texts",
            subject="workers.training.text_subject",
            explainer="workers.inference.explaining.texts",
        ),
        Task(
            RECOMMENDATION,
            data=KIND_TABLE,
            asks=USER,
            trainer="workers.training.recommendation",
            predictor="workers.inference.recommendation_predictor:RecommendationPredictor",
            questions="workers.inference.questions.recommendations",
            is_classification=False,
        ),
        Task(
            TRANSLATION,
            data=KIND_TABLE,
            asks=TEXT,
            trainer="workers.training.translation",
            predictor="workers.inference.translation_predictor:TranslationPredictor",
            questions="workers.inference.questions.translations",
            is_network=True,
            is_classification=False,
        ),
        Task(
            FORECASTING,
            data=KIND_TABLE,
            asks=SERIES,
            trainer="workers.training.forecasting",
            predictor="workers.inference.forecast_predictor:ForecastPredictor",
            questions="workers.inference.questions.series",
            is_classification=False,
        ),
        Task(
            ANSWER_RETRIEVAL,
            data=KIND_TABLE,
            asks=TEXT,
            trainer="workers.training.retrieval",
            predictor="workers.inference.retrieval_predictor:RetrievalPredictor",
            questions="workers.inference.questions.texts",
            is_network=True,
            is_classification=False,
        ),
        Task(
            AUDIO_CLASSIFICATION,
            data=KIND_AUDIO,
            asks=AUDIO,
            trainer="workers.training.audio",
            predictor="workers.inference.audio_predictor:AudioPredictor",
            questions="workers.inference.questions.audio",
            samples="workers.compression.samples:load_images",
            subject="workers.training.audio_subject",
        ),
        Task(
            SPEECH_RECOGNITION,
            data=KIND_AUDIO,
            asks=AUDIO,
            trainer="workers.training.speech",
            predictor="workers.inference.speech_predictor:load_speech_predictor",
            questions="workers.inference.questions.audio",
            is_network=True,
            is_classification=False,
        ),
    )
}


def tasks_of(kind: str) -> tuple[str, ...]:
    """The tasks that a data set of this kind can be used for, the usual one first."""
    return tuple(task.name for task in TASKS.values() if task.data == kind)


def names(**wanted: Any) -> tuple[str, ...]:
    """The tasks whose fields have these values: ``names(asks=TABLE)``."""
    return tuple(
        task.name for task in TASKS.values() if all(getattr(task, field) == value for field, value in wanted.items())
    )


CLASSIFICATION = names(is_classification=True)
NETWORKS = tuple(
    task.name for task in TASKS.values() if task.subject or task.is_network
)  # one network each, which can go on learning
SPREADABLE = names(spreads=True)
