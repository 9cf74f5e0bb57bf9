"""The networks for texts by name, which one fits a data set, and what each is made from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.texts import TextEncoder

HASHED_NGRAMS, TEXT_GRU, TEXT_TRANSFORMER, TEXT_BLEND = "hashed_ngrams", "text_gru", "text_transformer", "blend"
TEXT_NETWORKS = (HASHED_NGRAMS, TEXT_GRU, TEXT_TRANSFORMER, TEXT_BLEND)
READS_BAGS, READS_ORDER = (HASHED_NGRAMS, TEXT_BLEND), (TEXT_GRU, TEXT_TRANSFORMER, TEXT_BLEND)
# Words that an epoch may have for a network that reads them one by one: some 25 seconds of two cores.
WORDS_WORTH_READING = 600_000
HEADS, BLOCKS = 4, 2


def choose_network(model: str, words: float) -> str:
    """`model`, or where it is auto what is best in minutes, if the training texts have so many words in all."""
    if model != "auto":
        return model
    return TEXT_BLEND if words <= WORDS_WORTH_READING else HASHED_NGRAMS


def network_arguments(
    architecture: str, settings: Mapping[str, Any], encoder: TextEncoder, classes: int
) -> dict[str, Any]:
    """The arguments of the network in workers/training/text_models.py."""
    common = {"classes": classes, "dropout": settings["dropout"]}
    bag = {
        **common,
        "word_buckets": encoder.word_buckets,
        "run_buckets": encoder.run_buckets,
        "width": settings["embedding_size"],
    }
    order = {
        **common,
        "buckets": 1 + encoder.order_buckets,
        "width": 2 * settings["embedding_size"],
        "word_dropout": settings["word_dropout"],
    }
    match architecture:
        case "hashed_ngrams":
            return bag
        case "text_gru":
            return order
        case "text_transformer":
            return {**order, "heads": HEADS, "blocks": BLOCKS, "tokens": encoder.tokens}
        case _:
            return {"order_buckets": encoder.order_buckets, "ngrams": bag, "gru": order}
