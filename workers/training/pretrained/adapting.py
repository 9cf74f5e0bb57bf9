"""What of a pretrained model learns, and how fast: all of it, its head alone, or low-rank adapters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from workers.training.fields import FULL, HEAD, LORA
from workers.training.optimization import learn_slower

LAYER = re.compile(r"\.(\d+)\.")
WORDS = {FULL: "Fine-tuning in full", HEAD: "Training the head alone", LORA: "Training low-rank adapters"}
# Linear layers whose weights a family multiplies with by itself: an adapter would never be asked.
NEVER_CALLED = {"wavlm": ("q_proj", "k_proj", "v_proj", "out_proj")}
DECODER_ALONE = "Training the decoder alone"


def prepare(model: nn.Module, settings: Mapping[str, Any]) -> str:
    """Make of `model`, which has a `body`, what learns as the settings say; returns a sentence about it. Of a body that
    writes itself, and so has no new head, the decoder learns in place of one."""
    chosen = settings["fine_tuning"]
    writes = getattr(model.body.config, "is_encoder_decoder", False)
    rates = settings.get("body_rate", 1.0), settings.get("layer_decay", 1.0)
    if chosen == HEAD and writes:
        leave_decoder(model.body)
        slow_down(model.body, *rates)
    elif chosen == HEAD:
        model.body.requires_grad_(False)
    elif chosen == LORA:
        model.body = _adapted(model.body, settings)
    else:
        slow_down(model.body, *rates)
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    in_all = sum(parameter.numel() for parameter in model.parameters())
    words = DECODER_ALONE if chosen == HEAD and writes else WORDS[chosen]
    return f"{words}: {learning:,} of {in_all:,} weights learn."


def leave_decoder(body: nn.Module) -> None:
    """The decoder alone learns, without what it shares with the encoder."""
    body.requires_grad_(False)
    body.get_decoder().requires_grad_(True)
    body.get_input_embeddings().requires_grad_(False)


def settle(model: nn.Module) -> None:
    """Make plain weights of what learned: W + alpha / rank * B A in place of W (Hu et al. 2021, section 4.2)."""
    if isinstance(model.body, PeftModel):
        model.body = model.body.merge_and_unload()
    model.requires_grad_(True)


def _adapted(body: nn.Module, settings: Mapping[str, Any]) -> nn.Module:
    config = LoraConfig(
        r=settings["lora_rank"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=settings["dropout"],
        target_modules=adapted_layers(body),
        bias="none",
    )
    return get_peft_model(body, config)


def adapted_layers(body: nn.Module) -> list[str]:
    """The layers that get an adapter: all linear ones but the one that says what a body writes, which is often its
    embedding too, and those that are never called; or where there is none, convolutions that mix channels."""
    output = body.get_output_embeddings() if getattr(body.config, "is_encoder_decoder", False) else None
    layers = {name: module for name, module in body.named_modules() if name and module is not output}
    never_called = NEVER_CALLED.get(body.config.model_type, ())
    linear = [
        name
        for name, module in layers.items()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] not in never_called
    ]
    return linear or [name for name, module in layers.items() if isinstance(module, nn.Conv2d) and module.groups == 1]


def slow_down(body: nn.Module, rate: float, decay: float) -> None:
    """The body learns at `rate` times the head's learning rate, and each layer below at `decay` times that of the one
    above it (Howard and Ruder 2018, "Universal Language Model Fine-tuning", section 3.2). What stands before the layers
    is below them all, what stands behind them learns as the last of them does."""
    depths = {name: _depth(name) for name, _parameter in body.named_parameters()}
    last = max((depth for depth in depths.values() if depth is not None), default=0)
    passed = False
    for name, parameter in body.named_parameters():
        depth = depths[name]
        passed = passed or depth is not None
        height = depth if depth is not None else last if passed else -1
        learn_slower(parameter, rate * decay ** (last - height))


def _depth(name: str) -> int | None:
    found = LAYER.search(name)
    return int(found[1]) if found else None
