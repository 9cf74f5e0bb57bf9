"""Complete, checked hyper-parameters of a training: what a preset sets, and over it what a person did.

Pure Python: the site builds its form and checks requests with it, the training program trusts what `resolve` returned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from workers.domains import TASKS
from workers.training.field import Field, HyperparameterError, Value
from workers.training.fields import FIELDS
from workers.training.presets import DEFAULT_PRESET, PRESETS
from workers.training.task_groups import PRETRAINABLE

# An automatic batch size gives an epoch so many steps, as long as the batch lies between these sizes.
STEPS_OF_AN_EPOCH = 32
SMALLEST_BATCH, LARGEST_BATCH = 16, 256
# The same for batches that are counted in tokens.
STEPS_BY_TOKENS = 96
FEWEST_TOKENS, MOST_TOKENS = 256, 4096
# The same for batches that are counted in seconds.
STEPS_BY_SECONDS = 64
FEWEST_SECONDS, MOST_SECONDS = 8, 240
RESTART_SHARE = 0.3  # of the learning rate's peak, from which a training that had ended goes on; see stages.py


def fields_for(task: str) -> tuple[Field, ...]:
    """The fields that `task` has, in the order a form shows them. Raises HyperparameterError (unknown_task)."""
    if task not in TASKS:
        sentence = f"There is no task {task!r}; choose one of {', '.join(TASKS)}."
        raise HyperparameterError("task", "unknown_task", sentence)
    return tuple(item for item in FIELDS if task in item.tasks)


def preset_values(task: str, preset: str, start_from: str = "") -> dict[str, Value]:
    """All hyper-parameters as `preset` sets them, for a training that starts from this checkpoint, or from none. Raises
    HyperparameterError (unknown_task, unknown_preset)."""
    defaults = {item.name: item.default for item in fields_for(task)}
    if preset not in PRESETS:
        sentence = f"There is no preset {preset!r}; choose one of {', '.join(PRESETS)}."
        raise HyperparameterError("preset", "unknown_preset", sentence)
    if start_from and task in PRETRAINABLE:
        return {**defaults, **PRESETS[preset].values_from_checkpoint(task), "start_from": start_from}
    return {**defaults, **PRESETS[preset].values_for(task)}


def resolve(task: str, preset: str = DEFAULT_PRESET, overrides: Mapping[str, Any] | None = None) -> dict[str, Value]:
    """Complete, checked hyper-parameters: the preset's, and over them what the user set.

    Raises HyperparameterError: unknown_task, unknown_preset, unknown_hyperparameter, wrong_type, out_of_range.
    """
    start_from = (overrides or {}).get("start_from", "")
    values = preset_values(task, preset, start_from)
    fields = {item.name: item for item in fields_for(task)}
    for name, value in (overrides or {}).items():
        if name not in fields:
            sentence = f"There is no hyper-parameter {name!r} for {task}; it has {', '.join(fields)}."
            raise HyperparameterError(name, "unknown_hyperparameter", sentence)
        values[name] = fields[name].check(value)
    return values


def choose_batch_size(batch_size: int, examples: int) -> int:
    """`batch_size`, or where it is 0 the power of two that gives an epoch of `examples` some 32 steps: 16 to 256.

    Memory has no say in it: a batch that does not fit is computed in parts, and the training stays the same.
    """
    if batch_size:
        return batch_size
    return max(SMALLEST_BATCH, min(LARGEST_BATCH, 2 ** round(math.log2(max(1, examples / STEPS_OF_AN_EPOCH)))))


def choose_batch_tokens(batch_tokens: int, tokens: int) -> int:
    """`batch_tokens`, or where it is 0 the power of two that gives an epoch of `tokens` some 96 steps: 256 to 4096."""
    if batch_tokens:
        return batch_tokens
    return max(FEWEST_TOKENS, min(MOST_TOKENS, 2 ** round(math.log2(max(1, tokens / STEPS_BY_TOKENS)))))


def choose_batch_seconds(batch_seconds: int, seconds: float) -> int:
    """`batch_seconds`, or where it is 0 what gives an epoch of so many `seconds` some 64 steps: 8 to 240."""
    if batch_seconds:
        return batch_seconds
    return round(max(FEWEST_SECONDS, min(MOST_SECONDS, seconds / STEPS_BY_SECONDS)))
