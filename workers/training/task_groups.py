"""Tasks that have hyper-parameters in common."""

from __future__ import annotations

from workers.contract import (
    ANSWER_RETRIEVAL,
    AUDIO_CLASSIFICATION,
    IMAGE_CLASSIFICATION,
    RECOMMENDATION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
)
from workers.domains import TABLE, TASKS, names
from workers.pretrained.families import FAMILIES

IMAGES = (IMAGE_CLASSIFICATION,)
RECORDINGS = (AUDIO_CLASSIFICATION,)
TABLES = names(asks=TABLE)
TEXTS = (TEXT_CLASSIFICATION,)
RECOMMENDING = (RECOMMENDATION,)
PAIRS = (TRANSLATION,)
ANSWERING = (ANSWER_RETRIEVAL,)
BY_STEPS = tuple(task for task in TASKS if task not in RECOMMENDING)  # of an optimizer; the others are solved
OTHERS_THAN_PAIRS = tuple(task for task in BY_STEPS if task not in PAIRS)
PRETRAINABLE = tuple(FAMILIES)
