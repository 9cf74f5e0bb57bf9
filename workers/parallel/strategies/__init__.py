"""How a model is trained by one or several processes, one strategy a module."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from workers.contract import ProgramFailure
from workers.parallel.plan import DDP, FSDP, LOCAL_SGD, PIPELINE, SINGLE, ParallelPlan, PlanError
from workers.parallel.processes import Processes
from workers.parallel.strategies.base import Strategy

# Names and not classes: FSDP and pipelines take a second to load, which most trainings need not wait for.
STRATEGIES = {
    SINGLE: ("base", "Strategy"),
    DDP: ("ddp", "Ddp"),
    FSDP: ("fsdp", "Fsdp"),
    PIPELINE: ("pipeline", "Pipeline"),
    LOCAL_SGD: ("local_sgd", "LocalSgd"),
}


def read_plan(values: Mapping[str, Any]) -> ParallelPlan:
    """Raises ProgramFailure (wrong_plan)."""
    try:
        return ParallelPlan.from_dict(values)
    except PlanError as error:
        raise ProgramFailure("wrong_plan", error.message, hint="Make the plan again.", blame="settings") from error


def make_strategy(plan: ParallelPlan, processes: Processes) -> Strategy:
    """Raises ProgramFailure (wrong_world_size)."""
    if plan.world_size != processes.world_size:
        message = f"The plan is for {plan.world_size} processes, and {processes.world_size} were started."
        raise ProgramFailure("wrong_world_size", message, hint="Start the training again.", blame="machine")
    module, name = STRATEGIES[plan.strategy]
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)(plan, processes)
