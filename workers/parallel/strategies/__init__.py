"""How a model is trained by one or several processes, one strategy a module."""

from __future__ import annotations

import importlib

from workers.contract import ProgramFailure
from workers.parallel.plan import DDP, FSDP, LOCAL_SGD, PIPELINE, SINGLE, ParallelPlan
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


def make_strategy(plan: ParallelPlan, processes: Processes) -> Strategy:
    """Raises ProgramFailure (wrong_world_size)."""
    if plan.world_size != processes.world_size:
        message = f"The plan is for {plan.world_size} processes, and {processes.world_size} were started."
        raise ProgramFailure("wrong_world_size", message, hint="Start the training again.", blame="machine")
    module, name = STRATEGIES[plan.strategy]
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)(plan, processes)
