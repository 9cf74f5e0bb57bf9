"""Which transformer fits a data set, and what it is made from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from workers.preprocessing.texts import script_shares

TINY, SMALL, BASE = "transformer_tiny", "transformer_small", "transformer_base"
# Name: width, heads, blocks of the encoder and of the decoder.
SIZES = {TINY: (128, 4, 3, 3), SMALL: (256, 4, 4, 4), BASE: (512, 8, 6, 6)}
# Tokens to write in an epoch: what a network has seen fewer of, a smaller one learns better, and two cores go through
# in minutes.
WORTH_BASE = 20_000_000
WORTH_SMALL = 1_000_000
ALIKE = 0.5  # of the letters in common scripts


class Data(Protocol):
    """What is read here of workers.training.translation.PairData."""

    splits: dict[str, np.ndarray]
    source_pieces: Any
    target_pieces: Any
    targets: Any
    is_shared: bool


class Texts(Protocol):
    """What is read here of workers.training.pair_data.Pairs."""

    sources: list[str]
    targets: list[str]
    splits: dict[str, np.ndarray]


def share_scripts(pairs: Texts) -> bool:
    """Whether both sides are for the most part written in the same script."""
    rows = pairs.splits["train"]
    ours, theirs = (dict(script_shares(texts[row] for row in rows)) for texts in (pairs.sources, pairs.targets))
    return sum(min(share, theirs.get(script, 0.0)) for script, share in ours.items()) > ALIKE


def choose_network(model: str, tokens: int, device: str) -> str:
    """`model`, or where it is auto the largest that learns enough in minutes from so many tokens of translations."""
    if model != "auto":
        return model
    factor = 1 if device.startswith("cpu") else 10  # a GPU goes through more in a minute
    if tokens * factor >= WORTH_BASE and factor > 1:
        return BASE
    return SMALL if tokens * factor >= WORTH_SMALL else TINY


def network_arguments(settings: Mapping[str, Any], data: Data, device: str) -> dict[str, Any]:
    """The arguments of `translation_models.Translator`."""
    tokens = int(data.targets.lengths(data.splits["train"]).sum())
    width, heads, encoder_blocks, decoder_blocks = SIZES[choose_network(settings["model"], tokens, device)]
    return {
        "source_pieces": len(data.source_pieces),
        "target_pieces": len(data.target_pieces),
        "is_shared": data.is_shared,
        "width": width,
        "heads": heads,
        "encoder_blocks": encoder_blocks,
        "decoder_blocks": decoder_blocks,
        "dropout": settings["dropout"],
        "longest": settings["max_tokens"],
    }


def name_of(arguments: Mapping[str, Any]) -> str:
    """The size of the network that has these arguments."""
    return next(name for name, sizes in SIZES.items() if sizes[0] == arguments["width"])
