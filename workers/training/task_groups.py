"""Tasks that have hyper-parameters in common."""

from __future__ import annotations

from workers.contract import (
    ANSWER_RETRIEVAL,
    AUDIO_CLASSIFICATION,
    IMAGE_CLASSIFICATION,
    RECOMMENDATION,
    SPEECH_RECOGNITION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
)
from workers.domains import TABLE, TASKS, names

IMAGES = (IMAGE_CLASSIFICATION,)
RECORDINGS = (AUDIO_CLASSIFICATION,)
TABLES = names(asks=TABLE)
TEXTS = (TEXT_CLASSIFICATION,)
RECOMMENDING = (RECOMMENDATION,)
PAIRS = (TRANSLATION,)
SPEECH = (SPEECH_RECOGNITION,)
ANSWERING = (ANSWER_RETRIEVAL,)
BY_STEPS = tuple(task for task in TASKS if task not in RECOMMENDING)  # of an optimizer; the others are solved
BY_EXAMPLES = tuple(task for task in BY_STEPS if task not in (*PAIRS, *SPEECH))  # whose batches count examples
