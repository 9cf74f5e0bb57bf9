"""Layers of a body that are left out at random."""

from __future__ import annotations

from torch import nn

DROPPED_LAYERS = ("encoder_layerdrop", "decoder_layerdrop", "layerdrop")


def keep_all_layers(body: nn.Module) -> nn.Module:
    """All layers learn in every step: which are left out may hang on random numbers that no checkpoint of a training
    keeps."""
    for part in body.modules():
        for name in DROPPED_LAYERS:
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)
    for name in DROPPED_LAYERS:
        if hasattr(body.config, name):
            setattr(body.config, name, 0.0)
    return body
