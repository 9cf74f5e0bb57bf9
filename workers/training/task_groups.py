"""Tasks that have hyper-parameters in common."""

from __future__ import annotations

from workers.contract import (
    ANSWER_RETRIEVAL,
    AUDIO_CLASSIFICATION,
    FORECASTING,
    IMAGE_CLASSIFICATION,
    MULTI_LABEL_IMAGES,
    RECOMMENDATION,
    SPEECH_RECOGNITION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
)
from workers.domains import TABLE, TASKS, names
from workers.pretrained.families import FAMILIES

IMAGES = (IMAGE_CLASSIFICATION, MULTI_LABEL_IMAGES)
LABELS = (MULTI_LABEL_IMAGES,)
RECORDINGS = (AUDIO_CLASSIFICATION,)
TABLES = names(asks=TABLE)
TEXTS = (TEXT_CLASSIFICATION,)
RECOMMENDING = (RECOMMENDATION,)
PAIRS = (TRANSLATION,)
SPEECH = (SPEECH_RECOGNITION,)
ANSWERING = (ANSWER_RETRIEVAL,)
SERIES = (FORECASTING,)
# Of an optimizer; the others are solved, or grown.
BY_STEPS = tuple(task for task in TASKS if task not in (*RECOMMENDING, *SERIES))
BY_EXAMPLES = tuple(task for task in BY_STEPS if task not in (*PAIRS, *SPEECH))  # whose batches count examples
WITH_EPOCHS = tuple(task for task in TASKS if task not in SERIES)
TREES = (*TABLES, *SERIES)
PRETRAINABLE = tuple(FAMILIES)
CLASSIFYING = tuple(task for task in PRETRAINABLE if task not in (*PAIRS, *SPEECH))
WITH_NEW_HEAD = tuple(task for task in PRETRAINABLE if task not in PAIRS)  # on the body of a checkpoint
