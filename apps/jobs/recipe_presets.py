"""Recipes that people start from. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from workers.compression.recipes import (
    DISTIL,
    FP16,
    INT8,
    LOW_RANK,
    PRUNE_CHANNELS,
    PRUNE_WEIGHTS,
    QUANTISE,
    SHARE,
    Step,
    methods_for,
)

TO_INT8 = {"method": QUANTISE, "scheme": INT8}


@dataclass(frozen=True)
class RecipePreset:
    """`steps` name only what is not as usual."""

    name: str
    label: Any
    steps: tuple[Step, ...]


PRESETS: Mapping[str, RecipePreset] = {
    preset.name: preset
    for preset in (
        RecipePreset("int8", _("int8"), (TO_INT8,)),
        RecipePreset("fp16", _("fp16"), ({"method": QUANTISE, "scheme": FP16},)),
        RecipePreset("shared", _("Shared values"), ({"method": SHARE},)),
        RecipePreset("half", _("Half the channels + int8"), ({"method": PRUNE_CHANNELS, "amount": 0.5}, TO_INT8)),
        RecipePreset("quarter", _("A quarter of the channels + int8"),
                     ({"method": PRUNE_CHANNELS, "amount": 0.75}, TO_INT8)),
        RecipePreset("low_rank", _("Low rank + int8"), ({"method": LOW_RANK}, TO_INT8)),
        RecipePreset("sparse", _("80 % of weights removed + shared values"),
                     ({"method": PRUNE_WEIGHTS, "amount": 0.8}, {"method": SHARE})),
        RecipePreset("student", _("Narrow student + int8"), ({"method": DISTIL, "width": 0.5}, TO_INT8)),
    )
}  # fmt: skip


def presets_for(task: str) -> list[RecipePreset]:
    """Those whose steps all exist for `task`."""
    known = {method.name for method in methods_for(task)}
    return [preset for preset in PRESETS.values() if known.issuperset(step["method"] for step in preset.steps)]
