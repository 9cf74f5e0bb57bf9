"""Which network fits a set of recordings with transcripts, and what it is made from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TINY, SMALL, BASE = "conformer_tiny", "conformer_small", "conformer_base"
# Name: width, heads, blocks.
SIZES = {TINY: (96, 4, 4), SMALL: (144, 4, 8), BASE: (256, 4, 12)}
# Hours to learn from: of fewer a smaller network learns as much, and two cores hear them in minutes.
WORTH_SMALL, WORTH_BASE = 2.0, 20.0
KERNEL = 21  # answered frames, 0.4 s, that a convolution looks at


def choose_network(model: str, seconds: float, device: str) -> str:
    """`model`, or where it is auto the one that learns enough in minutes from so many seconds of speech."""
    if model != "auto":
        return model
    if seconds >= WORTH_BASE * 3600 and not device.startswith("cpu"):
        return BASE
    return SMALL if seconds >= WORTH_SMALL * 3600 else TINY


def network_arguments(settings: Mapping[str, Any], letters: int, seconds: float, device: str) -> dict[str, Any]:
    """The arguments of `speech_models.SpeechNetwork`, but for `mean` and `deviation` of each band; `letters` are those
    of the alphabet, without the blank."""
    width, heads, blocks = SIZES[choose_network(settings["model"], seconds, device)]
    return {
        "outputs": letters + 1,
        "width": width,
        "heads": heads,
        "blocks": blocks,
        "kernel": KERNEL,
        "dropout": settings["dropout"],
    }


def name_of(arguments: Mapping[str, Any]) -> str:
    """The size of the network that has these arguments."""
    return next(name for name, sizes in SIZES.items() if sizes[0] == arguments["width"])
